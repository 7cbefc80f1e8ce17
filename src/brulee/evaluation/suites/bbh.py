"""BIG-bench Hard (Suzgun et al. 2022): 27 tasks, three shots with chain-of-thought reasoning.

Files as published: bbh/TASK.json (or data/TASK.json) and cot-prompts/TASK.txt. The answer is the
text after the last "answer is ", without a trailing full stop; this rule reproduces all 54
published accuracies from the published outputs of Codex.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, final

from pydantic import Field

from brulee.errors import InputError, nearest, unknown
from brulee.evaluation.scores import mean
from brulee.evaluation.suites.rows import check_folder, read_hub, read_json, read_text
from brulee.evaluation.tasks import (
    Aggregate,
    Example,
    Generation,
    Judged,
    Reply,
    Suite,
    SuiteTask,
    TaskScores,
)
from brulee.recipe import Strict
from brulee.recipe.base import Count

TASKS: Final[tuple[str, ...]] = (
    "boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa",
    "dyck_languages", "formal_fallacies", "geometric_shapes", "hyperbaton",
    "logical_deduction_five_objects", "logical_deduction_seven_objects",
    "logical_deduction_three_objects", "movie_recommendation", "multistep_arithmetic_two",
    "navigate", "object_counting", "penguins_in_a_table", "reasoning_about_colored_objects",
    "ruin_names", "salient_translation_error_detection", "snarks", "sports_understanding",
    "temporal_sequences", "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects",
    "web_of_lies", "word_sorting",
)  # fmt: skip
_HUB: Final = "lukaemon/bbh"
_QUESTION, _ANSWER = "\n\nQ: ", "\nA: "
_THINK: Final = "Let's think step by step."
_PHRASE: Final = "answer is "
_DASHES: Final = "-----"
# The next question; not only a capital Q, which reasoning may contain.
_STOP: Final = "\n\nQ:"

Prompt = Literal["cot", "direct"]


class Options(Strict):
    """The options of `--set`.

    prompt: cot includes the reasoning of the shots, direct only their answers. tasks: their names,
    all by default. prompts: the folder of the prompt files, if the data come from the Hub.
    max_new_tokens: the maximum length of reasoning and answer.
    """

    prompt: Prompt = "cot"
    tasks: list[str] = Field(default_factory=list)
    prompts: str | None = None
    max_new_tokens: Count = 512


@dataclass(frozen=True)
class Item:
    """A question and the exact text of its answer."""

    question: str
    answer: str


@final
class BBH(Suite):
    """Exact match of the final answer, averaged over tasks."""

    name = "bbh"
    summary = "BIG-bench Hard, with chains of thought"
    Options: ClassVar[type[Strict]] = Options

    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """One task per file."""
        for task in options.tasks:
            if task not in TASKS:
                raise unknown("task of bbh", task, TASKS)
        prompts = _prompts_folder(data, options)
        names = options.tasks or (TASKS if data is None else _held(data))
        generation = Generation(options.max_new_tokens, (_STOP,))
        return [
            BBHTask(name, data, prompts / f"{name}.txt", options.prompt, generation)
            for name in names
        ]

    def aggregates(self, scored: Mapping[str, TaskScores]) -> list[Aggregate]:
        """The macro average over tasks, as published."""
        parts = [[task.scores["exact_match"]] for task in scored.values()]
        if not parts:
            return []
        return [mean("bbh", "exact_match_macro", parts, len(TASKS), "macro: mean over tasks")]


@final
class BBHTask(SuiteTask):
    """One task: its prompt file before each question, greedy decoding, exact match."""

    metrics = ("exact_match",)

    def __init__(
        self, name: str, data: Path | None, prompt: Path, style: Prompt, generation: Generation
    ) -> None:
        self.name, self.generation = f"bbh/{name}", generation
        self._task, self._data, self._prompt, self._style = name, data, prompt, style

    def examples(self, limit: int | None = None) -> list[Example]:
        """The questions, each after the complete prompt file."""
        description, shots = read_prompt(self._prompt, self._style)
        opening = f"{_ANSWER}{_THINK}" if self._style == "cot" else _ANSWER.rstrip(" ")
        return [
            Example(
                id=str(number),
                preamble=description,
                shots=shots,
                question=f"{_QUESTION}{item.question}{opening}",
                references=(item.answer,),
            )
            for number, item in enumerate(self._items()[:limit])
        ]

    def judge(self, example: Example, reply: Reply) -> Judged:
        """Exact match of the extracted answer."""
        answer = extract(reply.text)
        return Judged(answer, {"exact_match": [float(answer in example.references)]})

    def _items(self) -> list[Item]:
        if self._data is not None:
            return read_items(_data_folder(self._data) / f"{self._task}.json")
        rows = read_hub(f"{_HUB}:{self._task}", "test")
        return [Item(row.text("input"), row.text("target")) for row in rows]


def extract(text: str) -> str:
    """The text after the last "answer is " (or the whole text), without a trailing full stop."""
    return text.split(_PHRASE)[-1].strip().removesuffix(".")


def read_prompt(file: Path, style: Prompt) -> tuple[str, tuple[str, ...]]:
    """The description in a prompt file, and its solved questions with their separators.

    The first lines, a canary and dashes, are not part of the prompt. Raises InputError for a file
    without them or without a solved question.
    """
    head, dashes, text = read_text(file).partition(f"\n{_DASHES}\n")
    if not dashes or "\n" in head:
        raise InputError(f"{file}: its second line must be {_DASHES}, after that of the canary.")
    description, *solved = text.split(_QUESTION)
    if not solved:
        raise InputError(f"{file}: no solved question; one begins with a line 'Q: '.")
    if style == "direct":
        solved = [_without_reasoning(shot, file) for shot in solved]
    return description, tuple(f"{_QUESTION}{shot}" for shot in solved)


def read_items(file: Path) -> list[Item]:
    """The questions of a data file. Raises InputError naming a malformed example."""
    examples = read_json(file).get("examples")
    if not isinstance(examples, list) or not examples:
        raise InputError(f"{file}: no list of examples, as a task of BBH has.")
    items = []
    for number, example in enumerate(examples, start=1):
        match example:
            case {"input": str(question), "target": str(answer)}:
                items.append(Item(question, answer))
            case _:
                raise InputError(f"{file}, example {number}: input and target must be texts.")
    return items


def _without_reasoning(shot: str, file: Path) -> str:
    question, begins, reasoning = shot.partition(f"{_ANSWER}{_THINK}")
    if not begins or _PHRASE not in reasoning:
        raise InputError(f"{file}: a solved question without '{_THINK}' or '{_PHRASE}'.")
    return f"{question}{_ANSWER}{extract(reasoning)}"


def _prompts_folder(data: Path | None, options: Options) -> Path:
    if options.prompts is not None:
        return Path(options.prompts)
    if data is None:
        raise InputError(
            "bbh: the Hub has the questions and not the prompts; name the folder of the published "
            "cot-prompts with --set prompts=DIR."
        )
    check_folder(data)
    return data / "cot-prompts"


def _data_folder(data: Path) -> Path:
    return data / "bbh" if (data / "bbh").is_dir() else data / "data"


def _held(data: Path) -> list[str]:
    """The tasks whose files exist, in the official order."""
    folder = _data_folder(data)
    files = sorted(file.stem for file in folder.glob("*.json"))
    held = [name for name in TASKS if name in files]
    if not held:
        close = [n for file in files for n in nearest(file, TASKS, 1)]
        hint = f"; its files are near {', '.join(close)}" if close else ""
        raise InputError(f"{folder}: no file of it is named after a task of BBH{hint}.")
    return held
