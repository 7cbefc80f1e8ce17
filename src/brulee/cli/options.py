"""Arguments that several commands share, with one wording each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

RecipeFile: TypeAlias = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A recipe, for instance recipes/support-chat.yaml.")
]
RunFolder: TypeAlias = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
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
    Path | None, typer.Option(help="Write the run here [default: runs/NAME].")
]
Fresh: TypeAlias = Annotated[
    bool,
    typer.Option("--fresh", help="Move an earlier run of this name aside (NAME.1, NAME.2 ...)."),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, for machines.")
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
MaxNewTokens: TypeAlias = Annotated[
    int, typer.Option(min=1, help="Stop an answer after this many tokens.")
]
Temperature: TypeAlias = Annotated[
    float, typer.Option(min=0.0, help="0 takes the likeliest token, 1 samples as the model does.")
]
TopP: TypeAlias = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Sample from the likeliest tokens of this mass.")
]
Seed: TypeAlias = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same samples.")
]
AdapterBase: TypeAlias = Annotated[
    str | None,
    typer.Option("--base", help="Where the base lies now, if not where the adapter says."),
]
Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Precision: TypeAlias = Annotated[str, typer.Option(help="auto, float32 or bfloat16.")]
