"""The prompt for a document: description, shots, question, choices.

Every text is identical to that of lm-evaluation-harness 0.4.13, including the random choice of
shots (Python's generator, seed 1234, drawn document by document).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from brulee.errors import InputError
from brulee.evaluation.suites.harness_config import TaskConfig
from brulee.evaluation.suites.harness_data import Documents
from brulee.evaluation.suites.harness_fields import (
    Document,
    choices_of,
    prefix_of,
    target_of,
    text_of,
)
from brulee.evaluation.tasks import Example

SEED: Final = 1234


@dataclass(frozen=True)
class Wanted:
    """What scoring a reply to a document needs: its choices and its correct answers.

    `gold` holds indices of choices, or texts if the answer is generated.
    """

    choices: tuple[str, ...]
    gold: tuple[int, ...] | tuple[str, ...]


def examples(task: TaskConfig, documents: Documents, limit: int | None) -> list[Example]:
    """The first `limit` documents as examples."""
    tested = documents.tested()[:limit]
    count = task.num_fewshot or 0
    pool = documents.solved() if count else []
    sampler = random.Random(SEED)
    found = []
    for number, document in enumerate(tested):
        drawn = _drawn(task, document, pool, count, sampler) if count else []
        shots = tuple(_shot(task, solved) for solved in drawn)
        found.append(_example(task, str(number), document, shots))
    return found


def _example(task: TaskConfig, id_: str, document: Document, shots: tuple[str, ...]) -> Example:
    wanted = _wanted(task, document)
    continuations = _continuations(task, wanted)
    if task.output_type == "loglikelihood_rolling":
        return Example(id_, "", choices=continuations, about={"wanted": wanted})
    return Example(
        id_,
        _question(task, document),
        preamble=prefix_of(document, task.description),
        shots=shots,
        choices=continuations,
        references=tuple(wanted.choices[g] if isinstance(g, int) else g for g in wanted.gold),
        about={"wanted": wanted},
    )


def _question(task: TaskConfig, document: Document) -> str:
    text = _text(task, document, task.doc_to_text)
    return _joined(text, task.target_delimiter, prefix_of(document, task.gen_prefix))


def _continuations(task: TaskConfig, wanted: Wanted) -> tuple[str, ...]:
    if task.output_type == "generate_until":
        return ()
    if task.output_type == "multiple_choice":
        return tuple(f"{task.target_delimiter}{choice}" for choice in wanted.choices)
    # The text itself, including its delimiter, if any.
    return (str(wanted.gold[0]),)


def _wanted(task: TaskConfig, document: Document) -> Wanted:
    with_choices = task.doc_to_choice is not None
    choices = tuple(choices_of(document, task.doc_to_choice)) if with_choices else ()
    target = target_of(document, task.doc_to_target, with_choices)
    golds = list(target) if isinstance(target, list) else [target]
    if not golds:
        raise InputError(f"{document.place}: doc_to_target gives no answer.")
    if with_choices and task.output_type in ("multiple_choice", "generate_until"):
        numbers = tuple(_number(document, choices, gold) for gold in golds)
        if task.output_type == "generate_until":
            return Wanted(choices, tuple(choices[n] for n in numbers))
        return Wanted(choices, numbers)
    return Wanted(choices, tuple(str(gold) for gold in golds))


def _number(document: Document, choices: Sequence[str], gold: Any) -> int:
    if isinstance(gold, str) and gold in choices:
        return choices.index(gold)
    if isinstance(gold, int) and 0 <= gold < len(choices):
        return int(gold)
    raise InputError(
        f"{document.place}: doc_to_target gives {gold!r}; it must be one of the choices or a "
        f"number from 0 to {len(choices) - 1}."
    )


def _shot(task: TaskConfig, document: Document) -> str:
    """A solved example followed by the delimiter."""
    style = task.shots_config
    text = _text(task, document, style.doc_to_text)
    with_choices = task.doc_to_choice is not None
    prefix, delimiter = prefix_of(document, style.gen_prefix), style.target_delimiter or ""
    answer = target_of(document, style.doc_to_target, with_choices)
    if answer is None or answer == "":  # no delimiter follows then, as in the harness
        return _joined(text, delimiter, prefix)
    if isinstance(answer, int) and style.doc_to_choice is not None:
        choices = choices_of(document, style.doc_to_choice)
        answer = choices[_number(document, choices, answer)]
    if isinstance(answer, list):
        answer = answer[0] if answer else None
    if not isinstance(answer, str):
        raise InputError(f"{document.place}: doc_to_target gives {answer!r}, which is not text.")
    begun = f"{text}{delimiter}"
    if prefix:
        begun, answer = "", _joined(text, delimiter, _joined(prefix, " ", answer))
    return f"{begun}{answer}{style.fewshot_delimiter or ''}"


def _joined(before: str, delimiter: str, after: str) -> str:
    """Two texts, with the delimiter between them unless one is empty or has whitespace there."""
    apart = before and after and not (before[-1].isspace() or after[0].isspace())
    return f"{before}{delimiter if apart else ''}{after}"


def _text(task: TaskConfig, document: Document, field: Any) -> str:
    found = text_of(document, field, task.doc_to_choice is not None)
    if isinstance(found, int) and task.doc_to_choice is None:
        raise InputError(f"{document.place}: doc_to_text gives the number {found}, not a text.")
    if isinstance(found, int):
        raise InputError(
            f"{document.place}: doc_to_text gives the number {found}, so that each choice has its "
            "own context, which is not supported here."
        )
    return found


def _drawn(
    task: TaskConfig,
    document: Document,
    pool: Sequence[Document],
    count: int,
    sampler: random.Random,
) -> list[Document]:
    """The shots for one document, never the document itself."""
    style = task.shots_config
    own = style.split == task.test_split  # the document itself may be among them
    others = (other for other in pool if not own or other.values != document.values)
    if style.sampler == "first_n":
        drawn = list(islice(others, count))
    else:  # one more is drawn, in case the document itself is among them
        drawn = sampler.sample(pool, min(count + own, len(pool)))
        drawn = [other for other in drawn if not own or other.values != document.values][:count]
        if len(drawn) < count:
            left = list(others)
            drawn = sampler.sample(left, min(count, len(left)))
    if len(drawn) < count:
        raise InputError(
            f"{task.task}: num_fewshot is {count}, but only {len(drawn)} rows can be shots."
        )
    return drawn
