"""Mark the words of an answer that occur in the reference, and those that are invented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from brulee.evaluation.faithfulness import invented
from brulee.reporting.differences import mark
from brulee.reporting.items import Answer

METRIC = "faithfulness"  # inventions are located again in answers that have this score


def is_checked(answer: Answer) -> bool:
    """Whether the answer was checked against what the model read."""
    return METRIC in answer.scores


def inventions(answer: Answer) -> list[tuple[int, int]]:
    """Spans of names and numbers in the answer that its prompt lacks; none if unchecked."""
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
    """The text split at the ends of marks; each piece with (in a reference, invented)."""
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
