"""What test_apart.py has done in other processes."""

import os
import signal

from brulee.errors import InputError


def prepared(word: str) -> list[str]:
    return [word, str(os.getpid())]


def refused(word: str) -> list[str]:
    raise InputError(f"{word} is not valid")


def add(state: list[str], word: str) -> list[str]:
    state.append(word)
    return [*state, str(os.getpid())]


def fail(state: list[str], kind: str) -> None:
    if kind == "input":
        raise InputError("no such method")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "memory":
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")
    raise KeyError(kind)
