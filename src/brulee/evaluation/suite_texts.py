"""What the items of a suite say, to be looked for in training rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from brulee.data.contamination import COMMON_ROWS, SHORT
from brulee.data.row_texts import RowTexts, row_texts
from brulee.data.rows import Rows
from brulee.data.words import words
from brulee.errors import InputError
from brulee.evaluation.suite_options import suite_options
from brulee.evaluation.suites import suite
from brulee.evaluation.tasks import Example

# Of an item that a suite asks in several ways, how the first is marked in `about`.
_ORIGINAL: Final = {"perturbation": "", "kind": "answer"}
_OPTION: Final = re.compile(r"\(?[A-Z][.)]\s+")  # "A. ", "(A) "

Record = dict[str, list[str]]


def suite_texts(
    name: str,
    data: Path | None,
    options: Mapping[str, Any] | None = None,
    option: str = "--set",
) -> Iterator[tuple[RowTexts, ...]]:
    """The items of each task of a suite, as its options (default: its own) ask them.

    An item's texts are its question, its choices and its right answers; solved examples and what
    stands before them are no part of it, nor are short lines ("Answer:") that more than ten of the
    questions share, or more than half of them. Where questions list options ("A. ...") a second
    form of the same items has them apart, as rows have them in columns of their own, and a third
    behind the question without their letters, as other templates write them. Items that
    were changed on purpose are left out, and tasks that ask another's questions again. Without
    `data` the Hub's copy is read. `option` is what messages call that which gave the options.
    Raises InputError for an unknown suite or option, and for files that are missing or malformed.
    """
    found = suite(name)
    tasks = found.open(data, suite_options(found, options or {}, option))
    if not tasks:
        raise InputError(f"suite {name}: nothing of it is in {data}.")
    seen: set[tuple[str, ...]] = set()
    for task in tasks:
        examples = [one for one in task.examples(None) if _is_original(one)]
        asked = tuple(one.question or "\n".join(one.choices) for one in examples)
        if examples and asked not in seen:
            seen.add(asked)
            whole = _records(examples)
            apart = [_options_apart(record) for record in whole]
            forms = [whole, apart, list(map(_joined, apart))] if apart != whole else [whole]
            yield tuple(row_texts(task.name, Rows.of(form, task.name)) for form in forms)


def _is_original(example: Example) -> bool:
    return all(example.about.get(key, usual) == usual for key, usual in _ORIGINAL.items())


def _records(examples: Sequence[Example]) -> list[Record]:
    lines = Counter(line for one in examples for line in set(one.question.splitlines()))
    often = max(1, min(COMMON_ROWS, len(examples) // 2))
    # A passage that many questions are about is longer.
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
    lines = "\n".join(record["question"]).splitlines()
    options = [_OPTION.sub("", line) for line in lines if _OPTION.match(line)]
    if not options:
        return record
    rest = "\n".join(line for line in lines if not _OPTION.match(line))
    return {"question": [rest], "choices": options, "answers": []}


def _joined(record: Record) -> Record:
    """An item in one text."""
    texts = [*record["question"], *record["choices"]]
    return {"question": ["\n".join(texts)], "choices": [], "answers": record["answers"]}
