"""What a mixture means for each of its tasks, reported before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from brulee.reporting.results import MixtureLine
from brulee.training.documents import planned_documents

if TYPE_CHECKING:
    from brulee.pipeline.preparation import Prepared


def mix(prepared: Prepared) -> tuple[MixtureLine, ...]:
    """Rows, rate, draws, epochs and token share of each task in this training.

    Tokens are estimated from the rows under their first template.
    """
    mixture = prepared.mixture
    documents = planned_documents(prepared.recipe.train, len(mixture))
    tokens = {path: found.mean_tokens for path, found in prepared.fitting.items()}
    return tuple(
        MixtureLine(
            task=line.part,
            rows=line.rows,
            rate=line.share,
            draws=line.draws,
            epochs=line.epochs,
            token_share=line.token_share or 0.0,
        )
        for line in mixture.describe(documents, tokens)
    )


def table(lines: Sequence[MixtureLine], most: int = 40) -> str:
    """The same as text, one line per task; of many tasks, only the `most` drawn most often."""
    shown = sorted(lines, key=lambda line: -line.draws)[:most] if len(lines) > most else lines
    width = max(len("task"), *(len(line.task) for line in shown))
    head = f"{'task':{width}}  {'rows':>9}  {'rate':>7}  {'draws':>9}  {'epochs':>7}  {'tokens':>7}"
    rows = [
        f"{line.task:{width}}  {line.rows:>9,}  {line.rate:>7.2%}  {line.draws:>9,}  "
        f"{line.epochs:>7.2f}  {line.token_share:>7.2%}"
        for line in shown
    ]
    more = (
        [f"and {len(lines) - len(shown)} more in manifest.json"] if len(lines) > len(shown) else []
    )
    return "\n".join([head, *rows, *more])
