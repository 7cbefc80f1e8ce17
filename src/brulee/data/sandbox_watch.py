"""The time, the text and the draws that one rendering of a template may use."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext

from brulee.data.sandbox_sizes import MAX_LENGTH, weigh

# Text that a rendering may build on its way, whatever it prints of it in the end.
_MOST_BUILT = 32 * MAX_LENGTH

_AGE = 0.01  # seconds
_CLOCK = threading.local()


class Watch:
    """Counts what a rendering uses; each method raises SecurityError once that is too much."""

    def __init__(self, seconds: float, key: str) -> None:
        self._seconds, self._key = seconds, key
        now = time.monotonic()
        self._deadline = now + seconds
        # Reading the clock of what was worked is a call of the system: most renderings take one
        # from shortly before, as if all since then had been worked.
        if now - getattr(_CLOCK, "read", -_AGE) >= _AGE:
            _CLOCK.read, _CLOCK.worked = now, time.thread_time()
        self._work_deadline = _CLOCK.worked + (now - _CLOCK.read) + seconds
        self._text = self._draws = 0

    def check_time(self) -> None:
        """Compare the time that was worked with the deadline.

        A process that was stopped for a while, or a computer that slept, has not worked then. The
        clock on the wall, which is never behind, costs a tenth to read.
        """
        if time.monotonic() > self._deadline and time.thread_time() > self._work_deadline:
            raise SecurityError(f"it runs for more than {self._seconds:g} seconds")

    def spend(self, text: int) -> None:
        """Count characters that are built, and look at the clock."""
        self.check_time()
        self._text += text
        if self._text > _MOST_BUILT:
            raise SecurityError(f"it builds more than {_MOST_BUILT:,} characters on its way")

    def built(self, value: Any) -> Any:
        """The value itself, once it is known to be no heavier than a value may be."""
        self.spend(weigh(value))
        return value

    def materialised(self, value: Any) -> Any:
        """A list in place of what is made item by item, so that its making is watched."""
        if not isinstance(value, Iterator | range) or isinstance(value, LoopContext):
            return value
        items, weight = [], 0
        for item in value:
            self.check_time()
            weight += weigh(item)
            if weight > MAX_LENGTH:
                raise SecurityError(f"it builds a value longer than {MAX_LENGTH:,}")
            items.append(item)
        return items

    def draw(self, count: int) -> int:
        """A number below `count`, by a hash of the key and how many were drawn before."""
        seed = f"{self._key}\x1f{self._draws}".encode("utf-8", "surrogatepass")
        self._draws += 1
        return int.from_bytes(hashlib.sha256(seed).digest()[:8]) % count
