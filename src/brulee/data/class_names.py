"""The class names of integer columns, where a table's schema has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def class_names(table: pa.Table, columns: Mapping[str, str] = {}) -> dict[str, tuple[str, ...]]:
    """The class names of every `ClassLabel` column, which `datasets` stores in the schema.

    `columns` maps the names used here to the table's own.
    """
    import datasets

    if b"huggingface" not in (table.schema.metadata or {}):
        return {}
    features = datasets.Features.from_arrow_schema(table.schema)
    found = {
        column: tuple(feature.names)
        for column, feature in features.items()
        if isinstance(feature, datasets.ClassLabel) and feature.names
    }
    own = columns or {column: column for column in table.column_names}
    taken = {target: source for target, source in own.items() if source in found}
    kept = {c: c for c in found if c not in {*own, *own.values()}}
    return {name: found[column] for name, column in (kept | taken).items()}
