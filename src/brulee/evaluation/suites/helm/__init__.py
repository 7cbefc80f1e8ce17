"""HELM (Liang et al. 2022, "Holistic evaluation of language models"): 16 scenarios, seven metrics.

For every scenario: accuracy, calibration, robustness, fairness, bias, toxicity; for the model as a
whole, efficiency (evaluation/efficiency.py). A data folder contains a folder per scenario with its
officially published files; missing scenarios are left out unless they are requested by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, final

from pydantic import Field

from brulee.errors import InputError, unknown
from brulee.evaluation.perturbations import CANONICAL, perturbation
from brulee.evaluation.scores import mean
from brulee.evaluation.suites.helm.scenarios import MMLU_SUBJECTS, SCENARIOS, Scenario
from brulee.evaluation.suites.helm.task import HelmTask, Settings
from brulee.evaluation.suites.mmlu_subjects import SUBJECTS
from brulee.evaluation.suites.rows import check_folder
from brulee.evaluation.tasks import Aggregate, Suite, SuiteTask, TaskScores
from brulee.evaluation.toxicity import scorer
from brulee.recipe import Strict

NONE: Final = "none"


class Options(Strict):
    """The options of `--set`.

    scenarios: by default all in the folder. subjects: of MMLU; by default HELM's five. perturb: by
    default HELM's four; "none" for no perturbations. method: joint shows options with letters even
    if HELM scores them separately. confidence: also score the likelihood of each label, for
    calibration. toxicity: lexicon, or package.module:maker. seed: for the perturbations.
    """

    scenarios: list[str] = Field(default_factory=list)
    subjects: list[str] = Field(default_factory=lambda: list(MMLU_SUBJECTS))
    perturb: list[str] = Field(default_factory=lambda: list(CANONICAL))
    shots: Annotated[int, Field(ge=0, le=5)] = 5
    method: Literal["helm", "joint"] = "helm"
    confidence: bool = True
    toxicity: str = "lexicon"
    seed: int = 0


@final
class HELM(Suite):
    """The core scenarios, one task per part."""

    name = "helm"
    summary = "16 scenarios, each by accuracy, calibration, robustness, fairness, bias, toxicity"
    timed: ClassVar[bool] = True
    Options: ClassVar[type[Strict]] = Options

    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """One task per scenario, MMLU subject, CivilComments group or RAFT subset."""
        settings = _settings(options)
        tasks: list[SuiteTask] = []
        for name in _chosen(data, options.scenarios):
            scenario = SCENARIOS[name]
            for part in _parts(name, scenario, options.subjects, data):
                full = f"helm/{name}/{part}" if part else f"helm/{name}"
                load = partial(scenario.source.open, data, part)
                tasks.append(HelmTask(full, scenario, part, load, settings))
        return tasks

    def aggregates(self, scored: Mapping[str, TaskScores]) -> list[Aggregate]:
        """For scenarios with several parts, the mean of every score over the parts."""
        averages = []
        for name, scenario in SCENARIOS.items():
            parts = [s for task, s in scored.items() if task.startswith(f"helm/{name}/")]
            if parts:
                averages += _means(f"helm/{name}", parts, max(len(parts), len(scenario.parts)))
        return averages


def _settings(options: Options) -> Settings:
    names = [] if options.perturb == [NONE] else options.perturb
    for name in names:
        perturbation(name)
    return Settings(
        tuple(names), options.shots, options.seed, options.confidence, options.method == "joint",
        scorer(options.toxicity),
    )  # fmt: skip


def _chosen(data: Path | None, asked: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in SCENARIOS:
            raise unknown("scenario of helm", name, SCENARIOS)
    if data is None:
        return list(asked) or [n for n, scenario in SCENARIOS.items() if scenario.source.hub]
    check_folder(data)
    held = [n for n, scenario in SCENARIOS.items() if scenario.source.folder(data)]
    missing = [name for name in asked if name not in held]
    if missing or not held:
        wanted = missing or list(SCENARIOS)
        names = sorted({SCENARIOS[name].source.folders[0] for name in wanted})
        raise InputError(f"{data}: no folder {' or '.join(names)} for helm's scenarios in it.")
    return list(asked) or held


def _parts(
    name: str, scenario: Scenario, subjects: Sequence[str], data: Path | None
) -> Sequence[str]:
    if name != "mmlu":
        return [part for part in scenario.parts if scenario.source.holds(data, part)]
    for subject in subjects:
        if subject not in SUBJECTS:
            raise unknown("subject of mmlu", subject, SUBJECTS)
    return subjects


def _means(task: str, parts: Sequence[TaskScores], of: int) -> list[Aggregate]:
    keys = dict.fromkeys(key for part in parts for key in part.scores)
    return [
        mean(
            task,
            key,
            [[part.scores[key]] for part in parts if key in part.scores],
            of,
            f"{key}: mean over parts",
        )
        for key in keys
    ]
