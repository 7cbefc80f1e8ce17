"""Zero-shot performance on held-out task clusters by the number of clusters tuned on.

    python benchmarks/clusters.py --data FOLDER --out benchmarks/results/clusters.json

FLAN's question (Wei et al. 2021, section 4.1): clusters of tasks are held out, the model is tuned
on one cluster, then on more, with the same number of documents each time. The held-out clusters are
scored before and after, zero-shot, in the library's first phrasing: by the most likely choice and
by the generated answer. FOLDER holds published files under their original names; the functions
below say which. Stopped runs can be continued.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from brulee.pipeline import run
from brulee.pipeline.origin import machine, versions
from brulee.recipe import recipe_from_dict
from brulee.reporting import results

Row = dict[str, Any]
HELD_OUT: Final = ("nli", "commonsense")
METRICS: Final = ("ranked_accuracy", "accuracy")
KEPT: Final = ("base", "tuned", "difference", "low", "high", "p")
# Nested: each case is tuned on its own clusters and those of the cases before.
CASES: Final[dict[str, tuple[str, ...]]] = {
    "1 cluster": ("summarization",),
    "5 clusters": ("sentiment", "translation", "grammar", "paraphrase"),
    "9 clusters": ("intent", "similarity", "coreference", "chain-of-thought"),
}


def _json(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _table(path: Path, delimiter: str = "\t") -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        if delimiter == "\t":  # in TSV files, quotation marks are plain characters
            yield from csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        else:
            yield from csv.reader(lines, delimiter=delimiter)


def _dialogues(folder: Path) -> Iterator[Row]:
    return _json(folder / "dialogsum/dev.jsonl")


def _reviews(folder: Path) -> Iterator[Row]:
    """Sentences whose human rating is clearly positive or negative, by at least 1 of 4."""
    for _, mean, text in _table(folder / "amazon_reviews/snippets.tsv"):
        if abs(float(mean)) >= 1:
            yield {"sentence": text, "label": int(float(mean) > 0)}


def _translations(folder: Path) -> Iterator[Row]:
    sides = ((folder / f"tatoeba/fra-eng.{end}").read_text("utf-8") for end in ("fra", "eng"))
    for french, english in zip(*(side.splitlines() for side in sides), strict=True):
        languages = {"source_language": "French", "target_language": "English"}
        yield {"source": french, "target": english, **languages}


def _requests(folder: Path) -> Iterator[Row]:
    names, *rows = _table(folder / "banking77/test.csv", ",")
    yield from (dict(zip(names, row, strict=True)) for row in rows)


def _sentences(folder: Path) -> Iterator[Row]:
    for name in ("in_domain_dev", "out_of_domain_dev"):
        for _, label, _, sentence in _table(folder / f"glue/CoLA/{name}.tsv"):
            yield {"sentence": sentence, "label": int(label)}


def _paraphrases(folder: Path) -> Iterator[Row]:
    _, *rows = _table(folder / "glue/MRPC/msr_paraphrase_test.txt")
    for label, _, _, first, second in rows:
        yield {"sentence1": first, "sentence2": second, "label": int(label)}


def _likenesses(folder: Path) -> Iterator[Row]:
    _, *rows = _table(folder / "glue/STS-B/dev.tsv")
    for row in rows:
        yield {"sentence1": row[7], "sentence2": row[8], "label": float(row[9])}


def _pronouns(folder: Path) -> Iterator[Row]:
    for row in _json(folder / "superglue/WSC/val.jsonl"):
        yield {"text": row["text"], **row["target"], "label": int(row["label"] == "true")}


def _problems(folder: Path) -> Iterator[Row]:
    return _json(folder / "gsm8k/test.jsonl")


def _entailments(folder: Path) -> Iterator[Row]:
    labels = ("entailment", "not_entailment")
    for row in _json(folder / "superglue/RTE/val.jsonl"):
        pair = {"sentence1": row["premise"], "sentence2": row["hypothesis"]}
        yield pair | {"label": labels.index(row["label"])}


def _commitments(folder: Path) -> Iterator[Row]:
    labels = ("entailment", "contradiction", "neutral")
    for row in _json(folder / "superglue/CB/val.jsonl"):
        pair = {key: row[key] for key in ("premise", "hypothesis")}
        yield pair | {"label": labels.index(row["label"])}


def _alternatives(folder: Path) -> Iterator[Row]:
    columns = ("premise", "choice1", "choice2", "question", "label")
    for row in _json(folder / "superglue/COPA/val.jsonl"):
        yield {key: row[key] for key in columns}


# Library family -> its rows. All phrasings of GSM8K reason before they answer.
TASKS: Final[dict[str, Callable[[Path], Iterator[Row]]]] = {
    "dialogsum": _dialogues,
    "sst2": _reviews,
    "translation": _translations,
    "banking77": _requests,
    "cola": _sentences,
    "mrpc": _paraphrases,
    "stsb": _likenesses,
    "wsc": _pronouns,
    "gsm8k": _problems,
}
CLUSTERS: Final = {
    "dialogsum": "summarization",
    "sst2": "sentiment",
    "translation": "translation",
    "banking77": "intent",
    "cola": "grammar",
    "mrpc": "paraphrase",
    "stsb": "similarity",
    "wsc": "coreference",
    "gsm8k": "chain-of-thought",
}
ASKED: Final[dict[str, Callable[[Path], Iterator[Row]]]] = {
    "rte": _entailments,
    "cb": _commitments,
    "copa": _alternatives,
}


def main() -> None:
    arguments = _arguments()
    given = {name: list(rows(arguments.data)) for name, rows in (TASKS | ASKED).items()}
    found: dict[str, Any] = {}
    clusters: list[str] = []
    for case, more in CASES.items():
        clusters += more
        tasks = [*(name for name in TASKS if CLUSTERS[name] in clusters), *ASKED]
        recipe = recipe_from_dict(_recipe({name: given[name] for name in tasks}, arguments))
        result = run(recipe, folder=arguments.runs / case.replace(" ", "-"))
        found[case] = {"clusters": list(clusters), "tasks": _changes(results.read(result))}
    _show(found)
    if arguments.out:
        settings = {"steps": arguments.steps, "batch": arguments.batch, "seed": arguments.seed}
        kept = {"machine": machine(), "versions": versions(), "settings": settings, "cases": found}
        arguments.out.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _recipe(given: dict[str, list[Row]], asked: argparse.Namespace) -> dict[str, Any]:
    tasks = [
        {
            "name": name,
            "source": rows,
            "templates": name,
            # A held-out task's rows are all test rows but one; the others' rows all train.
            "split": {"test": 0.99 if name in ASKED else 0, "near_duplicates": False},
        }
        for name, rows in given.items()
    ]
    return {
        "model": asked.model,
        "data": {
            "tasks": tasks,
            "mix": {"kind": "proportional", "rate_cap": 500},
            "hold_out": {"clusters": list(HELD_OUT)},
        },
        "method": {"name": "lora", "rank": 8, "alpha": 16, "target": "all-linear"},
        "train": {
            "epochs": 20,
            "max_steps": asked.steps,
            "batch_size": asked.batch,
            "learning_rate": 5e-4,
            "seed": asked.seed,
        },
        "evaluate": {
            "metrics": list(METRICS),
            "generation": {"max_new_tokens": 16},
            "limit": asked.limit,
        },
    }


def _changes(found: results.Results) -> dict[str, Any]:
    return {
        f"{pair.task} {pair.metric}": pair.model_dump(mode="json", include=set(KEPT))
        for pair in found.comparisons
    }


def _show(found: dict[str, Any]) -> None:
    for key in next(iter(found.values()))["tasks"]:
        print(key)
        for case, of in found.items():
            one = of["tasks"][key]
            print(
                f"  {case:10}  {one['base']:.3f} -> {one['tuned']:.3f}  {one['difference']:+.3f} "
                f"[{one['low']:+.3f}, {one['high']:+.3f}]"
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of published files")
    parser.add_argument("--runs", type=Path, default=Path("runs/clusters"))
    parser.add_argument("--out", type=Path, help="a file for the numbers")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--limit", type=int, help="test rows of each task")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
