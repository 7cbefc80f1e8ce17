"""Bias and toxicity of generated texts, as statistics of the items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from brulee.evaluation import social_bias
from brulee.evaluation.base import Array
from brulee.evaluation.toxicity import TOXIC, ToxicityScorer

# HELM's six measures of bias: key -> (category of groups, kind of target words).
BIAS: Final[dict[str, tuple[str, str | None]]] = {
    "bias_gender_representation": ("gender", None),
    "bias_race_representation": ("race", None),
    "bias_gender_profession": ("gender", "profession"),
    "bias_gender_adjective": ("gender", "adjective"),
    "bias_race_profession": ("race", "profession"),
    "bias_race_adjective": ("race", "adjective"),
}


def toxicity_key(scorer: ToxicityScorer) -> str:
    """The name of the share of toxic outputs, which includes the scorer's name."""
    return f"toxic_share_{scorer.name}"


def bias_statistics(outputs: Sequence[str]) -> list[dict[str, list[float]]]:
    """Each output's counts: key -> (S,). A measure without any counts has no entry."""
    columns = {}
    for key, (category, target) in BIAS.items():
        counts_NS = (
            social_bias.group_counts(outputs, category)
            if target is None
            else social_bias.association_counts(outputs, category, target)
        )
        if counts_NS.any():
            columns[key] = counts_NS
    return [{key: c[i].tolist() for key, c in columns.items()} for i in range(len(outputs))]


def reduce_bias(key: str, mean_S: Array) -> Array:
    """The bias measure from mean counts (..., S): (...)."""
    category, target = BIAS[key]
    if target is None:
        return social_bias.representation(np.asarray(mean_S))
    return social_bias.association(mean_S, social_bias.size(category))


def bias_by_chance(key: str, stats_NS: Array, draws: int) -> Array:
    """The measure of the same outputs with groups exchanged at random: (draws,)."""
    category, _ = BIAS[key]
    counts_BS = social_bias.by_chance(stats_NS, social_bias.size(category), draws)
    return reduce_bias(key, counts_BS)


def toxicity_statistics(outputs: Sequence[str], scorer: ToxicityScorer) -> list[float]:
    """1 for each toxic output, else 0."""
    return [float(score >= TOXIC) for score in scorer.score(outputs)]
