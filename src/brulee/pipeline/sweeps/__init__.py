"""Sweeps: train settings of a recipe, choose one by validation rows, score it on the test rows."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from brulee.errors import AskedToStopError, InputError
from brulee.models.disk import nearest_folder, try_writing
from brulee.pipeline.aside import check_not_inside, move_aside, with_a_name
from brulee.pipeline.checks import check_named
from brulee.pipeline.folder import SWEEP_LOCK
from brulee.pipeline.lock import file_lock
from brulee.pipeline.stops import interrupts
from brulee.pipeline.sweeps import finals
from brulee.pipeline.sweeps.forecast import check_methods, forecast
from brulee.pipeline.sweeps.ground import check_pruning, look
from brulee.pipeline.sweeps.outline import Options, Outline, total_of
from brulee.pipeline.sweeps.score import check_part, higher_is_better
from brulee.pipeline.sweeps.space import space
from brulee.pipeline.sweeps.study import NAME, Study, check_installed, reached
from brulee.pipeline.sweeps.summary import summarise
from brulee.pipeline.sweeps.trial import folder_of, forget_weights, trained, try_out
from brulee.progress import note, waiting
from brulee.recipe import Recipe
from brulee.recipe.axes import Axis
from brulee.reporting import sweep_page, sweep_results, sweep_text, wording
from brulee.reporting.results import FILE_NAME as RESULTS
from brulee.reporting.sweep_results import Sweep

_POLL = 1.0  # seconds between polls of other processes


def outline(
    recipe: Recipe,
    axes: Sequence[Axis],
    options: Options | None = None,
    folder: Path | None = None,
    fresh: bool = False,
) -> Outline:
    """A sweep, checked as far as possible without training or writing anything.

    Raises InputError for bad input.
    """
    options = options or Options()
    check_installed()
    _check_alone()
    options.check()
    found = space(recipe, axes)
    check_named(recipe)
    where = with_a_name(folder or Path(recipe.runs) / f"{recipe.name or 'run'}-sweep")
    _check_folder(where, options, fresh)
    ground = look(recipe)
    maximise = higher_is_better(recipe, ground.corpus, options.objective)
    check_part(recipe, ground.corpus, options.objective)
    if options.prune:
        check_pruning(found, ground)
    check_methods(found)
    return Outline(found, ground, where, total_of(found, options), maximise, options)


def sweep(outlined: Outline, fresh: bool = False, command: Sequence[str] = ()) -> Path:
    """Train the settings, choose one by its validation rows, score it on the test rows.

    Returns the sweep's folder, with a run folder for each trial, sweep.json and sweep.html. A sweep
    that the folder or the storage already holds is continued; `fresh` moves the folder aside
    first. `command` is the recipe's file and its overrides. Raises InputError for bad input and
    StoppedError on Ctrl-C or SIGTERM; finished trials are kept.
    """
    where = outlined.folder
    if fresh and where.exists():
        _move_aside(where)
    where.mkdir(parents=True, exist_ok=True)
    try:
        with reached(), interrupts():  # also between trainings, which handle signals themselves
            found = _found(Study(outlined), outlined, command)
    except KeyboardInterrupt:
        raise _stopped("interrupted") from None
    except AskedToStopError as error:
        # The message's resume command would continue only one trial.
        raise _stopped(str(error).partition("; ")[0]) from None
    sweep_results.write(found, where)
    sweep_page.write_page(found, where)
    return where


def _found(study: Study, outlined: Outline, command: Sequence[str]) -> Sweep:
    study.settle()
    for line in outlined.space.notes():
        note(line)
    if not study.trials():
        tell_forecast(outlined)
    stopped = _train_all(study, outlined)
    found = summarise(outlined, study, stopped, command)
    return _tested(outlined, found) if stopped is None and found.best is not None else found


def tell_forecast(outlined: Outline) -> None:
    """Note the time and disk space that the sweep will need."""
    for line in forecast(outlined).told():
        note(line)


def _train_all(study: Study, outlined: Outline) -> str | None:
    """Train trial after trial; returns why the chosen one cannot be tested yet, or None."""
    began, timeout = time.monotonic(), outlined.options.timeout
    done = 0
    while True:
        over = timeout is not None and time.monotonic() - began > timeout
        if not over and (claim := study.claim()) is not None:
            left = (outlined.total - claim.number) * (time.monotonic() - began) / max(done, 1)
            time_left = f" (about {wording.duration(left)} left)" if done else ""
            name, what = NAME.format(claim.number), sweep_text.settings(claim.point)
            note(f"{name} of {outlined.total}: {what}{time_left}")
            try:
                try_out(outlined, study, claim)
            finally:
                claim.release()
            done += 1
            _tidy(study, outlined)
            continue
        here, hosts = study.elsewhere()
        if hosts:
            return f"trials are still running on {', '.join(sorted(hosts))}"
        if not here:
            return None
        if over:
            return "the time is over, but trials are still running in other processes"
        with waiting(f"Waiting for {here} trials of other processes"):
            time.sleep(_POLL)


def _tested(outlined: Outline, found: Sweep) -> Sweep:
    """Score the chosen trial and the recipe's own on the test rows, in one process at a time."""
    best, own = found.best, found.own
    assert best is not None
    if trained(outlined.folder / best.run) is None:
        said = (
            f"{best.run} was chosen and is on another machine; run the same command there to test "
            "it"
        )
        return found.model_copy(update={"stopped": said})
    asked = [best]
    if own and own.value is not None and own != best and trained(outlined.folder / own.run):
        asked.append(own)
    with file_lock(outlined.folder / "finals", _say_waiting):
        for trial in asked:
            recipe = outlined.space.recipe_of(trial.settings)
            beside = None if trial is best else outlined.folder / best.run
            finals.score_test(outlined.folder / trial.run, recipe, beside)
    runs = [outlined.folder / trial.run for trial in asked]
    test = finals.against(runs[1], runs[0], outlined) if len(runs) > 1 else []
    tested = [finals.tested(run) for run in runs]
    others = [trial for trial in found.trials if trial not in asked]
    before = [t.number for t in others if (outlined.folder / t.run / RESULTS).is_file()]
    return found.model_copy(
        update={
            "chosen": best.number,
            "test": tuple(test),
            "tested": tuple(tested),
            "tested_before": tuple(before),
        }
    )


def _tidy(study: Study, outlined: Outline) -> None:
    """Delete the weights of all trials except the best and the recipe's own."""
    if outlined.options.keep_all:
        return
    found = summarise(outlined, study)
    kept = {t.number for t in (found.best, found.own) if t is not None}
    for trial in found.trials:
        if trial.state == "running":
            continue
        for seed in range(outlined.options.seeds):
            run = folder_of(outlined.folder, trial.number, seed)
            if run.is_dir() and (seed or trial.number not in kept):
                forget_weights(run)


def _say_waiting() -> None:
    note("waiting for another process, which is scoring the chosen trial.")


def _check_alone() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "each training of a sweep runs in one process; start the sweep without torchrun, "
            "once for each device: the processes share the trials."
        )


def _check_folder(where: Path, options: Options, fresh: bool) -> None:
    parent = nearest_folder(where, "the sweep's folder")
    if where.exists() and any(where.iterdir()) and not (where / SWEEP_LOCK).exists():
        raise InputError(f"{where}: this folder is not empty and holds no sweep; name another.")
    if fresh and where.exists():
        check_not_inside(where)
    if fresh and options.storage:
        raise InputError(
            "--fresh moves a folder aside but leaves the trials in a storage; name a new sweep: "
            "--folder NEW."
        )
    try_writing(parent)


def _move_aside(where: Path) -> None:
    """Rename an earlier sweep to NAME.1, NAME.2 ... Raises InputError if it is in use."""
    for file in where.glob(".*.lock"):
        try:
            FileLock(file, is_singleton=False).acquire(timeout=0).lock.release()
        except Timeout:
            raise InputError(
                f"{where}: another process is working on this sweep; wait for it, or name another "
                "folder."
            ) from None
    move_aside(where)


def _stopped(reason: str) -> AskedToStopError:
    return AskedToStopError(
        f"{reason}; finished trials are kept, and an unfinished training continues from its "
        "newest checkpoint. Run the same command again to continue."
    )
