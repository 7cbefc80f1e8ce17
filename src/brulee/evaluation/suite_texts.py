"""The texts of a suite's items, to search for in training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from brulee.data.contamination import COMMON_ROWS
from brulee.data.list_marks import entry
from brulee.data.row_texts import RowTexts, row_texts
from brulee.data.rows import Rows
from brulee.data.sought import SHORT
from brulee.data.words import words
from brulee.errors import InputError
from brulee.evaluation.suite_options import suite_options
from brulee.evaluation.suites import suite
from brulee.evaluation.tasks import UNDER, Example

# How `about` marks the original among an item's variants.
_ORIGINAL: Final = {"perturbation": "", "kind": "answer"}

Record = dict[str, list[str]]


@dataclass(frozen=True)
class SuiteTexts:
    """The texts of a task's items, in one or several forms of the same rows.

    `units` names the item of each row (see `unit`), by task: the first task gives the texts their
    name, the others repeat the same questions.
    """

    forms: tuple[RowTexts, ...]
    units: dict[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """The task."""
        return self.forms[0].name


def suite_texts(
    name: str,
    data: Path | None,
    options: Mapping[str, Any] | None = None,
    option: str = "--set",
) -> list[SuiteTexts]:
    """The items of each task of a suite under `options` (default: the suite's own).

    An item's texts are its question, its choices and its correct answers, without few-shot examples
    and preamble. Short lines ("Answer:") that more than ten of the questions share, or more than
    half of them, are dropped. If questions list options ("A. ...", "- ..."), a second form of the
    same items has the options separately, like rows with a column for them, and a last form has
    question and options as one text. Perturbed items are left out, and so are tasks that repeat
    another's questions. Reads the Hub's copy without `data`. `option` is the name in messages of
    the command-line option that set the options.
    Raises InputError for an unknown suite or option, and for files that are missing or malformed.
    """
    found = suite(name)
    tasks = found.open(data, suite_options(found, options or {}, option))
    if not tasks:
        raise InputError(f"suite {name}: none of its files are in {data}.")
    seen: dict[tuple[str, ...], SuiteTexts] = {}
    for task in tasks:
        examples = [one for one in task.examples(None) if _is_original(one)]
        asked = tuple(one.question or "\n".join(one.choices) for one in examples)
        if not examples:
            continue
        if asked not in seen:
            seen[asked] = SuiteTexts(_forms(task.name, examples), {})
        seen[asked].units[task.name] = tuple(map(unit, examples))
    return list(seen.values())


def unit(example: Example) -> str:
    """The item that an example is a phrasing or a perturbed variant of."""
    if "kind" in example.about:
        return example.cluster
    return example.id.removesuffix(f"{UNDER}{example.about.get('phrasing', '')}")


def _forms(name: str, examples: Sequence[Example]) -> tuple[RowTexts, ...]:
    whole = _records(examples)
    apart = [_options_apart(record) for record in whole]
    forms = [whole]
    for form in (apart, [_as_one(record) for record in apart]):
        if form not in forms:
            forms.append(form)
    return tuple(row_texts(name, Rows.of(form, name)) for form in forms)


def _is_original(example: Example) -> bool:
    return all(example.about.get(key, usual) == usual for key, usual in _ORIGINAL.items())


def _records(examples: Sequence[Example]) -> list[Record]:
    lines = Counter(line for one in examples for line in set(one.question.splitlines()))
    often = max(1, min(COMMON_ROWS, len(examples) // 2))
    # A passage that many questions share is longer than SHORT words.
    shared = {line for line, n in lines.items() if n > often and len(words(line)) < SHORT}
    found: list[Record] = []
    for one in examples:
        choices = [choice.strip() for choice in one.choices]
        kept = [line for line in one.question.splitlines() if line not in shared]
        answers = [answer for answer in one.references if answer.strip() not in choices]
        texts = {"question": ["\n".join(kept)], "choices": choices, "answers": answers}
        found.append({column: [text for text in held if text] for column, held in texts.items()})
    return found


def _options_apart(record: Record) -> Record:
    """Move options that the question lists, with a marker or verbatim, into the choices."""
    choices = frozenset(record["choices"])
    options: list[str] = []
    rest: list[str] = []
    for line in "\n".join(record["question"]).splitlines():
        said = line.strip() if line.strip() in choices else entry(line)
        (rest if said is None else options).append(line if said is None else said)
    if not options:
        return record
    return {"question": ["\n".join(rest)], "choices": options, "answers": []}


def _as_one(record: Record) -> Record:
    """Question and options as one text, without markers before the options."""
    if not record["question"] or not record["choices"]:
        return record
    text = "\n".join([*record["question"], *record["choices"]])
    return {"question": [text], "choices": [], "answers": record["answers"]}
