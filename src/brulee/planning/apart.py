"""Trials in separate processes, forked from one that has already imported everything.

Memory can only be measured in a process that has done nothing else, and starting a new one for each
trial would spend seconds on imports. So one process imports and prepares, and every trial is forked
from it. That process never computes anything itself, because threads do not survive a fork.

    with Apart(("brulee.pipeline.tuning",), load, recipe) as apart:
        apart.run(trial, "lora", 3)        # trial(load(recipe), "lora", 3), in a fork
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import psutil

from brulee.errors import BruleeError
from brulee.models.allocator import is_exhaustion

T = TypeVar("T")
# On other systems forking a process with system libraries loaded is unsafe; trials share one.
_FORKS = sys.platform == "linux"


class Apart:
    """Imports `modules` in another process, and prepares there the first argument of every trial.

    Functions, arguments and results are pickled through a pipe, never to disk.
    """

    def __init__(
        self, modules: tuple[str, ...], prepare: Callable[..., Any], *arguments: Any
    ) -> None:
        command = [sys.executable, "-m", "brulee.planning.apart", *modules]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._send((prepare, arguments))
        self._ready = False

    def __enter__(self) -> Apart:
        """The process is already running."""
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """End it; after an error at once, even if it is still preparing."""
        if error is not None:
            self._process.kill()
        self._process.communicate()

    def run(self, trial: Callable[..., T], *arguments: Any) -> T:
        """The result of `trial` on the prepared value and these arguments; re-raises its errors.

        Raises BruleeError if memory ran out there or its process died, mostly for that reason.
        """
        if not self._ready:
            self._receive()
            self._ready = True
        self._send((trial, arguments))
        found: T = self._receive()
        return found

    def _send(self, job: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(job, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BruleeError(_DIED) from None

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        try:
            done, value = pickle.load(self._process.stdout)
        except EOFError:
            raise BruleeError(_DIED) from None
        if not done:
            raise value
        return value


def unseen_bytes() -> int:
    """In a trial: bytes of library files that only the parent process has mapped.

    A process that was not forked would have them in its own memory.
    """
    if not _FORKS:
        return 0
    before, own = psutil.Process(os.getppid()), psutil.Process()
    return max(0, int(before.memory_info().shared) - int(own.memory_info().shared))


_DIED = "a trial's process died, most likely because memory ran out; free some and try again."
_EXHAUSTED = "memory ran out in a trial; free some and try again."


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """Whether the call succeeded, and its result or error."""
    try:
        return True, function(*arguments)
    except BruleeError as error:
        return False, error
    except Exception as error:
        if is_exhaustion(error):
            return False, BruleeError(_EXHAUSTED)
        return False, RuntimeError(f"in a trial's process:\n{traceback.format_exc()}")


def _forked(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """The pickled outcome of a call in a fork."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns about threads in the parent; the fork does not need the libraries'
        # threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process == 0:
        os.close(reading)
        # tokenizers would warn that its threads are gone.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        with os.fdopen(writing, "wb") as answer:
            pickle.dump(_outcome(function, arguments), answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        found = answer.read()
    os.waitpid(process, 0)
    return found or pickle.dumps((False, BruleeError(_DIED)))


def _serve(modules: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # anything else that is printed is not an answer
    for module in modules:
        import_module(module)
    prepare, arguments = pickle.load(sys.stdin.buffer)
    done, prepared = _outcome(prepare, arguments)
    pickle.dump((done, None if done else prepared), answers)
    answers.flush()
    while done:
        try:
            trial, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        given = (prepared, *arguments)
        answers.write(_forked(trial, given) if _FORKS else pickle.dumps(_outcome(trial, given)))
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1:])
