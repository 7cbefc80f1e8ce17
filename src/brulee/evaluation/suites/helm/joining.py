"""The scores of instances, from those of single replies.

An instance's robustness is its worst score over the original and its robustness perturbations, and
fairness likewise. "Worst" is the lowest score if higher is better, else the highest. (HELM always
takes the lowest.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from brulee.evaluation.perturbations import perturbation
from brulee.evaluation.perturbations.base import Concern
from brulee.evaluation.suites.helm import calibration, harms
from brulee.evaluation.suites.helm.combining import CONFIDENCE, RIGHT, Statistics, combined
from brulee.evaluation.tasks import Example, Judged
from brulee.evaluation.toxicity import ToxicityScorer

CONCERNS: Final[tuple[Concern, ...]] = ("robustness", "fairness")


def worst(scores: Sequence[float], higher_is_better: bool) -> float:
    """The worst of an instance's scores."""
    return min(scores) if higher_is_better else max(scores)


class Joining:
    """Joins the replies to a task with the metrics `own`, of which the first is the main one."""

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
        """The scores that `join` gives, in display order."""
        return (
            *self.own,
            *(concern for concern in CONCERNS if self._members[concern]),
            *(self._under(name) for name in self.perturbations),
            *(calibration.KEYS if calibrated else ()),
            *(harms.BIAS if written else ()),
            *((harms.toxicity_key(self.toxicity),) if written else ()),
        )

    def join(self, examples: Sequence[Example], judged: Sequence[Judged]) -> list[Judged]:
        """The same items, with all of an instance's statistics on its first item."""
        joined = [Judged(one.output) for one in judged]
        firsts: list[int] = []
        sure: dict[int, tuple[float, float]] = {}
        for members in _instances(examples).values():
            wordings = self._wordings(members, examples, judged)
            original, first = wordings[""], members[0]
            firsts.append(first)
            joined[first] = Judged(original.output, self._scores(wordings))
            labels = [judged[i] for i in members if examples[i].about["kind"] == "labels"]
            for found in (original.statistics, *(one.statistics for one in labels)):
                if CONFIDENCE in found:
                    sure[first] = (found[CONFIDENCE][0], found[RIGHT][0])
        self._add_calibration(joined, sure)
        if examples and not examples[firsts[0]].choices:
            self._add_harms(joined, firsts)
        return joined

    def _wordings(
        self, members: Sequence[int], examples: Sequence[Example], judged: Sequence[Judged]
    ) -> dict[str, Judged]:
        """The score of each wording of an instance, by perturbation ("" for the original)."""
        by_name: dict[str, list[int]] = {}
        for i in members:
            if examples[i].about["kind"] == "answer":
                by_name.setdefault(examples[i].about["perturbation"], []).append(i)
        return {
            name: combined(self.own, [examples[i] for i in at], [judged[i] for i in at])
            for name, at in by_name.items()
        }

    def _scores(self, wordings: Mapping[str, Judged]) -> Statistics:
        """An instance's scores, those under each perturbation, and the worst cases."""
        original, main = wordings[""], self.own[0]
        # A perturbation without effect on a text is not requested: it has the original's score.
        under = {
            name: wordings.get(name, original).statistics[main][0]
            for name in ("", *self.perturbations)
        }
        found = {key: original.statistics[key] for key in self.own}
        found |= {self._under(name): [under[name]] for name in self.perturbations}
        for concern, names in self._members.items():
            if names:
                asked_as = [under[name] for name in ("", *names)]
                found[concern] = [worst(asked_as, self.higher_is_better)]
        return found

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
