"""The bigbench package's own view of its tasks: questions, few-shot prompts and scores.

    PYTHON benchmarks/peers/bigbench_side.py PACKAGE REPORT [--limit N]

PACKAGE is its unpacked source distribution. It imports TensorFlow to open files and `datasets` for
BLEURT; neither is needed here, so a module with `open` replaces the first and an empty module the
second. T5's metrics, NumPy and scikit-learn are the real ones (see bigbench.txt).
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib.util
import json
import math
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

SHOTS = 2
SCORED = 25
MOST = 300  # examples per task
RIGHT, WRONG = 0.0, -60.0  # log-probabilities from a solver that knows the answers


def fraction(*parts: object) -> float:
    """A deterministic pseudo-random number in [0, 1) from these values."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16) / 16**12


def log_probabilities(name: str, number: int, count: int) -> list[float]:
    """Made-up log-probabilities of `count` answers, with occasional ties."""
    found = [-8 * fraction(name, number, k) for k in range(count)]
    return [round(value, 1) if fraction(name, number) < 0.3 else value for value in found]


def response(name: str, number: int, target: str) -> str:
    """A made-up response: right, nearly right, wrong, or long."""
    words = target.split(" ")
    texts = [
        target,
        f" {target.upper()}",
        " ".join(reversed(words)),
        " ".join(words[: len(words) // 2]) + " and more",
        f"{target}. And then some; more\nQ: again",
        "\n12.5 or so",
    ]
    return texts[int(fraction(name, number, "text") * len(texts))]


def right_log_probabilities(worth: Sequence[float]) -> list[float]:
    """Log-probabilities from a solver that knows which choices are worth most."""
    return [RIGHT if one == max(worth) else WRONG for one in worth]


def equal_log_probabilities(count: int) -> list[float]:
    """Log-probabilities of equally likely right answers that sum to probability 1."""
    return [-math.log(count)] * count


def digest(texts: Iterable[object]) -> str:
    """One digest of many texts."""
    found = hashlib.sha256()
    for text in texts:
        found.update(repr(text).encode("utf-8", "surrogatepass"))
    return found.hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("--limit", type=int, help="only the first so many task folders")
    arguments = parser.parse_args()
    json_task, metrics, postprocess = published(arguments.package)
    report: dict[str, Any] = {}
    files = sorted((arguments.package / "bigbench" / "benchmark_tasks").glob("*/task.json"))
    for file in files[: arguments.limit]:
        for name, values in leaves(file):
            distinct = {json.dumps(example): example for example in values["examples"]}
            task = json_task.JsonTask({**values, "examples": list(distinct.values())[:MOST]})
            report[name] = described(name, task, json_task, metrics, postprocess)
            print(len(report), name, flush=True)
    arguments.report.write_text(json.dumps(report), encoding="utf-8")


def leaves(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The task itself, or if it has no examples, the tasks in its subfolders."""
    name = file.parent.name
    values = json.loads(file.read_text(encoding="utf-8"))
    if "examples" in values:
        yield name, values
        return
    for below in sorted(file.parent.glob("*/task.json")):
        yield f"{name}/{below.parent.name}", json.loads(below.read_text(encoding="utf-8"))


def described(
    name: str, task: Any, json_task: Any, metrics: Any, postprocess: Any
) -> dict[str, Any]:
    """Digests of every question and of a few few-shot prompts, and the scores of replies."""
    samples = task._ds
    shots = json_task.make_nshot_dataset(
        samples, SHOTS, random_seed=42, separator=task.few_shot_example_separator,
        max_examples=min(SCORED, len(samples)),
    )  # fmt: skip
    return {
        "examples": len(samples),
        "questions": digest(task.task_prefix + s["input"] for s in samples),
        "answers": digest((list(s["target"]), list(s.get("choice", ()))) for s in samples),
        "shots": digest(task.task_prefix + s["input"] for s in shots),
        "range": [task.low_score, task.high_score],
        "scores": scores(name, task, samples[:SCORED], metrics, postprocess),
        "right": scores(name, task, samples[:SCORED], metrics, postprocess, right=True),
    }


def scores(
    name: str,
    task: Any,
    samples: Sequence[dict[str, Any]],
    metrics: Any,
    postprocess: Any,
    right: bool = False,
) -> dict[str, float]:
    """The package's scores of made-up or right replies; ROUGE is the mean over items."""
    import numpy as np
    from scipy.special import logsumexp

    for number, sample in enumerate(samples):
        count = len(sample["target"])
        if task.multiple_choice_metrics:
            worth = list(sample["target_scores"].values())
            made_up = log_probabilities(name, number, len(worth))
            absolute = np.array(right_log_probabilities(worth) if right else made_up)
            normalised = absolute - logsumexp(absolute)
            sample["absolute_log_prob"] = list(absolute)
            sample["log_prob"] = list(absolute if task.absolute_normalization else normalised)
        text = sample["target"][0] if right else response(name, number, sample["target"][0])
        sample["generative_response"] = postprocess(text, None, task.stop_string, task.output_regex)
        sample["log_prob_gen"] = (
            equal_log_probabilities(count) if right else log_probabilities(name, number, count)
        )
    found = metrics.measure_multiple_choice_metrics(samples, task.multiple_choice_metrics)
    written = [m for m in task.generative_metrics if m not in ("bleurt", "rouge")]
    found |= metrics.measure_generative_metrics(samples, written)
    if "rouge" in task.generative_metrics:
        each = [metrics.rouge_fn([s["target"]], [s["generative_response"]]) for s in samples]
        found |= {key: float(np.mean([e[key] for e in each])) for key in each[0]}
    found |= metrics.measure_scoring_metrics(samples, task.scoring_metrics)
    return {key: float(value) for key, value in found.items()}


def published(package: Path) -> tuple[Any, Any, Any]:
    """The package's own modules for tasks, metrics and postprocessing."""
    for name in ("tensorflow", "tensorflow.compat", "tensorflow.compat.v1", "tensorflow.compat.v2"):
        sys.modules[name] = types.ModuleType(name)
    datasets = types.ModuleType("datasets")
    datasets.load_metric = None  # type: ignore[attr-defined]
    sys.modules["datasets"] = datasets
    t5 = folder_of("t5")
    for name in ("t5", "t5.evaluation"):  # whose __init__ imports T5's training code
        module = types.ModuleType(name)
        module.__path__ = [str(t5 / Path(*name.split(".")[1:]))]
        sys.modules[name] = module
    for name in ("bigbench", "bigbench.api", "bigbench.models", "bigbench.benchmark_tasks"):
        module = types.ModuleType(name)
        module.__path__ = [str(package / Path(*name.split(".")))]
        sys.modules[name] = module
        if "." in name:
            setattr(sys.modules["bigbench"], name.split(".")[1], module)
    from rouge_score import scoring
    from t5.evaluation import metrics as t5_metrics

    # With a single item, every resample is that item, so two are enough.
    few = functools.partial(scoring.BootstrapAggregator, n_samples=2)
    t5_metrics.scoring = types.SimpleNamespace(BootstrapAggregator=few)
    from bigbench.api import json_task, task_metrics
    from bigbench.models.model_utils import postprocess_output

    return json_task, task_metrics, postprocess_output


def folder_of(name: str) -> Path:
    """The folder of an installed package, without importing it."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{name} is not installed here; see benchmarks/peers/bigbench.txt")
    return Path(next(iter(found.submodule_search_locations)))


if __name__ == "__main__":
    main()
