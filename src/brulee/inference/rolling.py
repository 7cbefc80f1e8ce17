"""Rolling log-likelihood of texts longer than the model's context, window by window.

    text        |------------------------------------|
    windows     s|--- scored ---|
                         |- read |--- scored ---|
                                   |--- read ---| scored |

Every token is scored once. The first window follows the token that begins a text; the last one
reads as much of the preceding text as fits.
"""

from __future__ import annotations

from collections.abc import Sequence

from brulee.data.encoding import Encoded
from brulee.inference.engine import Engine, Likelihood


def rolling(
    engine: Engine,
    texts: Sequence[Sequence[int]],
    begin: Sequence[int],
    window: int,
) -> list[Likelihood]:
    """Each text's log-likelihood after `begin`, in windows of `window` tokens.

    Raises ValueError for a window that leaves no token to score.
    """
    parts = [windows(text, begin, window) for text in texts]
    found = iter(engine.loglikelihood([part for of_text in parts for part in of_text]))
    return [_sum([next(found) for _ in of_text]) for of_text in parts]


def windows(
    text: Sequence[int], begin: Sequence[int], window: int, context: int = 1
) -> list[Encoded]:
    """Documents of at most window + 1 tokens, of which `window` are read to predict the others.

    Each but the first reads at least `context` tokens before those it scores.
    """
    first = window + 1 - len(begin)
    later = window + 1 - context
    if context < 1 or min(first, later) < 1 or not begin:
        raise ValueError(f"a window of {window} tokens leaves none to score")
    found = []
    end = min(first, len(text))
    if end:
        found.append(Encoded.ending([*begin, *text[:end]], end))
    while end < len(text):
        start, end = end, min(end + later, len(text))
        found.append(Encoded.ending(text[max(0, end - window - 1) : end], end - start))
    return found


def _sum(parts: Sequence[Likelihood]) -> Likelihood:
    return Likelihood(
        sum(p.log_probability for p in parts),
        sum(p.tokens for p in parts),
        all(p.greedy for p in parts),
    )
