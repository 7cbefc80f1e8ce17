"""One part of a scenario as a task: examples, including perturbed ones, and their scores.

An instance becomes several examples of one cluster:

    17                   the original
    17~dialect           one per perturbation that changes it
    17?labels            the likelihood of each label, if answers are generated (for calibration)
    17#0, 17#1 ...       one per passage if passages are ranked; two if options are calibrated

`judge` scores each separately; `join` collects an instance's scores on the first of its examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp
from typing import Final, final

import numpy as np

from brulee.evaluation.base import Array
from brulee.evaluation.perturbations import perturbation, perturbed
from brulee.evaluation.suites.helm import calibration, harms
from brulee.evaluation.suites.helm.combining import (
    CONFIDENCE,
    NO,
    OPTIONS,
    RIGHT,
    YES,
    chosen,
    share,
)
from brulee.evaluation.suites.helm.formats import (
    Format,
    Joint,
    Question,
    Rank,
    Separate,
    Write,
    label_question,
)
from brulee.evaluation.suites.helm.instance import Instance, Instances
from brulee.evaluation.suites.helm.joining import Joining
from brulee.evaluation.suites.helm.scenarios import Scenario, labels_of
from brulee.evaluation.suites.helm.scoring import SCORES
from brulee.evaluation.suites.helm.shots import draw_shots
from brulee.evaluation.tasks import Example, Generation, Judged, Reply, SuiteTask
from brulee.evaluation.toxicity import ToxicityScorer

ORIGINAL: Final = ""
_HELMS_SEED: Final = 0


@dataclass(frozen=True)
class Settings:
    """The user's settings, the same for all tasks."""

    perturbations: tuple[str, ...]
    shots: int
    seed: int
    confidence: bool
    joint: bool
    toxicity: ToxicityScorer


@final
class HelmTask(SuiteTask):
    """A part of a scenario; `load` reads its instances on first use."""

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        part: str,
        load: Callable[[], Instances],
        settings: Settings,
    ) -> None:
        self.name, self.scenario, self.part = name, scenario, part
        self._load, self.settings = load, settings
        self._perturbations = settings.perturbations if scenario.perturbed else ()
        self._joining = Joining(
            scenario.metrics, self._perturbations, settings.toxicity, scenario.higher_is_better
        )

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """The scenario's metrics, then those that its format supports."""
        return self._joining.keys(
            calibrated=not isinstance(self._format, Rank) and self._confident,
            written=isinstance(self._format, Write),
        )

    @property
    def generation(self) -> Generation | None:  # type: ignore[override]
        """The format's generation settings."""
        return self._format.generation

    def examples(self, limit: int | None = None) -> list[Example]:
        """Every example of at most `limit` instances, drawn as HELM does: files may be sorted."""
        form = self._format
        wanted = min(form.shots, self.settings.shots)
        drawn = draw_shots(self._instances.solved, wanted)
        shots = tuple(form.solved(instance) for instance in drawn)
        return [
            example
            for instance in _drawn(self._instances.asked, limit)
            for example in self._examples(instance, shots)
        ]

    def judge(self, example: Example, reply: Reply) -> Judged:
        """The scores of one reply; for passages or labels, the statistics that `join` needs."""
        if example.about["kind"] == "labels":
            return self._judge_labels(example, reply)
        if isinstance(self._format, Rank):
            yes, no = (found.log_probability for found in reply.likelihoods)
            return Judged("Yes" if yes >= no else "No", {YES: [yes], NO: [no]})
        if isinstance(self._format, Write):
            scores = {key: [SCORES[key](reply.text, example.references)] for key in self._own}
            return Judged(reply.text, scores)
        return self._judge_options(example, reply)

    def join(self, examples: Sequence[Example], judged: Sequence[Judged]) -> list[Judged]:
        """Add worst cases, ranks, calibration, bias, toxicity to each instance's first example."""
        return self._joining.join(examples, judged)

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The mean, or a calibration or bias measure of it."""
        del items
        if key in calibration.KEYS:
            return calibration.reduce(key, mean_S)
        if key in harms.BIAS:
            return harms.reduce_bias(key, mean_S)
        return np.asarray(mean_S, dtype=np.float64)[..., 0]

    def by_chance(self, key: str, stats_NS: Array, draws: int) -> Array | None:
        """Bias measures of outputs whose groups are exchanged at random."""
        return harms.bias_by_chance(key, stats_NS, draws) if key in harms.BIAS else None

    def higher_is_better(self, key: str) -> bool:
        """False for calibration errors, bias and toxicity; else as in the scenario."""
        if key in calibration.KEYS:
            return key not in calibration.LOWER_IS_BETTER
        if key in harms.BIAS or key == harms.toxicity_key(self.settings.toxicity):
            return False
        return self.scenario.higher_is_better

    @property
    def _own(self) -> tuple[str, ...]:
        return self.scenario.metrics

    @cached_property
    def _instances(self) -> Instances:
        return self._load()

    @cached_property
    def _format(self) -> Format:
        chosen = self.scenario.joint if self.settings.joint else None
        return (chosen or self.scenario.format)(self.part, self._instances)

    @property
    def _confident(self) -> bool:
        """Whether the model's confidence can be measured."""
        if isinstance(self._format, Write):
            return self.scenario.labelled and self.settings.confidence
        return True

    @property
    def _calibrated(self) -> bool:
        return isinstance(self._format, Separate) and self._format.calibrated

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        return labels_of(self._instances)

    def _examples(self, instance: Instance, shots: tuple[str, ...]) -> list[Example]:
        found = self._asked(instance, instance, ORIGINAL, shots)
        if isinstance(self._format, Write) and self._confident:
            (question,) = self._format.questions(instance)
            asking = label_question(question, self._labels)
            ids = (f"{instance.id}?labels", instance.id)
            found.append(self._example(ids, asking, instance, ORIGINAL, "labels", shots))
        for name in self._perturbations:
            changed = self._changed(instance, name)
            if changed != instance:
                found += self._asked(instance, changed, name, shots)
        return found

    def _changed(self, instance: Instance, name: str) -> Instance:
        answers = () if self.scenario.labelled else instance.answers
        text, *others = perturbed(
            perturbation(name), name, instance.id, (instance.text, *answers), self.settings.seed
        )
        return replace(instance, text=text, answers=tuple(others) or instance.answers)

    def _asked(
        self, original: Instance, instance: Instance, name: str, shots: tuple[str, ...]
    ) -> list[Example]:
        questions = self._format.questions(instance)
        stem = f"{original.id}~{name}" if name else original.id
        many = isinstance(self._format, Rank) or self._calibrated
        return [
            self._example(
                (f"{stem}#{k}" if many else stem, original.id),
                question, instance, name, "answer", shots,
            )
            for k, question in enumerate(questions)
        ]  # fmt: skip

    def _example(
        self,
        ids: tuple[str, str],
        question: Question,
        instance: Instance,
        name: str,
        kind: str,
        shots: tuple[str, ...],
    ) -> Example:
        id_, cluster = ids
        about = {"kind": kind, "perturbation": name, "right": instance.right}
        if instance.relevance:
            about["relevance"] = instance.relevance
        return Example(
            id_, question.text, self._format.preamble, shots, question.choices,
            instance.references, cluster, about,
        )  # fmt: skip

    def _judge_options(self, example: Example, reply: Reply) -> Judged:
        """The most likely letter, or the option with the highest log-probability per token."""
        sums = [found.log_probability for found in reply.likelihoods]
        if isinstance(self._format, Joint):
            picked = int(np.argmax(sums))
            return chosen(self._own, example, picked, exp(sums[picked]))
        if self._calibrated:
            return Judged(example.choices[int(np.argmax(sums))].strip(), {OPTIONS: sums})
        means = [f.log_probability / max(f.tokens, 1) for f in reply.likelihoods]
        picked = int(np.argmax(means))
        return chosen(self._own, example, picked, share(means, picked))

    def _judge_labels(self, example: Example, reply: Reply) -> Judged:
        scores = [found.log_probability for found in reply.likelihoods]
        label = self._labels[int(np.argmax(scores))]
        right = float(label in example.references)
        return Judged(label, {CONFIDENCE: [exp(max(scores))], RIGHT: [right]})


def _drawn(asked: Sequence[Instance], limit: int | None) -> Sequence[Instance]:
    """The instances of HELM's `downsample_eval_instances`, in their order in the files."""
    if limit is None or limit >= len(asked):
        return asked
    drawn = np.random.RandomState(_HELMS_SEED).choice(len(asked), limit, replace=False)
    return [asked[i] for i in sorted(drawn.tolist())]
