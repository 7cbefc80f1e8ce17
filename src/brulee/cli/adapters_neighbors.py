"""`brulee adapters neighbors`: the vocabulary tokens nearest to those of a soft prompt."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brulee.cli import options
from brulee.cli.output import print_json, print_table, print_text

if TYPE_CHECKING:
    from brulee.methods.neighbours import Baseline, Study


def neighbors(
    target: options.Tuned,
    top: Annotated[int, typer.Option(min=2, help="Number of neighbours of each token.")] = 5,
    base: options.AdapterBase = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Show the vocabulary nearest to each virtual token.

    By cosine distance. Also shows how close the neighbours are to each other: their mean pairwise
    cosine, compared with random directions and with the vocabulary's own tokens.
    """
    from brulee.methods.neighbours import study

    found = study(target, top, base, seed)
    if as_json:
        print_json(_plain(found))
    else:
        _print(found)


def _plain(found: Study) -> dict[str, Any]:
    from brulee.methods.neighbours import STATISTIC

    return {**asdict(found), "folder": str(found.folder), "statistic": STATISTIC}


def _print(found: Study) -> None:
    print(f"{found.folder}: {len(found.tokens)} virtual tokens, vocabulary {found.vocabulary:,}")
    rows = [
        (str(i), f"{t.tightness:.3f}", ", ".join(f"{n.text!r} {n.distance:.3f}" for n in t.nearest))
        for i, t in enumerate(found.tokens)
    ]
    print_table(["token", "tightness", "nearest, with cosine distance"], rows)
    print_text(f"Tightness (mean cosine of all pairs among {found.top}): {found.tightness:.3f}.")
    print_text(_sentence("random directions", found.random))
    print_text(_sentence("the vocabulary's own tokens", found.own))


def _sentence(of: str, chance: Baseline) -> str:
    return (
        f"Of {of}: {chance.mean:.3f} (95% of such prompts: {chance.low:.3f} to {chance.high:.3f}; "
        f"as tight or tighter: p = {chance.p:.4f})."
    )
