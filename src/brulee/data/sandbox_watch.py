"""Limits on the time and text of one rendering of a template, and its random draws."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext

from brulee.data.sandbox_sizes import MAX_LENGTH, weigh

# Text that a rendering may build in total, whether printed or not.
_MOST_BUILT = 32 * MAX_LENGTH
# Seconds after which the thread's CPU time is counted: on a busy machine reading it takes longer
# than most renderings.
_SHORT = 0.01


class Watch:
    """Tracks what a rendering uses; methods raise SecurityError when a limit is exceeded."""

    def __init__(self, seconds: float, key: str) -> None:
        self._seconds, self._key = seconds, key
        now = time.monotonic()
        self._counted_from, self._deadline = now + min(_SHORT, seconds), now + seconds
        self._work_deadline: float | None = None
        self._text = self._draws = 0

    def check_time(self) -> None:
        """Compare the thread's CPU time with the limit.

        Time in which the process was stopped or the computer slept does not count. The wall clock
        is checked first: it is never behind, and takes far less time to read.
        """
        now = time.monotonic()
        if now < self._counted_from:
            return
        if self._work_deadline is None:
            self._work_deadline = time.thread_time() + self._seconds
        elif now > self._deadline and time.thread_time() > self._work_deadline:
            raise SecurityError(f"it runs for more than {self._seconds:g} seconds")

    def spend(self, text: int) -> None:
        """Count characters built, and check the time."""
        self.check_time()
        self._text += text
        if self._text > _MOST_BUILT:
            raise SecurityError(f"it builds more than {_MOST_BUILT:,} characters on its way")

    def built(self, value: Any) -> Any:
        """Return the value unchanged after counting and checking its size."""
        self.spend(weigh(value))
        return value

    def materialised(self, value: Any) -> Any:
        """Replace an iterator or range by a list, checking time and size per item."""
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
        """A number below `count`, by a hash of the key and the number of earlier draws."""
        seed = f"{self._key}\x1f{self._draws}".encode("utf-8", "surrogatepass")
        self._draws += 1
        return int.from_bytes(hashlib.sha256(seed).digest()[:8]) % count
