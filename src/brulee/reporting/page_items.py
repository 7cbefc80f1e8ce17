"""Test items side by side: the prompt, the reference, the answers before and after."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from brulee.reporting import wording
from brulee.reporting.differences import diff
from brulee.reporting.items import Answer, Item, pick
from brulee.reporting.marking import is_checked, marked
from brulee.reporting.page_tables import number
from brulee.reporting.results import Results

_PROMPT_LINES = 12
_PROMPT_CHARACTERS = 1000
_NOT_IN_PROMPT = (
    ' <span class="invented">Underlined</span> names and numbers are not in the prompt: '
    "invented, or inferred."
)


def examples(results: Results, items: Sequence[Item]) -> str:
    """The most improved, most worsened and median items by the first score that items have."""
    for pair in results.comparisons:
        chosen = [item for item in items if item.task == pair.task and item.has(pair.metric)]
        if chosen:
            picks = pick(chosen, pair.metric, pair.higher_is_better)
            groups = (
                _group("Most improved", picks.improved, pair.metric),
                _group("Most worsened", picks.worsened, pair.metric),
                _group("Closest to the median change", picks.median, pair.metric),
            )
            name = escape(wording.metric_name(pair.metric))
            if not any(item.after.prompt for item in chosen):
                return _texts(pair.metric, len(chosen), groups)
            several = results.over(pair.task) > 1
            count = f"{len(chosen)} {'answers' if several else 'test items'}"
            return (
                f"<section><h2>Read the answers</h2><p>Selected from {count} by "
                f"change in {name}. <mark>Highlighted words</mark> are in the reference."
                f"{_NOT_IN_PROMPT if is_checked(chosen[0].after) else ''}</p>"
                f"{''.join(groups)}</section>"
            )
    return ""


def _texts(metric: str, count: int, groups: Sequence[str]) -> str:
    """Items that are plain texts, which have no prompt and no answer."""
    name = escape(wording.metric_name(metric))
    return (
        f"<section><h2>Read the texts</h2><p>Selected by change in {name} from {count} held-out "
        f"texts, or pieces of long ones.</p>{''.join(groups)}</section>"
    )


def _group(title: str, items: Sequence[Item], metric: str) -> str:
    if not items:
        return f'<h3>{title}</h3><p class="empty">None.</p>'
    return f"<h3>{title}</h3>" + "".join(_item(item, metric) for item in items)


def _item(item: Item, metric: str) -> str:
    before, after = item.before.scores[metric], item.after.scores[metric]
    decimals = wording.places(item.change(metric))
    change = (
        f"{wording.metric_name(metric)} {wording.fixed(before, decimals)} → "
        f"{wording.fixed(after, decimals)} ({wording.signed(item.change(metric), decimals)})"
    )
    references = item.after.references
    if not item.after.prompt:
        return (
            f'<article class="item"><header><h4>{_called(item)}</h4>'
            f"<span>{number(change)}</span></header>"
            f'<div class="prompt"><h5>Text</h5>{_prompt(references[0])}</div></article>'
        )
    return (
        f'<article class="item"><header><h4>{_called(item)}</h4>'
        f"<span>{number(change)}</span></header>"
        f'<div class="prompt"><h5>Prompt</h5>{_prompt(item.after.prompt)}</div>'
        f'<div class="texts"><div><h5>Reference</h5>{_references(references)}</div>'
        f'<div class="before"><h5>Before</h5>{_marked(references, item.before)}</div>'
        f'<div><h5 class="after">After</h5>{_marked(references, item.after)}</div></div>'
        f"{_changes(item)}</article>"
    )


def _called(item: Item) -> str:
    """Where the item's row is, or else its id, and its phrasing."""
    phrasing = f" · {item.after.phrasing}" if item.after.phrasing else ""
    return escape(f"{item.after.place or item.after.id}{phrasing}")


def _prompt(text: str) -> str:
    head, rest = _cut(text.strip())
    shown = f'<div class="text" dir="auto">{escape(head)}</div>'
    if not rest:
        return shown
    lines = rest.count("\n") + 1
    label = f"Show the other {lines} lines" if lines > 1 else "Show the rest"
    folded = f'<div class="text" dir="auto">{escape(rest)}</div>'
    return f"{shown}<details><summary>{label}</summary>{folded}</details>"


def _cut(text: str) -> tuple[str, str]:
    """The first lines of a text and the rest; up to two further lines are not cut off."""
    lines = text.split("\n")
    head = "\n".join(lines[:_PROMPT_LINES])
    if len(head) > _PROMPT_CHARACTERS * 1.2:
        head = head[:_PROMPT_CHARACTERS].rsplit(maxsplit=1)[0]
    elif len(lines) <= _PROMPT_LINES + 2:
        return text, ""
    return head, text[len(head) :].strip("\n")


def _references(references: Sequence[str]) -> str:
    return "".join(f'<div class="text" dir="auto">{escape(text)}</div>' for text in references)


def _marked(references: Sequence[str], answer: Answer) -> str:
    thoughts = _thoughts(answer.thoughts)
    if not answer.output.strip():
        said = "It was cut off while reasoning." if thoughts else "The model wrote nothing."
        return f'{thoughts}<div class="text empty">{said}</div>'
    return f'{thoughts}<div class="text" dir="auto">{marked(references, answer)}</div>'


def _thoughts(text: str) -> str:
    if not text:
        return ""
    folded = f'<div class="text" dir="auto">{escape(text)}</div>'
    return f"<details><summary>Reasoning</summary>{folded}</details>"


def _changes(item: Item) -> str:
    if item.before.output == item.after.output:
        return '<p class="empty">The two answers are identical.</p>'
    tags = {"same": "", "removed": "del", "added": "ins"}
    steps = "".join(
        f"<{tags[op]}>{escape(text)}</{tags[op]}>" if tags[op] else escape(text)
        for op, text in diff(item.before.output, item.after.output)
    )
    return (
        "<details><summary>What changed, word by word</summary>"
        f'<div class="text" dir="auto">{steps}</div></details>'
    )
