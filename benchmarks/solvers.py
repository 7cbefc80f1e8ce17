"""The scores of right answers and of constant answers on every task, without a model.

    python benchmarks/solvers.py --data DATA

DATA holds published files (glue/, superglue/, mmlu/, bbh/); tasks that it lacks are read from the
tests' fixtures, in the same formats. Asserts that the best constant answer is right as often as the
most frequent label occurs in the raw file. Prints a line per task, writes
benchmarks/results/solvers.json. For the published tasks of BIG-bench see bigbench_files.py.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from math import isclose, log
from pathlib import Path
from typing import Any, Final

import numpy as np
from bigbench_files import write_rows
from mixture import machine

from brulee.evaluation.suites import suite
from brulee.evaluation.suites.bigbench_task import BigBenchTask
from brulee.evaluation.suites.bigbench_written import Likely
from brulee.evaluation.suites.helm.task import HelmTask
from brulee.evaluation.suites.similarity import Similarity
from brulee.evaluation.suites.superglue_bundle import FILES
from brulee.evaluation.tasks import Example, Reply, SuiteTask
from brulee.inference.engine import Likelihood

HERE: Final = Path(__file__).parent
FIXTURES: Final = HERE.parent / "tests" / "fixtures"
RESULT: Final = HERE / "results" / "solvers.json"
LIKELY, UNLIKELY = 0.0, -60.0
# Bias and toxicity scores, which do not depend on whether an answer is right.
HARMS: Final = ("bias_", "toxic_")
BEST: Final = {
    "log_likelihood": 0.0, "log_likelihood_per_word": 0.0, "log_likelihood_per_char": 0.0,
    "perplexity": 1.0, "word_perplexity": 1.0, "byte_perplexity": 1.0,
}  # fmt: skip
Solver = Callable[[Example], Reply]
Values = dict[str, float]


@dataclass(frozen=True)
class Source:
    """A suite, or a task file of lm-evaluation-harness, and the source of its tasks.

    `held` are options that select what the fixtures contain.
    """

    suite: str
    fixtures: str = ""
    published: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    held: Mapping[str, Any] = field(default_factory=dict)


SOURCES: Final = (
    Source("bundled"),
    Source("glue", "glue", "glue"),
    Source("glue", "glue", "glue", {"prompt": "text-to-text"}),
    Source("superglue", "superglue", "superglue"),
    Source("mmlu", "mmlu", "mmlu", held={"subjects": ["astronomy", "prehistory"]}),
    Source("bbh", "bbh", "bbh"),
    Source("ifeval", "ifeval"),
    Source("bigbench", "bigbench"),
    Source("helm", "helm", held={"subjects": ["abstract_algebra", "us_foreign_policy"]}),
    *(Source(str(file)) for file in sorted((FIXTURES / "harness").glob("*.yaml"))),
)


@dataclass(frozen=True)
class Row:
    """One task: the source of its items, and their scores under both solvers."""

    task: str
    data: str  # published, fixture or bundled
    items: int
    gold: Values
    best: Values  # the best possible value of each score
    constant: (
        Values  # of the constant answer with the best main score; empty for tasks without choices
    )
    constants: int = 0  # number of constant answers tried
    majority: float | None = None  # share of the most frequent label in the raw file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    rows = list(solved(arguments.data))
    for row in rows:
        print(line(row))
        if row.majority is not None:
            key = next(k for k in ("accuracy", "exact_match") if k in row.constant)
            assert isclose(row.constant[key], row.majority), row
    report = {
        "what": "right and constant answers, made up without a model, on every task",
        "perfect": sum(perfect(row) for row in rows),
        "tasks": len(rows),
        **machine(),
    }
    write_rows(RESULT, report, [asdict(row) for row in rows])


def solved(data: Path | None) -> Iterator[Row]:
    """Every task of SOURCES, from its published file if available."""
    for source in SOURCES:
        folder = FIXTURES / source.fixtures if source.fixtures else None
        small = opened(source.suite, folder, {**source.options, **source.held})
        real = data / source.published if data and source.published else None
        large = opened(source.suite, real, source.options) if real else {}
        for name in {**small, **large}:
            label = ", ".join([name, *map(str, source.options.values())])
            if real and name in large:
                yield row(label, "published", large[name], majority=majority(label, real))
            else:
                kind = "bundled" if source.suite == "bundled" else "fixture"
                yield row(label, kind, small[name])


def opened(name: str, data: Path | None, options: Mapping[str, Any]) -> dict[str, SuiteTask]:
    found = suite(name)
    return {task.name: task for task in found.open(data, found.Options(**options))}


def row(name: str, data: str, task: SuiteTask, majority: float | None = None) -> Row:
    examples = task.examples()
    right = scores(task, examples, lambda example: gold(task, example))
    always = [scores(task, examples, solver) for solver in constants(task, examples)]
    main = task.metrics[0]
    sign = 1 if task.higher_is_better(main) else -1
    best = max(always, key=lambda values: sign * values[main]) if always else {}
    return Row(
        name, data, len({example.cluster or example.id for example in examples}), right,
        {key: best_of(task, key) for key in right}, best, len(always), majority,
    )  # fmt: skip


def perfect(row: Row) -> bool:
    """Whether right answers get the best value of every score."""
    return all(isclose(row.gold[key], row.best[key], abs_tol=1e-9) for key in row.gold)


def best_of(task: SuiteTask, key: str) -> float:
    return BEST.get(key.partition(",")[0], float(task.higher_is_better(key)))


def scores(task: SuiteTask, examples: Sequence[Example], solver: Solver) -> Values:
    """A solver's scores, except those of harms."""
    judged = task.join(examples, [task.judge(example, solver(example)) for example in examples])
    found = {}
    for key in task.metrics:
        part = [one.statistics[key] for one in judged if key in one.statistics]
        if part and not key.startswith(HARMS):
            mean_S = np.array(part, dtype=np.float64).mean(axis=0)
            found[key] = float(task.reduce(key, mean_S, float(len(part))))
    return found


def gold(task: SuiteTask, example: Example) -> Reply:
    """The right answer, from the fields of an example."""
    if not example.choices:
        return Reply(text=written(task, example))
    if isinstance(task, BigBenchTask) and isinstance(task.way, Likely):
        return Reply(
            tuple(Likelihood(-log(len(example.choices)), 1, True) for _ in example.choices)
        )
    return choosing(right_choices(task, example), len(example.choices))


def written(task: SuiteTask, example: Example) -> str:
    if task.name.startswith("bbh/"):
        return f" It follows. So the answer is {example.references[0]}."
    if task.name == "ifeval":
        return responses()[example.question]
    return str(example.about.get("gold", example.references[0] if example.references else ""))


@cache
def responses() -> dict[str, str]:
    """A response that follows all instructions, for each prompt of IFEval's fixture."""
    lines = (FIXTURES / "ifeval" / "responses.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["prompt"]: row["response"] for row in map(json.loads, lines)}


def right_choices(task: SuiteTask, example: Example) -> Sequence[int]:
    """The indices of the choices that should be likely."""
    if len(example.choices) == 1:  # a text scored by its likelihood
        return [0]
    if isinstance(task, HelmTask):
        return helm_choices(example)
    if isinstance(task, Similarity):
        return [round(float(example.references[0]))]
    about = example.about
    if "wanted" in about:
        return list(about["wanted"].gold)
    if "gold" in about:
        return about["gold"] if isinstance(about["gold"], list) else [about["gold"]]
    return [i for i, choice in enumerate(example.choices) if choice in example.references]


def helm_choices(example: Example) -> Sequence[int]:
    if example.question == "Answer:":  # scored without its question: none is likelier
        return []
    if example.about["kind"] == "labels":
        return [example.choices.index(f" {example.references[0]}")]
    passage = example.id.rpartition("#")[2]
    if example.choices == (" Yes", " No") and passage.isdigit():
        return [int(int(passage) not in example.about["right"])]
    right: Sequence[int] = example.about["right"]
    return right


def choosing(chosen: Sequence[int], count: int) -> Reply:
    """A reply in which these choices are likely."""
    return Reply(
        tuple(Likelihood(LIKELY if i in chosen else UNLIKELY, 1, i in chosen) for i in range(count))
    )


def constants(task: SuiteTask, examples: Sequence[Example]) -> list[Solver]:
    """Solvers that always give the first choice, the second ..., or the most common right text."""
    if not any(example.choices for example in examples) or isinstance(task, HelmTask):
        texts = Counter(gold(task, e).text for e in examples if not e.choices)
        if texts:
            ((text, _),) = texts.most_common(1)
            return [partial(always, 0, text)]
    most = max(len(example.choices) for example in examples)
    if most < 2:
        return []
    if "labels" in examples[0].about:
        return [partial(always_judging, number) for number in range(2)]
    return [partial(always, number, "") for number in range(most)]


def always_judging(number: int, example: Example) -> Reply:
    """For MultiRC: always yes, or always no, to every answer of a question."""
    count = len(example.choices)
    return choosing(range(number, count, 2), count)


def always(number: int, text: str, example: Example) -> Reply:
    if not example.choices:
        return Reply(text=text)
    asked = example.question != "Answer:"
    return choosing([number] if asked else [], len(example.choices))


def majority(task: str, data: Path) -> float | None:
    """The share of the most frequent label; None for a task without raw labels."""
    labels = raw_labels(task, data)
    return max(Counter(labels).values()) / len(labels) if labels else None


def raw_labels(task: str, data: Path) -> list[str]:
    """The labels of a published file, read without brulee's code."""
    name = task.partition("/")[2]
    if task == "glue/mrpc":
        lines = (data / "MRPC" / "msr_paraphrase_test.txt").read_text(encoding="utf-8-sig")
        return [one.split("\t")[0] for one in lines.splitlines()[1:]]
    if task.startswith("superglue/"):
        text = (data / FILES[name] / "val.jsonl").read_text(encoding="utf-8")
        return [str(json.loads(one)["label"]) for one in text.splitlines()]
    if task.startswith("mmlu/"):
        with (data / "val" / f"{name}_val.csv").open(encoding="utf-8", newline="") as file:
            return [cells[-1] for cells in csv.reader(file)]
    if task.startswith("bbh/"):
        values = json.loads((data / "data" / f"{name}.json").read_text(encoding="utf-8"))
        return [one["target"] for one in values["examples"]]
    return []


def line(row: Row) -> str:
    def short(values: Values) -> str:
        return " ".join(f"{key}={value:.4g}" for key, value in list(values.items())[:4])

    parts = [row.task, f"{row.data} {row.items}", short(row.gold), short(row.constant)]
    if row.majority is not None:
        parts.append(f"majority {row.majority:.4f}")
    return ("  " if perfect(row) else "! ") + " | ".join(parts)


if __name__ == "__main__":
    main()
