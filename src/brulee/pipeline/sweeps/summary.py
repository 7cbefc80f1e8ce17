"""Summary of a sweep's trials in its storage, for sweep.json and the page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from brulee.pipeline.sweeps.outline import Outline
from brulee.pipeline.sweeps.study import NAME, Study
from brulee.recipe.axes import overrides_of
from brulee.reporting import sweep_results
from brulee.reporting.sweep_results import State, Sweep

_STATES: dict[str, State] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
}


def summarise(
    outline: Outline, study: Study, stopped: str | None = None, command: Sequence[str] = ()
) -> Sweep:
    """The results so far; `command` is the recipe's file and its overrides."""
    trials = [_trial(outline, t) for t in study.trials() if t.state.name in _STATES]
    base, start = outline.recipe.base.name, outline.recipe.method.start
    found = Sweep(
        name=outline.folder.name,
        base=base if start is None else f"{base} with {start}",
        objective=outline.options.objective,
        higher_is_better=outline.maximise,
        axes=tuple(axis.text for axis in outline.space.axes),
        sampler=outline.sampler,
        planned=outline.total,
        seeds=outline.options.seeds,
        validation_rows=outline.ground.rows,
        trials=tuple(trials),
        stopped=stopped,
    )
    best = found.best
    if best is None:
        return found
    point = study.trials()[best.number].user_attrs["point"]
    words = ["brulee", "run", *command]
    for override in overrides_of(point):
        words += ["--set", override]
    return found.model_copy(update={"command": shlex.join(words)})


def _trial(outline: Outline, trial: Any) -> sweep_results.Trial:
    attrs, state = trial.user_attrs, _STATES[trial.state.name]
    recipe = outline.space.recipe_of(attrs["point"])
    return sweep_results.Trial(
        number=trial.number,
        run=NAME.format(trial.number),
        own=trial.number == 0,
        state=state,
        settings=attrs["point"],
        had={} if attrs["point"] else outline.space.had,
        method=recipe.method.name,
        learning_rate=float(recipe.train.learning_rate or 0.0),
        values=tuple(attrs.get("values", ())),
        value=trial.value if state == "complete" else None,
        seconds=float(attrs.get("seconds", 0.0)),
        reason=attrs.get("reason"),
        curve=tuple((int(step), float(loss)) for step, loss in attrs.get("curve", ())),
    )
