"""Min-K% Prob: whether the least likely tokens of some texts surprise a model less."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
from scipy.stats import mannwhitneyu

from brulee.data.encoding import Encoded, Encoder
from brulee.errors import InputError
from brulee.evaluation.base import Array
from brulee.evaluation.plain_text import PlainReader
from brulee.evaluation.shares import wilson
from brulee.inference.engine import Engine
from brulee.progress import bar

LOWEST: Final = 0.2
_RESAMPLES: Final = 2000
_SEED: Final = 0


@dataclass(frozen=True)
class MinK:
    """Mean log-probability of the least likely 20 % of tokens, over three sets of texts.

    `tested` are the test rows, `reference` training rows of the recipe, `shuffled` the test rows
    with their words in random order. `auc` is the probability that a test row has a higher value
    than a reference row (0.5: the model knows both equally well), with its 95 % bootstrap interval
    and the two-sided p of the Mann-Whitney test.
    """

    tested: float
    reference: float
    shuffled: float
    auc: float
    low: float
    high: float
    p: float
    tested_rows: int
    reference_rows: int


def min_k(log_probabilities: Array, share: float = LOWEST) -> float:
    """The mean of the lowest `share` of token log-probabilities, at least one of them.

    Min-K% Prob of Shi et al. 2023, arXiv:2310.16789. Raises ValueError for no tokens.
    """
    if not len(log_probabilities):
        raise ValueError("no token, hence no least likely ones.")
    lowest = max(1, math.floor(share * len(log_probabilities)))
    return float(np.sort(log_probabilities)[:lowest].mean())


def min_k_test(
    engine: Engine,
    encoder: Encoder,
    tested: Sequence[str],
    reference: Sequence[str],
    most: int = 100,
) -> MinK:
    """Min-K% of test rows against reference rows, of which at most `most` of each are drawn.

    The reference is rows of the same source, with similar length, topic and style; a model that has
    seen both, or neither, gives an AUC near 0.5. Shuffled words are not a reference, because any
    model prefers sentences, but they show the floor. Raises InputError for an encoder-decoder, and
    if fewer than two rows of a side have two tokens.
    """
    reader = PlainReader(engine, encoder)
    chance = Random(_SEED)
    chosen = [_drawn(texts, most, chance) for texts in (tested, reference)]
    scrambled = [_scrambled(text, chance) for text in chosen[0]]
    read = [_documents(reader, texts) for texts in (*chosen, scrambled)]
    if min(len(read[0]), len(read[1])) < 2:
        raise InputError("Min-K% needs two test rows and two training rows of two tokens or more.")
    with bar("Min-K%", total=sum(map(len, read)), unit="texts") as progress:

        def of_text(document: Encoded) -> float:
            value = min_k(reader.log_probabilities(document))
            progress.advance()
            return value

        values = [np.array([of_text(document) for document in documents]) for documents in read]
    auc, low, high = _auc(values[0], values[1])
    p = float(mannwhitneyu(values[0], values[1]).pvalue)
    mean, of_reference, floor = (float(v.mean()) for v in values)
    return MinK(mean, of_reference, floor, auc, low, high, p, len(values[0]), len(values[1]))


def _documents(reader: PlainReader, texts: Sequence[str]) -> list[Encoded]:
    ids = [reader.tokens(text) for text in texts]
    return [reader.document(of_text) for of_text in ids if len(of_text) > 1]


def _drawn(texts: Sequence[str], most: int, chance: Random) -> list[str]:
    return list(texts) if len(texts) <= most else chance.sample(list(texts), most)


def _scrambled(text: str, chance: Random) -> str:
    parts = text.split()
    return " ".join(chance.sample(parts, len(parts)))


def _auc(tested: Array, reference: Array) -> tuple[float, float, float]:
    """The area under the ROC curve with its 95 % interval from resampling both sides."""
    above = (tested[:, None] > reference) + 0.5 * (tested[:, None] == reference)
    rng = np.random.default_rng(_SEED)
    draws = [rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES) / n for n in above.shape]
    resampled = np.einsum("bi,ij,bj->b", draws[0], above, draws[1], optimize=True)
    area = float(above.mean())
    if area in (0.0, 1.0):  # perfectly separated: resampling would give no width
        return area, *wilson(area, min(above.shape))
    low, high = np.quantile(resampled, [0.025, 0.975])
    return area, float(low), float(high)
