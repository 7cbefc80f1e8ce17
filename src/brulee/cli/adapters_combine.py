"""`brulee adapters combine`: combine several adapters of one base into one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brulee.cli import options
from brulee.cli.output import print_json, print_table, print_text
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.methods.combining import Combined


def combine(
    targets: Annotated[
        list[str], typer.Argument(metavar="ADAPTER", help="Runs, adapters or fully tuned models.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the result.")],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W,W,...",
            help="One weight for each; a negative one subtracts [default: equal weights].",
        ),
    ] = None,
    how: Annotated[str, typer.Option(help="sum, ties, dare, dare-ties or prune.")] = "sum",
    rank: Annotated[
        int | None,
        typer.Option(help="LoRA: cut the result to this rank [default: the sum of the ranks]."),
    ] = None,
    factors: Annotated[
        bool, typer.Option("--factors", help="LoRA: combine A's and B's, not products (rough).")
    ] = False,
    density: Annotated[
        float | None,
        typer.Option(help="Keep this share of values [default: 0.2 for ties, else 0.5]."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="dare: same seed, same values dropped.")
    ] = 0,
    base: options.AdapterBase = None,
    as_json: options.Json = False,
) -> None:
    """Combine several adapters, or fully tuned models, into one.

    All must be of one base. sum adds the changes exactly. ties (Yadav et al. 2023), dare (Yu et
    al. 2024), dare-ties and prune drop values first. Prints how much of each part the result kept.
    """
    from brulee.methods.combining import combine as combine_into

    made = combine_into(
        targets,
        out,
        how,
        _numbers(weights, targets),
        rank=rank,
        factors=factors,
        density=density,
        seed=seed,
        base=base,
    )
    if as_json:
        print_json(_plain(made))
    else:
        _print(made)


def _numbers(text: str | None, targets: list[str]) -> list[float] | None:
    if text is None:
        return None
    stray = [target for target in targets if _is_number(target) and not Path(target).exists()]
    parts = [part.strip() for part in text.split(",")]
    if stray or not all(_is_number(part) for part in parts):
        given = " ".join([text, *stray])
        raise InputError(
            f"--weights: {given!r} is not a list of numbers; separate them by commas, such as "
            "0.7,0.3."
        )
    return [float(part) for part in parts]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _plain(made: Combined) -> dict[str, Any]:
    return {**asdict(made), "folder": str(made.folder)}


def _print(made: Combined) -> None:
    from brulee.reporting.wording import size

    print(f"{made.folder}  ({size(made.size)})")
    print_text(f"{made.label} on {made.base}")
    rows = [
        (
            part.name,
            part.label,
            f"{part.weight:g}",
            _number(part.share),
            _number(part.cosine),
            _number(part.relative),
        )
        for part in made.parts
    ]
    print_table(["part", "tuned", "weight", "share", "cosine", "|result - part| / |part|"], rows)
    print_text(
        "share: how much of a part's own change is in the result (1: all of it; 0: nothing)."
    )
    if made.from_sum is not None:
        print_text(
            f"The result is {made.from_sum:.1%} away from the exact weighted sum, relative to its "
            "length."
        )
    if made.by_rank is not None:
        print_text(f"Cutting it to its rank lost {made.by_rank:.1%} of what {made.how} gave.")
    for note in made.notes:
        print_text(f"note: {note}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
