"""The speed of an evaluated model, measured once and cached with its replies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from brulee import progress
from brulee.evaluation.asking import ask
from brulee.evaluation.efficiency import NEW_TOKENS, Efficiency, measure
from brulee.evaluation.tasks import Example, Generation
from brulee.inference.session import Session
from brulee.models.context import context_length
from brulee.pipeline.lock import file_lock
from brulee.textfile import write_text

_FILE: Final = "efficiency.json"
_PROMPTS: Final = 8


def speed_of(
    session: Session, examples: Mapping[str, Sequence[Example]], folder: Path
) -> Efficiency:
    """The speed of the model on the first prompts of a suite, taken from the tasks in turn.

    A measurement in `folder` is reused.
    """
    file = folder / _FILE
    with file_lock(file, _say_waiting):
        if file.is_file():
            return Efficiency(**json.loads(file.read_text(encoding="utf-8")))
        found = measure(session.engine, _prompts(session, examples))
        write_text(file, json.dumps(asdict(found)) + "\n")
        return found


def _say_waiting() -> None:
    progress.note("waiting for another evaluation, which is measuring this model's speed.")


def _prompts(session: Session, examples: Mapping[str, Sequence[Example]]) -> list[tuple[int, ...]]:
    tasks = [list(dict.fromkeys(e.context() for e in found)) for found in examples.values()]
    turns = (task[turn] for turn in range(_PROMPTS) for task in tasks if turn < len(task))
    texts = [text for text, _ in zip(turns, range(_PROMPTS), strict=False)]
    context = context_length(session.base.model)
    reserved = session.attached.reserved if session.attached else 0
    asked = ask(
        [Example(id=str(i), question=text) for i, text in enumerate(texts)],
        session.encoder,
        "plain",
        Generation(NEW_TOKENS),
        None if context is None else context - reserved,
    )
    return [one.prompt for one in asked]
