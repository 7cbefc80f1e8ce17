"""Every method on DialogSum: the bundled model's gain from each, with the same documents.

    python benchmarks/quality.py --data dialogsum/dev.jsonl --runs runs/quality
    python benchmarks/quality.py --data dialogsum/dev.jsonl --runs runs/quality --probe norms 5e-3

The split is that of recipes/dialogsum.yaml: 450 conversations to train on, 50 to score on, by the
hash of `fname`. A run trains `--steps` steps of `--documents` conversations, generates the 50
summaries and is scored with ROUGE, and by its loss on the 50 reference summaries, which is far less
noisy. Each row of benchmarks/results/quality-dialogsum.json is kept in its run's folder and never
measured twice, so that the study can be stopped and continued, and several processes can share it:
one thread each is the best use of few cores. `--probe` tries learning rates on training
conversations that no run reads, and writes only its own table.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mixture import machine
from quality_cases import CASES, Case

from brulee.errors import InputError
from brulee.methods import Attached
from brulee.pipeline.folder import open_run
from brulee.pipeline.preparation import Prepared, prepare
from brulee.pipeline.stages import score, write_up
from brulee.pipeline.trained import Tuned
from brulee.pipeline.tuning import tune
from brulee.recipe import Recipe, load_recipe
from brulee.reporting import results
from brulee.training.passes import Passes

HERE = Path(__file__).parent
RESULT = HERE / "results" / "quality-dialogsum.json"
PROBES = HERE / "results" / "quality-dialogsum-probes.json"
RECIPE = HERE.parent / "recipes" / "dialogsum.yaml"
ROW = "row.json"
METRICS = ("rouge1", "rouge2", "rougeL")
PROBED = 16  # conversations: the last training ones in the order of the first epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="DialogSum's dev.jsonl")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the run folders")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--documents", type=int, default=4, help="conversations a step")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", help="names of methods")
    parser.add_argument("--probe", nargs="+", metavar=("METHOD", "RATE"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tag", help="ignored; a name for the process")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.probe:
        probe(given, named(given.probe[0]), [float(rate) for rate in given.probe[1:]])
        return
    cases = [named(name) for name in given.only] if given.only else list(CASES)
    for seed in given.seeds:
        for case in cases:
            study(given, case, seed)


def named(name: str) -> Case:
    found = [case for case in CASES if case.name == name]
    if not found:
        raise SystemExit(f"no method {name!r}; there are: {', '.join(c.name for c in CASES)}")
    return found[0]


def study(given: argparse.Namespace, case: Case, seed: int) -> None:
    """Measure one row, unless it exists or another process is measuring it."""
    folder = Path(recipe_of(given, case, seed).runs) / slug(case, seed)
    claim = folder.with_suffix(".claim")
    if (folder / ROW).is_file():
        return
    given.runs.mkdir(parents=True, exist_ok=True)
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        print(f"{case.name}, seed {seed}: {claim} says that it is being measured", flush=True)
        return
    key = {"name": case.name, "seed": seed}
    try:
        row = {**key, **measured(given, case, seed)}
    except InputError as error:
        folder.mkdir(exist_ok=True)
        row = {**key, "refused": str(error)}
    finally:
        claim.unlink()
    gc.collect()
    (folder / ROW).write_text(json.dumps(row) + "\n", encoding="utf-8")
    write(given)
    print(json.dumps({k: v for k, v in row.items() if k != "rouge1_by_row"}), flush=True)


def measured(given: argparse.Namespace, case: Case, seed: int) -> dict[str, Any]:
    """Tune, and return the row's measurements."""
    where = open_run(recipe_of(given, case, seed), "run", None, False)
    prepared = prepare(where)
    started = time.process_time()
    tuned, scores = scored(given, case, prepared) if case.writes else (tune(prepared), {})
    row = {
        "label": prepared.method.label(),
        "method": {"name": prepared.method.name, **prepared.method.options()},
        "learning_rate": case.learning_rate,
        "quantise": case.quantise,
        "rank": case.rank,
        "steps": tuned.trained.training.steps,
        **scores,
        "loss": loss(prepared, tuned.attached),
        "trainable": tuned.trained.cost.trainable_parameters,
        "stored_bytes": tuned.trained.cost.adapter_bytes,
        "train_tokens": tuned.trained.cost.train_tokens,
        # Wall-clock time is meaningless while other work runs.
        "cpu_seconds": round(time.process_time() - started, 1),
        "peak_mib": round(tuned.trained.cost.peak_memory_bytes / 2**20),
    }
    shutil.rmtree(where.path / "checkpoints")
    shutil.rmtree(where.path / "model", ignore_errors=True)
    return row


def scored(
    given: argparse.Namespace, case: Case, prepared: Prepared
) -> tuple[Tuned, dict[str, Any]]:
    """A whole run; reuses the base's answers and loss from the first run that measured them."""
    where, test = prepared.where, prepared.corpus.tests[0].name
    answers, kept = where.answers("base", test), base_answers(given, case)
    if kept.is_file() and not answers.is_file():
        answers.parent.mkdir(parents=True)
        shutil.copy(kept, answers)
    before = score(prepared, "base")
    shutil.copy(answers, kept)
    if kept_loss(kept) is None:
        kept.with_suffix(".loss").write_text(str(loss(prepared, None)))
    tuned = tune(prepared)
    after = score(prepared, "tuned", tuned.attached)
    write_up(prepared, tuned, before, after)
    found = results.read(where.path)
    pairs = {pair.metric: pair for pair in found.comparisons if pair.metric in METRICS}
    return tuned, {
        "base": {m: pair.base for m, pair in pairs.items()},
        "tuned": {m: pair.tuned for m, pair in pairs.items()},
        "gain_low_high": {m: (pair.low, pair.high) for m, pair in pairs.items()},
        "base_loss": kept_loss(kept),
        "words": {length.who: length.mean_words for length in found.lengths},
        "rouge1_by_row": [answer.scores["rouge1"] for answer in after.tasks[test]],
    }


def recipe_of(given: argparse.Namespace, case: Case, seed: int) -> Recipe:
    """recipes/dialogsum.yaml with this method, rate, seed and number of steps."""
    settings = {
        "data.source": given.data,
        "method": {"name": case.method, **case.options},
        "name": slug(case, seed),
        "runs": str(given.runs),
        "train.batch_size": given.documents,
        "train.learning_rate": case.learning_rate,
        "train.max_steps": given.steps * case.longer,
        "train.precision": "bfloat16",  # `auto` times products, which other work disturbs
        "train.seed": seed,
        "evaluate.metrics": ["rouge"],
    }
    if case.quantise:
        settings["model"] = {"name": "bundled", "quantise": case.quantise}
    return load_recipe(RECIPE, [f"{key}={json.dumps(value)}" for key, value in settings.items()])


def slug(case: Case, seed: int) -> str:
    """The name of a run's folder."""
    return f"{''.join(c if c.isalnum() else '-' for c in case.name)}-s{seed}"


def base_answers(given: argparse.Namespace, case: Case) -> Path:
    """The file of the base's summaries, by its quantisation."""
    return Path(given.runs) / f"base-{case.quantise or 'plain'}.jsonl"


def kept_loss(kept: Path) -> float | None:
    file = kept.with_suffix(".loss")
    return float(file.read_text()) if file.is_file() else None


def loss(prepared: Prepared, attached: Attached | None, rows_: Sequence[int] = ()) -> float:
    """Mean loss per token of the reference summaries of the test rows, or of `rows_` if given."""
    task = prepared.corpus.tasks[prepared.corpus.tests[0].path]
    encoder = prepared.encoder.with_prefix(attached.prefix_ids if attached else ())
    encoded = [task.encode(encoder, row, 0, "") for row in rows_ or task.test]
    prepared.base.model.eval()
    passes = Passes(prepared.base, most=2, autocast=prepared.autocast)
    with passes.boundary():
        total, learned = passes.total_loss([each for each in encoded if each is not None])
    return total / learned


def probe(given: argparse.Namespace, case: Case, rates: Sequence[float]) -> None:
    """Record the loss after `--steps` at each rate, on conversations that no run trains on."""
    for rate in rates:
        tried = Case(**{**asdict(case), "name": f"probe {case.name}", "learning_rate": rate})
        where = open_run(recipe_of(given, tried, 0), "train", None, False)
        prepared = prepare(where)
        mixture = prepared.mixture
        unread = [mixture.sample(i).row for i in range(len(mixture) - PROBED, len(mixture))]
        tuned = tune(prepared)
        found = loss(prepared, tuned.attached, unread)
        line = {"name": case.name, "learning_rate": rate, "steps": tuned.trained.training.steps}
        line |= {"loss": round(found, 4), "seconds": round(tuned.trained.cost.train_seconds, 1)}
        print(json.dumps(line), flush=True)
        kept = json.loads(PROBES.read_text())
        kept["rows"].append(line)
        PROBES.write_text(json.dumps(kept, indent=1) + "\n")
        shutil.rmtree(where.path)
        del prepared, tuned
        gc.collect()


def write(given: argparse.Namespace) -> None:
    """Write the rows so far and their means atomically."""
    order = [case.name for case in CASES]
    found = [json.loads(file.read_text()) for file in given.runs.glob(f"*/{ROW}")]
    found.sort(key=lambda row: (order.index(row["name"]), row["seed"]))
    result = {
        "what": f"DialogSum dev, 450 conversations to learn from, 50 scored; {given.steps} steps "
        f"of {given.documents} conversations; SmolLM2-135M-Instruct",
        "table": table(found),
        "machine": machine(),
        "rows": found,
    }
    aside = RESULT.with_suffix(f".{os.getpid()}.tmp")
    aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    aside.replace(RESULT)


def table(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each method's mean over seeds, and the standard deviation if there are several."""
    lines = []
    for name in dict.fromkeys(row["name"] for row in found if "loss" in row):
        own = [row for row in found if row["name"] == name]
        line: dict[str, Any] = {"name": name, "seeds": len(own), "trainable": own[0]["trainable"]}
        for metric in METRICS if "tuned" in own[0] else ():
            line[metric] = spread([row["tuned"][metric] for row in own])
        lines.append({**line, "loss": spread([row["loss"] for row in own])})
    return lines


def spread(values: list[float]) -> dict[str, float]:
    sd = {"sd": round(statistics.stdev(values), 4)} if len(values) > 1 else {}
    return {"mean": round(statistics.mean(values), 4), **sd}


if __name__ == "__main__":
    main()
