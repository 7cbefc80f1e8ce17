"""How well inventions are detected: on the test set, and planted into DialogSum's summaries.

    python benchmarks/faithfulness.py DIALOGSUM.jsonl

Prints JSON and writes it to benchmarks/results/faithfulness.json. Test set: precision and recall
over the spans of tests/fixtures/faithfulness.jsonl, 20 summaries with planted inventions and 20
faithful ones, written for this project. DialogSum: the share of its human summaries that are
flagged (few should be; some have misspelt names), and the share detected of names and numbers
swapped for those of another dialogue.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from mixture import machine

from brulee.evaluation.faithfulness import checked, invented

HERE = Path(__file__).parent
FIXTURE = HERE.parent / "tests" / "fixtures" / "faithfulness.jsonl"
RESULT = HERE / "results" / "faithfulness.json"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="DialogSum's dev.jsonl")
    rows = read(parser.parse_args().data)
    flagged = [row for row in rows if invented(row["dialogue"], row["summary"])]
    result = {
        "what": "inventions in summaries, found without a model",
        "test_set": on_test_set(read(FIXTURE)),
        "dialogsum": {
            "summaries": len(rows),
            "human_summaries_flagged": round(len(flagged) / len(rows), 4),
            **on_swapped(rows),
        },
        **machine(),
    }
    text = json.dumps(result, indent=2)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


def read(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def on_test_set(items: list[Row]) -> dict[str, float]:
    right = wrong = missed = 0
    for item in items:
        text = item["summary"]
        spans = [(s.start, s.end) for s in invented(item["source"], text)]
        planted = [(text.index(w), text.index(w) + len(w)) for w in item["invented"]]
        hit = [p for p in planted if any(overlap(p, s) for s in spans)]
        right, missed = right + len(hit), missed + len(planted) - len(hit)
        wrong += sum(not any(overlap(p, s) for p in planted) for s in spans)
    return {
        "summaries": len(items),
        "planted": right + missed,
        "precision": round(right / (right + wrong), 4),
        "recall": round(right / (right + missed), 4),
    }


def on_swapped(rows: list[Row]) -> dict[str, object]:
    """The share detected when one supported name or number is replaced by an unsupported one."""
    draw = random.Random(0)
    found = {"name": [0, 0], "number": [0, 0]}
    pool: dict[str, list[str]] = {"name": [], "number": []}
    supported = []
    for row in rows:
        spans = [s for s in checked(row["dialogue"], row["summary"]) if s.supported]
        spans = [s for s in spans if "#" not in row["summary"][s.start : s.end]]
        supported.append(spans)
        for span in spans:
            pool[span.kind].append(row["summary"][span.start : span.end])
    for row, spans in zip(rows, supported, strict=True):
        for span in spans:
            other = draw.choice(pool[span.kind])
            if any(word in row["dialogue"].lower() for word in other.lower().split()):
                continue
            text = row["summary"][: span.start] + other + row["summary"][span.end :]
            place = (span.start, span.start + len(other))
            spotted = any(overlap(place, (s.start, s.end)) for s in invented(row["dialogue"], text))
            found[span.kind][0] += spotted
            found[span.kind][1] += 1
    return {
        f"swapped_{kind}s": {"planted": planted, "found": round(spotted / planted, 4)}
        for kind, (spotted, planted) in found.items()
    }


def overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] < b[1] and b[0] < a[1]


if __name__ == "__main__":
    main()
