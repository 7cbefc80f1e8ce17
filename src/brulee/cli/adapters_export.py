"""`brulee adapters export`: write an adapter or a tuned model as a GGUF file."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from brulee.cli import options
from brulee.cli.output import print_json


class Format(StrEnum):
    """The output format."""

    GGUF = "gguf"
    GGUF_LORA = "gguf-lora"


class Dtype(StrEnum):
    """The number format of the matrices."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    Q8_0 = "q8_0"


def export(
    target: options.Tuned,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Path of the .gguf file.")],
    to: Annotated[
        Format, typer.Option(help="gguf: the whole model, merged; gguf-lora: only the LoRA.")
    ] = Format.GGUF,
    dtype: Annotated[Dtype, typer.Option(help="Number format of the matrices.")] = Dtype.FLOAT16,
    base: options.AdapterBase = None,
    as_json: options.Json = False,
) -> None:
    """Write a GGUF file for llama.cpp and tools built on it.

    To write a transformers folder, use `brulee adapters merge`.
    """
    from brulee.methods.exporting import export as write
    from brulee.methods.shelf import locate
    from brulee.reporting.wording import size

    made = write(locate(target), out, to.value, dtype.value, base)
    if as_json:
        print_json({**asdict(made), "file": str(made.file)})
        return
    print(f"{made.file}: {made.holds}  ({size(made.size)}, {made.dtype})")
    if made.halved:
        rows = "rows are no multiple of 32, which q8_0 needs"
        print(f"{made.halved} of its matrices are in float16: their {rows}.")
