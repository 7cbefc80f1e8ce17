"""The end of a sweep: the chosen trial and the recipe's own are scored on the test rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from brulee import pipeline
from brulee.evaluation.answers import shared
from brulee.evaluation.phrasings import by_phrasing, tables
from brulee.methods import METHODS
from brulee.pipeline.asked import asked_of
from brulee.pipeline.comparing import adjusted, compared, swaps
from brulee.pipeline.sweeps.outline import Outline
from brulee.pipeline.task_metrics import task_metrics
from brulee.recipe import Recipe
from brulee.reporting import results
from brulee.reporting.results import Comparison
from brulee.reporting.sweep_results import BeforeAfter


def score_test(run: Path, recipe: Recipe, beside: Path | None = None) -> None:
    """Score a trained trial as `brulee run` does; a scored run is left unchanged.

    The answers before are copied from the run `beside`, if it starts from bitwise the same.
    """
    if beside is not None and _same_base(run, beside):
        _share(beside / "eval", run / "eval")
    pipeline.run(recipe, folder=run)


def tested(run: Path) -> BeforeAfter:
    """A trial's comparisons of base and tuned on the test rows."""
    return BeforeAfter(run=run.name, comparisons=results.read(run).comparisons)


def against(own: Path, chosen: Path, outline: Outline) -> list[Comparison]:
    """The chosen trial compared with the recipe's own setting, on test items that both answered."""
    recipe, corpus = outline.recipe, outline.ground.corpus
    found = []
    resamples, tests = (
        recipe.evaluate.resamples,
        swaps(recipe.evaluate.resamples, len(corpus.tests)),
    )
    for asked in asked_of(recipe, corpus, task_metrics(recipe, corpus)):
        name = f"{asked.name.replace('/', '-')}.jsonl"
        sides = shared(own / "eval/tuned" / name, chosen / "eval/tuned" / name)
        if not sides[0]:
            continue
        trained = asked.test.path not in corpus.held_out
        parts = [by_phrasing(answers) for answers in sides]
        found += [
            compared(asked.name, key, metric, both, resamples, tests, trained)
            for key, metric, both in tables(parts, asked.metrics)
        ]
    return list(adjusted(found))


def _same_base(a: Path, b: Path) -> bool:
    """Whether two runs start from the same model: full fine-tuning holds it in fp32."""
    return _base_of(a) == _base_of(b)


def _base_of(run: Path) -> tuple[Any, ...]:
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    recipe = manifest["recipe"]
    whole = METHODS[recipe["method"]["name"]].stores_model
    kept = (manifest[key] for key in ("base", "framing", "precision"))
    start = manifest.get("start", {}).get("digest")
    return (*kept, start, recipe["train"]["device"], recipe["train"]["max_length"], whole)


def _share(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    if (source / "base").is_dir() and not (target / "base").exists():
        shutil.copytree(source / "base", target / "base")
