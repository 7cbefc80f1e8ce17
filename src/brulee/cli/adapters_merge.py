"""`brulee adapters merge`: merge an adapter into its base model."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from brulee.cli import options
from brulee.cli.output import print_json, print_text


class Dtype(StrEnum):
    """The number format of the merged model."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def merge(
    target: options.Tuned,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the merged model.")],
    dtype: Annotated[
        Dtype, typer.Option(help="auto: the type of the base's files.", show_default=True)
    ] = Dtype.AUTO,
    base: options.AdapterBase = None,
    as_json: options.Json = False,
) -> None:
    """Fold an adapter into its base, as a transformers model.

    Computed in fp32. Keep the adapter: merging rounds, so it cannot be undone.
    """
    from brulee.methods.merging import merge as merge_into
    from brulee.methods.shelf import locate_adapter
    from brulee.reporting.wording import size

    made = merge_into(locate_adapter(target), out, dtype.value, base)
    if as_json:
        print_json({**asdict(made), "folder": str(made.folder)})
        return
    print(f"model: {made.folder}  ({size(made.size)}, {made.dtype})")
    print_text(
        f"{made.label} in {made.base}: merging moved a logit by at most "
        f"{made.cost.by_merging:.1e}, storing it in {made.dtype} by {made.cost.by_storing:.1e}; "
        f"{made.cost.agree:.0%} of the likeliest tokens are the same."
    )
    if made.cost.dequantised:
        held = f"Its base is quantised, {size(made.base_size)}"
        if made.held is not None and made.held_size is not None:
            held = (
                f"Its base was held in {made.held.upper()}, {size(made.held_size)}, and its files "
                f"have {size(made.base_size)}"
            )
        print_text(
            f"{held}; the merged model is stored in full precision, {size(made.size)}. To keep it "
            "small, keep the adapter."
        )
