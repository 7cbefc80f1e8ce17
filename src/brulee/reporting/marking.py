"""An answer's text with its words marked: those of the reference, those that were invented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from brulee.evaluation.faithfulness import invented
from brulee.reporting.differences import mark
from brulee.reporting.items import Answer

METRIC = "faithfulness"  # answers that carry this score are looked through again for the places


def is_checked(answer: Answer) -> bool:
    """Whether the answer was checked against what the model read."""
    return METRIC in answer.scores


def inventions(answer: Answer) -> list[tuple[int, int]]:
    """Where an answer says names and numbers that its prompt does not; none where unchecked."""
    if not is_checked(answer):
        return []
    return [(span.start, span.end) for span in invented(answer.prompt, answer.output)]


def marked(references: Sequence[str], answer: Answer) -> str:
    """The answer as HTML: words of a reference in <mark>, inventions in <span class="invented">."""
    html = ""
    for text, in_reference, is_invented in _pieces(references, answer):
        shown = f"<mark>{escape(text)}</mark>" if in_reference else escape(text)
        html += f'<span class="invented">{shown}</span>' if is_invented else shown
    return html


def _pieces(references: Sequence[str], answer: Answer) -> Iterator[tuple[str, bool, bool]]:
    """The text cut wherever a mark begins or ends, with what holds of each piece."""
    places = inventions(answer)
    borders = {border for place in places for border in place}
    at = 0
    for run, in_reference in mark(references, answer.output):
        end = at + len(run)
        cuts = [at, *sorted(border for border in borders if at < border < end), end]
        for start, stop in pairwise(cuts):
            is_invented = any(begin <= start < until for begin, until in places)
            yield answer.output[start:stop], in_reference, is_invented
        at = end
