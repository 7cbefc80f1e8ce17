"""One JSON task of BIG-bench as a `SuiteTask`, with one kind of request.

A task's metrics may need up to three kinds of requests: choosing between answers, generating them,
and scoring their likelihood. Each is a separate task here; the one with the task's preferred score
has the task's name.
"""

from __future__ import annotations

from typing import Final, final

from brulee.evaluation.base import Array
from brulee.evaluation.suites.bigbench_chosen import Chosen
from brulee.evaluation.suites.bigbench_prompt import Written, ask, write
from brulee.evaluation.suites.bigbench_schema import (
    CHOSEN,
    GENERATED,
    SCORED,
    JsonTask,
)
from brulee.evaluation.suites.bigbench_written import Generated, Likely
from brulee.evaluation.tasks import Example, Generation, Judged, Reply, SuiteTask

_Way = Chosen | Generated | Likely
_KINDS: Final = {Chosen: "chosen", Generated: "generated", Likely: "likely"}
_LOWER_IS_BETTER: Final = ("calibration_multiple_choice_brier_score", "expected_calibration_error")
# For these, an answer that is longer than every target is wrong.
_EXACT: Final = ("exact_str_match", "case_insensitive_str_match")
_SLACK = 8  # tokens that the pattern skips before an answer, such as white space
_LOWEST: Final = {
    "log_likelihood": -10.0,
    "weighted_log_probabilities": -10.0,
    "weighted_probabilities": -1.0,
}
_HIGHEST: Final = {"log_likelihood": 0.0, "weighted_log_probabilities": 0.0}


@final
class BigBenchTask(SuiteTask):
    """A task with one kind of request; `preferred` is its preferred score, or None without it."""

    def __init__(self, name: str, task: JsonTask, way: _Way, shots: int, most: int) -> None:
        self.task, self.way, self.shots = task, way, shots
        self.preferred = task.preferred_score if task.preferred_score in way.metrics else None
        self.name = name if self.preferred else f"{name}+{_KINDS[type(way)]}"
        self.metrics = tuple(sorted(way.metrics, key=lambda key: key != self.preferred))
        if isinstance(way, Generated):
            self.generation = Generation(_most_tokens(task, most))

    def examples(self, limit: int | None = None) -> list[Example]:
        """The items; with `limit`, the subset that `bigbench` draws."""
        return [
            Example(
                id=str(asked.written.number),
                preamble=self.task.task_prefix,
                shots=asked.shots,
                question=asked.written.question,
                choices=self._choices(asked.written),
                references=self._references(asked.written),
                about={"written": asked.written},
            )
            for asked in ask(self.task, self.shots, limit)
        ]

    def judge(self, example: Example, reply: Reply) -> Judged:
        """The answer and its statistics."""
        written: Written = example.about["written"]
        if isinstance(self.way, Generated):
            return Judged(*self.way.judge(written, reply.text))
        return Judged(*self.way.judge(written, [f.log_probability for f in reply.likelihoods]))

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """See `Chosen`, `Generated` and `Likely`."""
        return self.way.reduce(key, mean_S, items)

    def higher_is_better(self, key: str) -> bool:
        """True for all scores except the two calibration errors."""
        return key not in _LOWER_IS_BETTER

    def range(self) -> tuple[float, float]:
        """The preferred score at chance level, and its best value."""
        key = self.task.preferred_score
        if key == "multiple_choice_grade":
            scores = [list((e.target_scores or {}).values()) for e in self.task.examples]
            return sum(sum(s) / len(s) for s in scores) / len(scores), 1.0
        return _LOWEST.get(key, 0.0), _HIGHEST.get(key, 1.0)

    def _choices(self, written: Written) -> tuple[str, ...]:
        if isinstance(self.way, Chosen):
            return written.choices
        return written.targets if isinstance(self.way, Likely) else ()

    def _references(self, written: Written) -> tuple[str, ...]:
        if isinstance(self.way, Chosen):
            best = max(written.scores)
            pairs = zip(written.choices, written.scores, strict=True)
            return tuple(choice for choice, score in pairs if score == best)
        return written.targets


def ways(name: str, task: JsonTask, shots: int, most: int) -> list[BigBenchTask]:
    """A task for each kind of request that its metrics need, that of the preferred score first.

    Raises InputError for a score that is not supported.
    """
    found: list[_Way] = []
    if task.asks(CHOSEN):
        found.append(Chosen(task))
    if task.asks(GENERATED):
        found.append(Generated(task))
    if task.asks(SCORED):
        found.append(Likely(task))
    tasks = [BigBenchTask(name, task, way, shots, most) for way in found if way.metrics]
    return sorted(tasks, key=lambda one: one.preferred is None)


def _most_tokens(task: JsonTask, most: int) -> int:
    """The maximum length of an answer, limited to lengths that can still be correct."""
    plain = task.output_regex is None and task.stop_string is None
    if not plain or set(task.asks(GENERATED)) - set(_EXACT):
        return most
    longest = max(len(target.encode()) for w in write(task) for target in w.targets)
    return min(most, longest + _SLACK)
