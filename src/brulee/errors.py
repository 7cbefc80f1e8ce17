"""Errors that the user can fix: each is one sentence with an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_SHOWN = 30
_NOT_NUMBERS = (
    "the model's probabilities are not numbers (NaN): its weights are damaged, or too large for the"
    " number format (--precision float32, train.precision in a recipe)."
)


class BruleeError(Exception):
    """Base of every error the command line prints as a sentence instead of a traceback."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the sentence, as the command line does."""
        return [f"{type(self).__name__}: {self}", *getattr(self, "__notes__", ())]


class InputError(BruleeError):
    """Bad usage or bad input; the message names the file, line, key or row and what is valid."""

    exit_code = 2


class NotNumbersError(BruleeError):
    """A model's probabilities are NaN, so that argmax would pick the first token or choice."""

    def __init__(self, sentence: str = _NOT_NUMBERS) -> None:
        super().__init__(sentence)


class StoppedError(BruleeError):
    """Training stopped before its end; the message says what was saved and how to go on."""

    exit_code = 2


class AskedToStopError(StoppedError):
    """Training stopped at the request of a person or the system; its state is saved."""


def nearest(name: str, valid: Iterable[str], count: int = 3) -> list[str]:
    """The valid names closest to a mistyped one, best first; empty when none is close."""
    lowered = {v.lower(): v for v in valid}
    found = difflib.get_close_matches(name.lower(), lowered, n=count, cutoff=0.55)
    return [lowered[f] for f in found]


def unknown(kind: str, name: object, valid: Iterable[str], where: str = "") -> InputError:
    """The error for a name that is not in a list: the nearest ones first, then all of them.

    A long list is left out if any name is close.
    """
    names = sorted(valid)
    close = nearest(str(name), names)
    hint = f"did you mean {' or '.join(repr(c) for c in close)}?" if close else "none is close."
    prefix = f"{where}: " if where else ""
    every = "" if close and len(names) > _MOST_SHOWN else f" Valid: {', '.join(names)}."
    return InputError(f"{prefix}unknown {kind} {str(name)!r}; {hint}{every}")
