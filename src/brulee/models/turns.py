"""Locks by which threads run the same model one at a time.

The attention implementation is a setting of the model, which a pass changes and then restores. With
two threads in the model, one would compute with the other's choice.
"""

from __future__ import annotations

import threading
from typing import Final
from weakref import WeakKeyDictionary

from torch import nn

_turns: Final[WeakKeyDictionary[nn.Module, threading.RLock]] = WeakKeyDictionary()
_finding = threading.Lock()


def turn(model: nn.Module) -> threading.RLock:
    """The lock that a thread holds while it runs the model; it is re-entrant."""
    with _finding:
        return _turns.setdefault(model, threading.RLock())
