"""Evidence that a model was trained on test rows: Min-K% Prob, and a preference for their order.

Neither is proof. Min-K% compares the likelihoods of two sets of texts, which may differ for other
reasons; the order test assumes that the order of the rows is arbitrary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from brulee.data.encoding import Encoder
from brulee.evaluation.min_k import LOWEST, MinK, min_k_test
from brulee.evaluation.order import OrderTest, order_test
from brulee.inference.engine import Engine

_SMALL: Final = 0.05
_CAVEAT: Final = (
    "This is evidence, not proof: likelihoods also differ for other reasons, and a model may have "
    "read the rows without leaving a trace here."
)


@dataclass(frozen=True)
class Familiarity:
    """Evidence that a model has seen some test rows; `order` is None if there are too few rows."""

    min_k: MinK
    order: OrderTest | None

    def sentence(self) -> str:
        """The findings in words, as evidence and not as proof."""
        return " ".join([_min_k_sentence(self.min_k), _order_sentence(self.order), _CAVEAT])


def familiarity(
    engine: Engine, encoder: Encoder, tested: Sequence[str], reference: Sequence[str]
) -> Familiarity:
    """Both tests over the texts of test rows, in the order of their file.

    Raises InputError for an encoder-decoder, and for fewer than two rows of a side with two tokens.
    """
    return Familiarity(
        min_k_test(engine, encoder, tested, reference), order_test(engine, encoder, tested)
    )


def _min_k_sentence(found: MinK) -> str:
    if found.p >= _SMALL:
        what = "they are neither more nor less likely to it than training rows"
    elif found.auc > 0.5:
        what = "they are more likely to it than training rows"
    else:
        what = "they are less likely to it than training rows"
    return (
        f"Min-{LOWEST:.0%}: {what} (AUC {found.auc:.2f}, {found.low:.2f} to {found.high:.2f}, "
        f"p = {found.p:.2g}, {found.tested_rows} and {found.reference_rows} rows)."
    )


def _order_sentence(found: OrderTest | None) -> str:
    if found is None:
        return "Order: too few rows to tell."
    if found.neighbours_p < _SMALL:
        what = "neighbouring rows are alike, so a preference for their order shows nothing"
    elif found.p < _SMALL:
        what = "it prefers the order of the file, as a model that has read the file would"
    else:
        what = "it does not prefer the order of the file"
    return f"Order: {what} (p = {found.p:.2g}, {found.rows} rows in {found.shards} shards)."
