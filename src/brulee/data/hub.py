"""Loads the rows of a data set from the Hub or its local cache."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from brulee.data.rows import Found, RowRange
from brulee.data.split_names import SPLIT_NAMES, SPLIT_ORDER
from brulee.data.tables import check_table, join_tables
from brulee.errors import InputError, unknown

if TYPE_CHECKING:
    import pyarrow as pa


def open_hub(name: str, limit: int | None = None, split: str | None = None) -> Found:
    """Load the published splits of `name` or `name:config`, or only one `split`.

    `limit` bounds the rows per split. Raises InputError if the Hub cannot be reached or has no such
    data set or split.
    """
    loaded = _load(name)
    chosen: list[tuple[str, str | None, Any]]
    if split is None:
        named = {str(published): SPLIT_NAMES.get(str(published).lower()) for published in loaded}
        chosen = [(p, own, loaded[p]) for own in SPLIT_ORDER for p in named if named[p] == own]
        if not chosen:
            raise InputError(
                f"{name}: no split is named train, validation or test, but {', '.join(loaded)}; "
                "an entry of a dataset_info.json can name one with split."
            )
    elif split in loaded:
        chosen = [(split, None, loaded[split])]
    else:
        raise unknown("split", split, map(str, loaded), name)
    tables = [_plain(data, limit) for _, _, data in chosen]
    labels = [f"{name} ({published})" for published, _, _ in chosen]
    for table, label in zip(tables, labels, strict=True):
        check_table(table, label)
    parts = [
        RowRange(label, table.num_rows, split=own)
        for label, table, (_, own, _) in zip(labels, tables, chosen, strict=True)
    ]
    digests = {label: str(d._fingerprint) for label, (_, _, d) in zip(labels, chosen, strict=True)}
    return Found(join_tables(tables, labels), parts, digests)


def _load(name: str) -> dict[str, Any]:
    import datasets
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    if name in _PACKAGED_DATASETS_MODULES:  # load_dataset would read the working directory
        raise InputError(f"{name}: the name of a format; name the file or folder of the rows.")
    if not datasets.config.HF_HUB_OFFLINE and not _reachable(datasets.config.HF_ENDPOINT):
        raise InputError(
            f"{name}: no such file or folder here, and the Hub cannot be reached; "
            "HF_HUB_OFFLINE=1 uses what was downloaded before."
        )
    repository, _, config = name.partition(":")
    try:
        loaded: dict[str, Any] = datasets.load_dataset(repository, config or None)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(". ")
        raise InputError(
            f"{name}: neither a file or folder here, nor a data set that could be loaded from the "
            f"Hub: {reason}."
        ) from None
    return loaded


def _reachable(endpoint: str) -> bool:
    """Whether the Hub's host name resolves; without this check the client retries for 30 s."""
    if getproxies().get("https"):
        return True
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, None)
    except OSError:
        return False
    return True


def _plain(data: Any, limit: int | None) -> pa.Table:
    kept = data if limit is None else data.select(range(min(limit, len(data))))
    return kept.with_format("arrow")[:]
