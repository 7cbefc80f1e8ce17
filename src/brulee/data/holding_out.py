"""Held-out tasks and phrasings, which are scored but not trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from brulee.data.task import Task
from brulee.data.template import Template
from brulee.data.templates import TemplateSet
from brulee.errors import InputError, unknown
from brulee.recipe import HoldOutSpec


def held_out_tasks(spec: HoldOutSpec, tasks: Mapping[str, Task], where: str = "") -> dict[str, str]:
    """The paths of the tasks that are held out from training, each with the reason.

    These are the tasks of the clusters in `spec.clusters`; those named in `spec.tasks`, by path or
    by the path of a mixture that holds them; and every other task over a data set of one of these
    (the rule of Natural Instructions, as otherwise the same texts would be trained on in another
    task). Raises InputError with the nearest name for an unknown cluster or task, and if nothing is
    left to train on.
    """
    clusters = {task.cluster for task in tasks.values() if task.cluster is not None}
    for cluster in spec.clusters:
        if cluster not in clusters:
            raise unknown("cluster", cluster, clusters, where)
    held: dict[str, str] = {}
    for name in spec.tasks:
        found = [path for path in tasks if path == name or path.startswith(f"{name}/")]
        if not found:
            inside = [path for path in tasks if path.endswith(f"/{name}")]
            if inside:
                raise InputError(
                    f"{where}: unknown task {name!r}; a task in a mixture is named by its path, "
                    f"here {' or '.join(map(repr, inside))}."
                )
            raise unknown("task", name, tasks, where)
        held |= dict.fromkeys(found, "named")
    for path, task in tasks.items():
        if task.cluster in spec.clusters:
            held.setdefault(path, f"cluster {task.cluster}")
    datasets = {name: path for path in reversed(held) for name in tasks[path].datasets}
    for path, task in tasks.items():
        same = [datasets[name] for name in sorted(task.datasets) if name in datasets]
        if path not in held and same:
            held[path] = f"same data set as {same[0]}"
    if len(held) == len(tasks):
        raise InputError(f"{where}: every task is held out, so that none is left to train on.")
    return held


def hold_out_templates(
    templates: TemplateSet, asked: float | list[str], salt: str
) -> tuple[TemplateSet, tuple[Template, ...]]:
    """Divide a family into the phrasings to train on and those held out for the test.

    A share above 0 holds out at least one phrasing, chosen by a hash of its name, but no inverted
    one and never the first, which rows are scored under. Raises InputError for an unknown name, and
    if no phrasing is left on either side.
    """
    if not asked:
        return templates, ()
    if isinstance(asked, list):
        names = {template.name for template in templates}
        for name in asked:
            if name not in names:
                raise unknown("template", name, names, f"hold_out_templates of {templates.name}")
        chosen = set(asked)
    else:
        chosen = _share(templates, asked, salt)
    kept = tuple(t for t in templates if t.name not in chosen)
    if not kept:
        raise InputError(
            f"hold_out_templates: no phrasing of {templates.name} is left to train on."
        )
    return replace(templates, templates=kept), tuple(t for t in templates if t.name in chosen)


def _share(templates: TemplateSet, share: float, salt: str) -> set[str]:
    of_task = [t.name for t in templates.templates[1:] if t.metadata.original_task is not False]
    if not of_task:
        raise InputError(
            f"hold_out_templates: {templates.name} has one phrasing of its task, which is needed "
            "for training."
        )
    ranked = sorted(of_task, key=lambda name: hashlib.sha256(f"{salt}|{name}".encode()).digest())
    return set(ranked[: max(1, round(share * len(templates)))])
