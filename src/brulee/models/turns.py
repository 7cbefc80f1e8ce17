"""Turns: threads that run the same model do so one after another.

How a model computes its attention is a setting of the model, which a pass changes and puts back.
Two threads in passes of their own would each compute with what the other chose.
"""

from __future__ import annotations

import threading
from typing import Final
from weakref import WeakKeyDictionary

from torch import nn

_turns: Final[WeakKeyDictionary[nn.Module, threading.RLock]] = WeakKeyDictionary()
_finding = threading.Lock()


def turn(model: nn.Module) -> threading.RLock:
    """What a thread holds while it runs the model; it may take it again inside."""
    with _finding:
        return _turns.setdefault(model, threading.RLock())
