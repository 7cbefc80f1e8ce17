"""MMLU (Hendrycks et al. 2021): multiple choice in 57 subjects, five shots.

Files as published: dev/SUBJECT_dev.csv (the shots), val/SUBJECT_val.csv, test/SUBJECT_test.csv,
with rows `question,A,B,C,D,letter`. The answer is the most likely of " A" to " D". The authors'
script reports the mean over all questions ("micro"), others the mean over subjects ("macro"); this
suite reports both under these names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, final

from pydantic import Field

from brulee.errors import InputError, unknown
from brulee.evaluation.matching import ExactMatch
from brulee.evaluation.scores import mean, pooled
from brulee.evaluation.suites.labels import LabelTask
from brulee.evaluation.suites.mmlu_subjects import CATEGORIES, SUBJECTS
from brulee.evaluation.suites.rows import Row, check_folder, read_csv, read_hub
from brulee.evaluation.tasks import Aggregate, Example, Suite, SuiteTask, TaskScores
from brulee.recipe import Strict

LETTERS: Final = ("A", "B", "C", "D")
_HUB: Final = "cais/mmlu"
_COLUMNS: Final = ("question", *LETTERS, "answer")
Prompt = Literal["original", "harness"]
Split = Literal["test", "val"]


class Options(Strict):
    """The options of `--set`.

    prompt: original is the authors' text with its double space before the subject; harness is that
    of lm-evaluation-harness. split: by default test, or val if only that exists.
    """

    prompt: Prompt = "original"
    subjects: list[str] = Field(default_factory=lambda: list(SUBJECTS))
    shots: Annotated[int, Field(ge=0, le=5)] = 5
    split: Split | None = None


@final
class MMLU(Suite):
    """57 subjects, four categories, micro and macro averages."""

    name = "mmlu"
    summary = "57 exams, four answers to a question"
    Options: ClassVar[type[Strict]] = Options

    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """One task per subject."""
        for subject in options.subjects:
            if subject not in SUBJECTS:
                raise unknown("subject of mmlu", subject, SUBJECTS)
        split = _split(data, options)
        return [
            LabelTask(
                f"mmlu/{subject}",
                LETTERS,
                [ExactMatch("accuracy")],
                partial(_examples, data, subject, options, split),
            )
            for subject in options.subjects
        ]

    def aggregates(self, scored: Mapping[str, TaskScores]) -> list[Aggregate]:
        """Micro and macro averages over all subjects, and each category's micro average."""
        found = {
            s: scored[f"mmlu/{s}"].scores["accuracy"] for s in SUBJECTS if f"mmlu/{s}" in scored
        }
        if not found:
            return []
        of = len(SUBJECTS)
        averages = [
            pooled(
                "mmlu", "accuracy_micro", list(found.values()), of, "micro: mean over questions"
            ),
            mean(
                "mmlu",
                "accuracy_macro",
                [[s] for s in found.values()],
                of,
                "macro: mean over subjects",
            ),
        ]
        for category, subjects in CATEGORIES.items():
            part = [found[s] for s in subjects if s in found]
            if part:
                label = f"{category}: mean over questions"
                averages.append(
                    pooled(f"mmlu/{category}", "accuracy_micro", part, len(subjects), label)
                )
        return averages


def _split(data: Path | None, options: Options) -> Split:
    """The requested split; by default test, or val if the folder has no test."""
    if data is None:
        return options.split or "test"
    check_folder(data)
    held: list[Split] = [split for split in ("test", "val") if (data / split).is_dir()]
    if not held:
        raise InputError(f"{data}: it has neither a folder test nor val, which hold MMLU's files.")
    if options.split is not None and options.split not in held:
        raise InputError(f"{data}: no folder {options.split}; it has {held[0]}.")
    return options.split or held[0]


def _examples(
    data: Path | None, subject: str, options: Options, split: Split, limit: int | None
) -> list[Example]:
    rows = _rows(data, subject, split)[:limit]
    solved = _rows(data, subject, "dev")[: options.shots] if options.shots else []
    spaced = subject.replace("_", " ")
    # The double space is the authors': their format_subject puts a space before every word.
    topic = f" {spaced}" if options.prompt == "original" else spaced
    preamble = f"The following are multiple choice questions (with answers) about {topic}.\n\n"
    shots = tuple(f"{_question(row, options.prompt)} {_letter(row)}\n\n" for row in solved)
    return [
        Example(
            id=f"{split}/{i}",
            preamble=preamble,
            shots=shots,
            question=_question(row, options.prompt),
            choices=tuple(f" {letter}" for letter in LETTERS),
            references=(_letter(row),),
            about={"gold": LETTERS.index(_letter(row))},
        )
        for i, row in enumerate(rows)
    ]


def _rows(data: Path | None, subject: str, split: str) -> Sequence[Row]:
    if data is not None:
        return read_csv(data / split / f"{subject}_{split}.csv", _COLUMNS)
    published = {"val": "validation"}.get(split, split)
    return [_from_hub(row) for row in read_hub(f"{_HUB}:{subject}", published)]


def _from_hub(row: Row) -> Row:
    options = zip(LETTERS, row.get("choices"), strict=True)
    answer = LETTERS[row.get("answer")]
    return Row(row.place, {"question": row.text("question"), **dict(options), "answer": answer})


def _question(row: Row, prompt: Prompt) -> str:
    question = row.text("question")
    asked = question.strip() if prompt == "harness" else question
    options = "".join(f"\n{letter}. {row.text(letter)}" for letter in LETTERS)
    return f"{asked}{options}\nAnswer:"


def _letter(row: Row) -> str:
    letter = row.text("answer")
    if letter not in LETTERS:
        raise InputError(f"{row.place}: the answer is {letter!r}; it must be A, B, C or D.")
    return letter
