"""Arguments and options that several commands share, each with one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

RecipeFile: TypeAlias = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A recipe, for instance recipes/support-chat.yaml.")
]
RunFolder: TypeAlias = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
Tuned: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help="A run or an adapter's folder.")
]
Target: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="A run, an adapter's folder, or a model: bundled, a folder, a .gguf, a Hub id.",
    ),
]
Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key, e.g. train.epochs=1."),
]
Folder: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder of the run [default: runs/NAME].")
]
Fresh: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--fresh", help="Start over; an earlier run of this name is renamed (NAME.1, NAME.2 ...)."
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
MaxNewTokens: TypeAlias = Annotated[
    int, typer.Option(min=1, help="Stop an answer after this many tokens.")
]
Temperature: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0.0, help="0 picks the likeliest token, 1 samples from the model's distribution."
    ),
]
TopP: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0.0, max=1.0, help="Sample only from the likeliest tokens with this total probability."
    ),
]
TopK: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Sample only from so many of the likeliest tokens; 0: from all.")
]
MinP: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0.0, max=1.0, help="Sample only tokens this many times as likely as the likeliest."
    ),
]
RepetitionPenalty: TypeAlias = Annotated[
    float,
    typer.Option(
        min=1e-3,
        help="Above 1 makes tokens that the text already has less likely (1.1 is usual).",
    ),
]
Seed: TypeAlias = Annotated[
    int,
    typer.Option(min=0, max=2**63 - 1, help="Random seed; the same seed gives the same samples."),
]
AdapterBase: TypeAlias = Annotated[
    str | None,
    typer.Option("--base", help="Where the base is now, if the adapter's own path is out of date."),
]
Languages: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE,TARGET",
        help="Languages of a translation model, by its tokenizer's names (deu_Latn,eng_Latn).",
    ),
]
Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Precision: TypeAlias = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
