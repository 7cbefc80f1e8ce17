"""Training on the report page: a summary, the losses, completions during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from brulee.errors import InputError
from brulee.reporting import charts, wording
from brulee.reporting.items import read_lines
from brulee.reporting.page_tables import both_widths, number, table
from brulee.reporting.results import Training

Event = Mapping[str, Any]
_LOSSES = ("step", "validation")
_MOST_STEPS = 8  # shown per prompt; of more, so many evenly spaced ones


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class _Sample(_Open):
    prompt: str
    output: str
    reference: str


class _Completions(_Open):
    step: int
    scores: dict[str, float]
    samples: tuple[_Sample, ...]


def read_events(file: Path) -> list[dict[str, Any]]:
    """The losses and completions of an events.jsonl; empty if the run has no such file.

    Raises InputError naming the line that is malformed or whose step or loss is not a number.
    """
    events = []
    for place, event in read_lines(file) if file.is_file() else ():
        if event.get("event") in _LOSSES:
            for key in ("step", "loss"):
                if not isinstance(event.get(key), int | float):
                    raise InputError(f"{place}: {key} = {event.get(key)!r} is not a number.")
            events.append(event)
        elif event.get("event") == "completions":
            _completions(event, f"{place}: ")
            events.append(event)
    return events


def training(went: Training | None, events: Sequence[Event]) -> str:
    """The end of training and the weights kept, losses, completions; "" without any of them."""
    chart, written = _losses(events), _written(events)
    said = [f"{_capital(wording.training(went))}."] if went else []
    said += ["Loss is in nats per learned token; lower is better."] if chart else []
    if not (said or written):
        return ""
    line = f"<p>{number(' '.join(said))}</p>" if said else ""
    return f"<section><h2>How training went</h2>{line}{chart}{written}</section>"


def _losses(events: Sequence[Event]) -> str:
    chart = both_widths(partial(charts.loss_curve, events))
    if not chart:
        return ""
    key = '<span class="key"><i class="line raw"></i>each step</span>'
    key += '<span class="key"><i class="line"></i>moving mean</span>'
    if any(event["event"] == "validation" for event in events):
        key += '<span class="key"><i class="ring"></i>validation</span>'
    return f"<figure><figcaption>{key}</figcaption>{chart}</figure>{_not_finite(events)}"


def _not_finite(events: Sequence[Event]) -> str:
    drawn = sum(len(charts.losses(events, kind)) for kind in _LOSSES)
    missing = sum(event["event"] in _LOSSES for event in events) - drawn
    if not missing:
        return ""
    losses = "losses" if missing > 1 else "loss"
    return f'<p class="note">Not drawn: {missing} non-finite {losses}.</p>'


def _written(events: Sequence[Event]) -> str:
    """The model's completions of validation rows, prompt by prompt, folded."""
    looks = [_completions(event) for event in events if event["event"] == "completions"]
    looks = _spread([look for look in looks if look.samples])
    if not looks:
        return ""
    prompts = dict.fromkeys((s.prompt, s.reference) for look in looks for s in look.samples)
    shown = "".join(_prompt(prompt, reference, looks) for prompt, reference in prompts)
    return (
        "<details><summary>Completions of validation rows during training</summary>"
        f"{_scores(looks)}{shown}</details>"
    )


def _scores(looks: Sequence[_Completions]) -> str:
    names = list(dict.fromkeys(name for look in looks for name in look.scores))
    if not names:
        return ""
    rows = [[f"{look.step}", *(_score(look.scores.get(name)) for name in names)] for look in looks]
    heads = ("Step", *map(wording.metric_name, names))
    return table("Mean scores of the completions", heads, rows)


def _score(value: float | None) -> str:
    return "not measured" if value is None else number(wording.fixed(value))


def _prompt(prompt: str, reference: str, looks: Sequence[_Completions]) -> str:
    written = [
        (f"Step {look.step}", sample.output)
        for look in looks
        for sample in look.samples
        if (sample.prompt, sample.reference) == (prompt, reference)
    ]
    texts = "".join(
        f"<div><h3>{title}</h3>{_text(text)}</div>"
        for title, text in (*written, ("Reference", reference))
    )
    return (
        f'<article class="item"><div class="prompt"><h3>Prompt</h3>{_text(prompt.strip())}</div>'
        f'<div class="texts">{texts}</div></article>'
    )


def _text(text: str) -> str:
    if not text.strip():
        return '<div class="text empty">The model wrote nothing.</div>'
    return f'<div class="text" dir="auto">{escape(text)}</div>'


def _spread(looks: Sequence[_Completions]) -> list[_Completions]:
    """All of them, or _MOST_STEPS evenly spaced ones from the first to the last."""
    last = len(looks) - 1
    if last < _MOST_STEPS:
        return list(looks)
    return [looks[round(i * last / (_MOST_STEPS - 1))] for i in range(_MOST_STEPS)]


def _completions(event: Event, place: str = "") -> _Completions:
    try:
        return _Completions.model_validate(event)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{place}{key}: {problem['msg'].lower()}.") from None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
