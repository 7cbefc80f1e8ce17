"""What a mixture will mean for each of its tasks, said before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brulee.data.mixture import PartReport
from brulee.training.trainer import planned_documents

if TYPE_CHECKING:
    from brulee.pipeline.preparation import Prepared


def mix(prepared: Prepared) -> list[PartReport]:
    """Rows, rate, draws, epochs and share of the tokens of each task in this training.

    Tokens are estimated from the rows under the first template.
    """
    mixture = prepared.mixture
    documents = planned_documents(prepared.recipe.train, len(mixture))
    tokens = {path: found.mean_tokens for path, found in prepared.fitting.items()}
    return mixture.describe(documents, tokens)


def table(lines: list[PartReport]) -> str:
    """The same as text, a line a task."""
    width = max(len("task"), *(len(line.part) for line in lines))
    head = f"{'task':{width}}  {'rows':>9}  {'rate':>7}  {'draws':>9}  {'epochs':>7}  {'tokens':>7}"
    rows = [
        f"{line.part:{width}}  {line.rows:>9,}  {line.share:>7.2%}  {line.draws:>9,}  "
        f"{line.epochs:>7.2f}  {line.token_share or 0:>7.2%}"
        for line in lines
    ]
    return "\n".join([head, *rows])
