"""From the scores of single replies to those of instances.

An instance's robustness is its worst score among the original and its robustness perturbations, and
fairness likewise: how well the model does on the wording that suits it least. "Worst" is the lowest
score where more is better and the highest where less is. (HELM takes the lowest of either kind.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from brulee.evaluation.perturbations import perturbation
from brulee.evaluation.perturbations.base import Concern
from brulee.evaluation.suites.helm import calibration, harms
from brulee.evaluation.suites.helm.ranking import ndcg, order, reciprocal_rank
from brulee.evaluation.tasks import Example, Judged
from brulee.evaluation.toxicity import ToxicityScorer

# Statistics of single replies that are not scores.
CONFIDENCE: Final = "confidence"
RIGHT: Final = "right"
YES: Final = "yes"
NO: Final = "no"

CONCERNS: Final[tuple[Concern, ...]] = ("robustness", "fairness")

Statistics = dict[str, list[float]]


def worst(scores: Sequence[float], higher_is_better: bool) -> float:
    """The worst of an instance's scores."""
    return min(scores) if higher_is_better else max(scores)


class Joining:
    """Joins the replies to a task whose own metrics are these, the first being the main one."""

    def __init__(
        self,
        own: tuple[str, ...],
        perturbations: tuple[str, ...],
        toxicity: ToxicityScorer,
        higher_is_better: bool = True,
    ) -> None:
        self.own, self.perturbations, self.toxicity = own, perturbations, toxicity
        self.higher_is_better = higher_is_better
        self._members: dict[Concern, list[str]] = {
            concern: [p for p in perturbations if perturbation(p).concern == concern]
            for concern in CONCERNS
        }

    def keys(self, *, calibrated: bool, written: bool) -> tuple[str, ...]:
        """The scores that `join` gives, in the order in which they are shown."""
        return (
            *self.own,
            *(concern for concern in CONCERNS if self._members[concern]),
            *(self._under(name) for name in self.perturbations),
            *(calibration.KEYS if calibrated else ()),
            *(harms.BIAS if written else ()),
            *((harms.toxicity_key(self.toxicity),) if written else ()),
        )

    def join(self, examples: Sequence[Example], judged: Sequence[Judged]) -> list[Judged]:
        """The same items; the first of each instance holds all its statistics, others none."""
        joined = [Judged(one.output) for one in judged]
        firsts: list[int] = []
        sure: dict[int, tuple[float, float]] = {}
        for members in _instances(examples).values():
            asked = [i for i in members if examples[i].about["kind"] == "answer"]
            firsts.append(asked[0])
            joined[asked[0]].statistics.update(self._scores(asked, examples, judged))
            confident = [i for i in members if _is_confident(examples[i], judged[i])]
            if confident:
                found = judged[confident[0]].statistics
                sure[asked[0]] = (found[CONFIDENCE][0], found[RIGHT][0])
        self._add_calibration(joined, sure)
        if examples and not examples[firsts[0]].choices:
            self._add_harms(joined, firsts)
        return joined

    def _scores(
        self, asked: Sequence[int], examples: Sequence[Example], judged: Sequence[Judged]
    ) -> Statistics:
        """An instance's own scores, those under each perturbation, and the worst ones."""
        by_wording: dict[str, list[int]] = {}
        for i in asked:
            by_wording.setdefault(examples[i].about["perturbation"], []).append(i)
        scores = {
            name: self._own_scores([examples[i] for i in at], [judged[i] for i in at])
            for name, at in by_wording.items()
        }
        main = self.own[0]
        # A perturbation that leaves a text as it is was not asked: its score is the original's.
        under = {name: scores.get(name, scores[""])[main] for name in ("", *self.perturbations)}
        found = {key: [value] for key, value in scores[""].items()}
        found |= {self._under(name): [under[name]] for name in self.perturbations}
        for concern, names in self._members.items():
            if names:
                asked_as = [under[name] for name in ("", *names)]
                found[concern] = [worst(asked_as, self.higher_is_better)]
        return found

    def _own_scores(
        self, examples: Sequence[Example], judged: Sequence[Judged]
    ) -> dict[str, float]:
        """The scores of one wording: of its one reply, or of the order of its passages."""
        if YES not in judged[0].statistics:
            return {key: judged[0].statistics[key][0] for key in self.own}
        ranked = order(*([one.statistics[key][0] for one in judged] for key in (YES, NO)))
        about = examples[0].about
        return {
            "rr@10": reciprocal_rank(ranked, about["right"]),
            "ndcg@10": ndcg(ranked, about["relevance"]),
        }

    def _add_calibration(
        self, joined: Sequence[Judged], sure: dict[int, tuple[float, float]]
    ) -> None:
        if sure:
            confidence, right = zip(*sure.values(), strict=True)
            found = calibration.calibration_statistics(confidence, right)
            for i, statistics in zip(sure, found, strict=True):
                joined[i].statistics.update(statistics)

    def _add_harms(self, joined: Sequence[Judged], firsts: Sequence[int]) -> None:
        outputs = [joined[i].output for i in firsts]
        toxic = harms.toxicity_statistics(outputs, self.toxicity)
        counted = harms.bias_statistics(outputs)
        for i, value, counts in zip(firsts, toxic, counted, strict=True):
            joined[i].statistics.update(counts)
            joined[i].statistics[harms.toxicity_key(self.toxicity)] = [value]

    def _under(self, name: str) -> str:
        return f"{self.own[0]}[{name}]"


def _instances(examples: Sequence[Example]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        found.setdefault(example.cluster, []).append(i)
    return found


def _is_confident(example: Example, judged: Judged) -> bool:
    return CONFIDENCE in judged.statistics and not example.about["perturbation"]
