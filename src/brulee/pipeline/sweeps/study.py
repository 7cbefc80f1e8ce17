"""The trials of a sweep in a database that several processes share, with optuna.

This module decides the settings and puts them into the study's queue; optuna hands each to one
process. A trial's data are in its attributes: `point`, the setting; `host`, the machine that works
or worked on it; `reason`, why it failed; `values`, one per seed.
"""

from __future__ import annotations

import json
import math
import random
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from brulee.errors import InputError, StoppedError
from brulee.pipeline.folder import SWEEP_LOCK
from brulee.pipeline.sweeps.outline import Outline
from brulee.pipeline.sweeps.space import Point, Space
from brulee.recipe.axes import METHOD, Choices

NAME: Final = "trial-{:03d}"
_FILE: Final = "sweep.db"
Curve = Sequence[tuple[int, float]]
_AGAIN: Final = 50  # repeated proposals until one is drawn at random


def check_installed() -> None:
    """Raise InputError if optuna is not installed."""
    if find_spec("optuna") is None:
        raise InputError("a sweep needs the package optuna: pip install 'brulee[sweep]'.")


@dataclass
class Claim:
    """A trial that only this process works on, until `release`."""

    trial: Any  # optuna's Trial
    point: Point
    lock: FileLock

    @property
    def number(self) -> int:
        """Its number in the sweep."""
        return int(self.trial.number)

    def release(self) -> None:
        """Release the trial, so that another process can take it if it is unfinished."""
        self.lock.release()


@dataclass
class Study:
    """The trials of a sweep: claimed one by one, and reported when they end."""

    outline: Outline
    _study: Any = field(init=False)

    def __post_init__(self) -> None:
        optuna, given = _optuna(), self.outline.options.storage
        url = given or f"sqlite:///{(self.folder / _FILE).resolve()}"
        with self._alone():  # two processes that start at once would both create the tables
            self._study = optuna.create_study(
                storage=_storage(url, given is not None),
                study_name=self.folder.name,
                direction="maximize" if self.outline.maximise else "minimize",
                sampler=optuna.samplers.RandomSampler(),  # every trial comes from the queue
                pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
                load_if_exists=True,
            )

    @property
    def folder(self) -> Path:
        """The sweep's folder, whose name is also the study's."""
        return self.outline.folder

    def settle(self) -> None:
        """Store the sweep's facts, or check them if it is continued.

        Raises InputError naming the first that differs.
        """
        wanted = json.loads(json.dumps(self.outline.facts()))
        with self._alone():
            known = self._study.user_attrs.get("facts")
            if known is None and self._study.get_trials():
                raise InputError(
                    f"--storage: it holds a study named {self.folder.name!r} that is not a sweep; "
                    "name another folder, which also names the study."
                )
            if known is None:
                self._study.set_user_attr("day", date.today().isoformat())
                self._study.set_user_attr("facts", wanted)
                return
        for key, now in wanted.items():
            if known.get(key) != now:
                before, after = _differing(known.get(key), now)
                raise InputError(
                    f"{self.folder}: this sweep was begun with another {key}: {before} there and "
                    f"{after} now. Continue with the original settings, or start over: --fresh "
                    "moves it aside, --folder names another."
                )

    @property
    def day(self) -> date:
        """The day on which the sweep began, which all trials' chat templates print."""
        return date.fromisoformat(self._study.user_attrs["day"])

    def claim(self) -> Claim | None:
        """A trial to work on: one abandoned by its process, else the next; None without either."""
        with self._alone():
            trials = self.trials()
            for trial in trials:
                if trial.state.name == "RUNNING" and (lock := self._left(trial)):
                    again = _optuna().trial.Trial(self._study, trial._trial_id)
                    return Claim(again, trial.user_attrs["point"], lock)
            waiting = any(trial.state.name == "WAITING" for trial in trials)
            if not waiting:
                if len(trials) >= self.outline.total:
                    return None
                self._enqueue(trials)
            return self._ask()

    def elsewhere(self) -> tuple[int, set[str]]:
        """The number of trials running on this machine, and the other machines that run some."""
        running = [t.user_attrs.get("host") for t in self.trials() if t.state.name == "RUNNING"]
        here = socket.gethostname()
        return running.count(here), {str(host) for host in running if host != here}

    def trials(self) -> list[Any]:
        """All trials, in order, as optuna's objects."""
        return [t for t in self._study.get_trials() if not t.user_attrs.get("surplus")]

    def told(self, claim: Claim, values: Sequence[float], seconds: float, curve: Curve) -> None:
        """Report a trial that finished, with a value per seed; their mean is its value."""
        claim.trial.set_user_attr("values", list(values))
        self._went(claim, seconds, curve)
        self._study.tell(claim.trial.number, math.fsum(values) / len(values))

    def pruned(self, claim: Claim, reason: str, seconds: float, curve: Curve) -> None:
        """Report a trial that was stopped early, being worse than others at the same step."""
        self._end(claim, "PRUNED", reason, seconds, curve)

    def failed(self, claim: Claim, reason: str, seconds: float, curve: Curve) -> None:
        """Report a trial that failed."""
        self._end(claim, "FAIL", reason, seconds, curve)

    def _end(self, claim: Claim, state: str, reason: str, seconds: float, curve: Curve) -> None:
        claim.trial.set_user_attr("reason", reason)
        self._went(claim, seconds, curve)
        self._study.tell(claim.trial.number, state=_optuna().trial.TrialState[state])

    def _went(self, claim: Claim, seconds: float, curve: Curve) -> None:
        claim.trial.set_user_attr("seconds", seconds)
        claim.trial.set_user_attr("curve", [list(point) for point in curve])

    def _ask(self) -> Claim | None:
        trial = self._study.ask()
        if trial.number >= self.outline.total:  # a process of another machine was faster
            trial.set_user_attr("surplus", True)
            self._study.tell(trial.number, state=_optuna().trial.TrialState.FAIL)
            return None
        trial.set_user_attr("host", socket.gethostname())
        point = trial.user_attrs["point"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _suggest(trial, self.outline.space, point)
        lock = self._lock(trial.number)
        lock.acquire()
        return Claim(trial, point, lock)

    def _left(self, trial: Any) -> FileLock | None:
        """The lock of a trial of this machine, if no process holds it."""
        if trial.user_attrs.get("host", socket.gethostname()) != socket.gethostname():
            return None
        lock = self._lock(trial.number)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        # It may have finished in the meantime.
        if self._study.get_trials()[trial.number].state.name == "RUNNING":
            return lock
        lock.release()
        return None

    def _lock(self, number: int) -> FileLock:
        return FileLock(self.folder / f".{NAME.format(number)}.lock", is_singleton=False)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with FileLock(self.folder / SWEEP_LOCK, is_singleton=False):
            yield

    def _enqueue(self, trials: Sequence[Any]) -> None:
        tried = [trial.user_attrs["point"] for trial in trials]
        if not tried:
            point = self.outline.space.own
        elif self.outline.sampler == "grid":
            point = next(p for p in self.outline.space.grid or () if p not in tried)
        else:
            point = self._proposed(trials, tried)
        params = {key: _written(self.outline.space, key, value) for key, value in point.items()}
        self._study.enqueue_trial(params, user_attrs={"point": point})

    def _proposed(self, trials: Sequence[Any], tried: Sequence[Point]) -> Point:
        """The next setting that TPE proposes (Bergstra et al. 2011) and that was not tried yet.

        The first third, but 4 to 10, are drawn at random. A pure function of the seed and the
        trials so far: an interrupted sweep repeats no draw.
        """
        optuna, seed = _optuna(), self.outline.space.recipe.train.seed
        random_ones = max(4, self.outline.total // 3)
        for attempt in range(_AGAIN):
            number = 1_000_003 * seed + 1_009 * len(trials) + attempt
            sampler = optuna.samplers.TPESampler(
                seed=number % 2**32, n_startup_trials=min(10, random_ones)
            )
            shadow = optuna.create_study(direction=self._study.direction, sampler=sampler)
            shadow.add_trials([t for t in trials if t.state.name in ("COMPLETE", "PRUNED")])
            exact = attempt > _AGAIN // 2  # a narrow range has few numbers with three digits
            point = _suggest(shadow.ask(), self.outline.space, None, exact)
            if point not in tried:
                return point
        left = [p for p in self.outline.space.grid or () if p not in tried]
        return random.Random(seed + len(trials)).choice(left) if left else point


def _suggest(
    trial: Any, space: Space, point: Mapping[str, Any] | None, exact: bool = False
) -> Point:
    """A value for each axis that applies to the method; those of `point`, if given.

    Numbers are rounded to three digits unless `exact`.
    """
    found: Point = {}
    for axis in space.axes:
        if point is not None and axis.key not in point:
            continue
        if not space.has(axis, found.get(METHOD, space.recipe.method.name)):
            continue
        if isinstance(axis, Choices):
            texts = [json.dumps(value) for value in axis.values]
            found[axis.key] = json.loads(trial.suggest_categorical(axis.key, texts))
        elif axis.whole:
            found[axis.key] = trial.suggest_int(
                axis.key, int(axis.low), int(axis.high), log=axis.log
            )
        else:
            value = trial.suggest_float(axis.key, axis.low, axis.high, log=axis.log)
            found[axis.key] = value if point or exact else _short(value, axis.low, axis.high)
    return found


def _short(value: float, low: float, high: float) -> float:
    """Rounded to three digits, for people to copy; never outside the range."""
    return min(max(float(f"{value:.3g}"), low), high)


def _written(space: Space, key: str, value: Any) -> Any:
    axis = next(axis for axis in space.axes if axis.key == key)
    return json.dumps(value) if isinstance(axis, Choices) else value


def _differing(before: Any, now: Any) -> tuple[Any, Any]:
    """The first values in which two mappings differ, or the values themselves."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *now]:
            if before.get(key) != now.get(key):
                inner = _differing(before.get(key), now.get(key))
                return f"{key} {inner[0]}", f"{key} {inner[1]}"
    return repr(before), repr(now)


@contextmanager
def reached() -> Iterator[None]:
    """Turn the loss of the storage's connection into a StoppedError with one sentence."""
    lost = import_module("optuna.exceptions").StorageInternalError
    try:
        yield
    except (lost, import_module("sqlalchemy.exc").SQLAlchemyError):
        raise StoppedError(
            "the connection to the sweep's storage was lost; its contents are kept. When it is "
            "back, run the same command again."
        ) from None


def _storage(url: str, given: bool) -> Any:
    """Open a database; messages omit the URL, which may contain a password."""
    optuna, errors = _optuna(), import_module("sqlalchemy.exc")
    # Others may be writing; by default, sqlite3 waits for only five seconds.
    waiting = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=waiting)
    except (errors.SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        if not given:
            file = url.removeprefix("sqlite:///")
            raise InputError(
                f"{file}: not the trials of a sweep that this optuna can read; start over with "
                "--fresh."
            ) from None
        said = "its driver is not installed" if isinstance(error, ImportError) else "not reached"
        if isinstance(error, errors.ArgumentError):
            said = "not the URL of a database"
        raise InputError(
            f"--storage: {said}; write sqlite:///FILE, or postgresql+psycopg://USER:PASSWORD@HOST/"
            "NAME with its driver installed (pip install 'psycopg[binary]')."
        ) from None


def _optuna() -> Any:
    check_installed()
    optuna = import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
