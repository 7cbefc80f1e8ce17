"""IFEval (Zhou et al. 2023, arXiv 2311.07911): instructions that a program can check.

541 prompts with one to three instructions each ("without commas", "at least 300 words"). A response
is judged strictly, and loosely (`instructions.loosely`); a score is the share of prompts of which
all instructions are followed, or that of instructions. Zero-shot, greedy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final, Literal, final

import numpy as np

from brulee.evaluation.base import Array
from brulee.evaluation.suites.ifeval.instructions import KINDS, loosely, strictly
from brulee.evaluation.suites.ifeval.rows import read_items
from brulee.evaluation.tasks import (
    Example,
    Framing,
    Generation,
    Judged,
    Reply,
    Suite,
    SuiteTask,
)
from brulee.recipe import Strict
from brulee.recipe.base import Count

_JUDGES: Final = {"strict": strictly, "loose": loosely}
GROUPS: Final = tuple(dict.fromkeys(kind.partition(":")[0] for kind in KINDS))


class Options(Strict):
    """The options of `--set`.

    prompt: chat is the prompt in the model's chat template, or its text alone for a model without
    one; plain is always the text alone. max_new_tokens: the maximum length of a response,
    reasoning included.
    """

    prompt: Literal["chat", "plain"] = "chat"
    max_new_tokens: Count = 1280


@final
class IFEval(Suite):
    """One task, whose main score is the share of prompts that are followed strictly."""

    name = "ifeval"
    summary = "instructions that a program can check, such as a number of words"
    single: ClassVar[bool] = True
    Options: ClassVar[type[Strict]] = Options

    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """The task; its file is read when its examples are."""
        return [IFEvalTask(data, options.prompt, options.max_new_tokens)]


@final
class IFEvalTask(SuiteTask):
    """Prompts with instructions, each item's statistics the followed ones and their number.

    Instructions of one prompt are resampled together, because they are judged by one response.
    """

    name = "ifeval"
    metrics = tuple(f"{of}_{how}" for of in ("prompt", "instruction", *GROUPS) for how in _JUDGES)

    def __init__(self, data: Path | None, framing: Framing, most: int) -> None:
        self.framing = framing
        # The published judgement sees a response's empty first lines too.
        self.generation = Generation(most, stripped=False)
        self._data = data

    def examples(self, limit: int | None = None) -> list[Example]:
        """One example per prompt."""
        return [
            Example(
                id=str(item.key),
                question=item.prompt,
                about={"instructions": item.instructions},
            )
            for item in read_items(self._data, limit)
        ]

    def judge(self, example: Example, reply: Reply) -> Judged:
        """Which instructions the reply follows: by prompt, by instruction, and by group."""
        instructions = example.about["instructions"]
        statistics: dict[str, list[float]] = {}
        for how, judge in _JUDGES.items():
            followed = judge(instructions, reply.text)
            statistics[f"prompt_{how}"] = [float(all(followed))]
            statistics[f"instruction_{how}"] = [float(sum(followed)), float(len(followed))]
            for one, right in zip(instructions, followed, strict=True):
                of_group = statistics.setdefault(f"{one.group}_{how}", [0.0, 0.0])
                of_group[0] += right
                of_group[1] += 1
        return Judged(reply.text, statistics)

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The share of prompts, or followed instructions over all."""
        del items
        mean = np.asarray(mean_S, dtype=np.float64)
        return mean[..., 0] if key.startswith("prompt_") else mean[..., 0] / mean[..., 1]
