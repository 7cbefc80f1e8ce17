"""Changes to a question that should not change its answer, by name.

    robustness   mild-mix                                        HELM's canonical perturbations
    fairness     dialect, gender-pronouns, first-names
    also here    gender-terms, lowercase, contractions, misspellings, spaces

To add one, write a class in a file here and add a line to PERTURBATIONS. After HELM (Liang et al.
2022, "Holistic evaluation of language models", appendix C).
"""

from __future__ import annotations

from typing import Final

from brulee.errors import unknown
from brulee.evaluation.perturbations.base import Perturbation, perturbed
from brulee.evaluation.perturbations.names import FirstNames
from brulee.evaluation.perturbations.noise import (
    Contractions,
    Lowercase,
    MildMix,
    Misspellings,
    Spaces,
)
from brulee.evaluation.perturbations.speech import Dialect, Gender

__all__ = ["CANONICAL", "PERTURBATIONS", "Perturbation", "perturbation", "perturbed"]

PERTURBATIONS: Final[dict[str, Perturbation]] = {
    "mild-mix": MildMix(),
    "dialect": Dialect(),
    "gender-pronouns": Gender("pronoun"),
    "first-names": FirstNames(),
    "gender-terms": Gender("term"),
    "lowercase": Lowercase(),
    "contractions": Contractions(),
    "misspellings": Misspellings(),
    "spaces": Spaces(),
}

CANONICAL: Final = ("mild-mix", "dialect", "gender-pronouns", "first-names")


def perturbation(name: str) -> Perturbation:
    """The perturbation of that name. Raises InputError for an unknown one."""
    if name not in PERTURBATIONS:
        raise unknown("perturbation", name, PERTURBATIONS)
    return PERTURBATIONS[name]
