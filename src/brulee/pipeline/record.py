"""Records of a run before it begins: split.json, the manifest, the mixture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from brulee.data.corpus import Corpus, open_corpus
from brulee.data.task import Task
from brulee.methods.continuing import start_of
from brulee.models.base_files import base_digest
from brulee.models.tokenizers import load_encoder
from brulee.pipeline.folder import RunFolder
from brulee.pipeline.mix import mix, table
from brulee.progress import note
from brulee.recipe import Recipe

if TYPE_CHECKING:
    from brulee.pipeline.preparation import Prepared

_MOST_SAID = 10
_CUT = "source text cut"  # of the counts in split.json, the only one of rows that are used


def record(prepared: Prepared, dtype: torch.dtype) -> None:
    """Begin the run: write its recipe, split.json, and the manifest with data and model."""
    tasks = prepared.corpus.tasks
    splits = {path: _split(prepared, path) for path in tasks}
    alone = next(iter(splits.values())) if len(splits) == 1 else None
    facts = {
        "base": _base(prepared),
        "framing": prepared.encoder.digest,
        **_data(tasks),
        **({"start": prepared.start.record} if prepared.start else {}),
        "seed": prepared.recipe.train.seed,
        "precision": str(dtype).removeprefix("torch."),
    }
    lines = mix(prepared) if len(tasks) > 1 else ()
    if lines:
        facts["mixture"] = [line.model_dump() for line in lines]
    prepared.where.begin(facts, alone or {"tasks": splits})
    _say_some(
        f"{path}: {told(tasks[path].count_read, split['rows'])}"
        for path, split in splits.items()
        if any(split["rows"].values())
    )
    for task in tasks.values():
        if task.division:
            note(task.division.told(prepared.encoder.max_length))
    _say_some(
        f"{path}: held out, scored only ({reason})."
        for path, reason in prepared.corpus.held_out.items()
    )
    if lines:
        note(table(lines))


def told(count: int, rows: Mapping[str, int]) -> str:
    """A sentence on how many of `count` rows are left out, by reason, and how many are cut.

    `rows` is what split.json holds under that name.
    """
    reasons = {reason: n for reason, n in rows.items() if n and reason != _CUT}
    said = []
    if left := sum(reasons.values()):
        one = next(iter(reasons)) if len(reasons) == 1 else None
        why = one or ", ".join(f"{reason}: {n:,}" for reason, n in reasons.items())
        said.append(f"{left:,} {'is' if left == 1 else 'are'} left out ({why})")
    if cut := rows.get(_CUT, 0):
        have = "has its" if cut == 1 else "have their"
        said.append(f"{cut:,} {have} source text cut")
    return f"of {count:,} row{'s'[: count != 1]}, {' and '.join(said)}."


def _say_some(sentences: Iterable[str]) -> None:
    """Note some sentences about tasks; of many, the first ones and the number of the rest."""
    found = list(sentences)
    for sentence in found[:_MOST_SAID]:
        note(sentence)
    if len(found) > _MOST_SAID:
        note(f"and {len(found) - _MOST_SAID:,} more such tasks in split.json.")


def recheck(where: RunFolder) -> None:
    """Check data and base of a finished training, without loading the model.

    Raises InputError naming what changed since.
    """
    recipe, manifest = where.recipe, where.manifest()
    found = facts_of(recipe, open_corpus(recipe))
    facts = {**found, "base": {**manifest.get("base", {}), "digest": found["base"]}}
    where.begin(facts, json.loads((where.path / "split.json").read_text(encoding="utf-8")))


def facts_of(recipe: Recipe, corpus: Corpus) -> dict[str, Any]:
    """The digests of base, framing, data, templates, and of the adapter to start from."""
    source, spec, start = recipe.source, recipe.base, start_of(recipe)
    path = source.resolve(spec.name)
    name = str(path) if spec.name != "bundled" and path.exists() else spec.name
    return {
        "base": base_digest(name, spec.revision),
        "framing": load_encoder(recipe).digest,
        **_data(corpus.tasks),
        **({"start": start.record} if start else {}),
    }


def _data(tasks: Mapping[str, Task]) -> dict[str, Any]:
    return {
        "data": {k: v for task in tasks.values() for k, v in task.rows.digests.items()},
        "templates": {path: task.templates.digest for path, task in tasks.items()},
    }


def _split(prepared: Prepared, path: str) -> dict[str, Any]:
    task, fitting = prepared.corpus.tasks[path], prepared.fitting.get(path)
    used = {
        "train": len(fitting.rows) if fitting else 0,
        "validation": len(task.validation),
        "test": len(task.test),
    }
    left_out = dict(task.dropped)
    if fitting:
        left_out |= {
            "too long": len(task.train) - len(fitting.rows),
            _CUT: fitting.cut,
        }
    held_out = {"held_out": prepared.corpus.held_out[path]} if not fitting else {}
    whole = task.whole  # texts were split before they were divided into pieces
    return {**whole.splits.manifest(whole.rows), **held_out, "used": used, "rows": left_out}


def _base(prepared: Prepared) -> dict[str, Any]:
    base = prepared.base
    held = {
        "quantised": base.quantised,
        "rope_scaling": base.rope_scaling,
        "languages": base.languages,
    }
    given = {key: value for key, value in held.items() if value is not None}
    return {"name": base.name, "digest": base.digest, **given}
