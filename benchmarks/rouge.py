"""ROUGE-1, -2 and -L, stemmed, against rouge_score 0.1.2, on one core and in one process.

    python benchmarks/rouge.py DIALOGSUM.jsonl

Prints JSON and writes it to benchmarks/results/rouge.json. Short: each summary of DialogSum against
another. Long: two documents of 5,000 words drawn from the summaries. Both sides score the same
pairs in alternating rounds and must agree to 1e-12; the ratio compares the best round of each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from mixture import machine, spread
from rouge_score.rouge_scorer import RougeScorer

from brulee.evaluation import rouge

TYPES = ("rouge1", "rouge2", "rougeL")
SHORT_ROUNDS, LONG_ROUNDS = 5, 2
WORDS = 5_000
RESULT = Path(__file__).parent / "results" / "rouge.json"
Pair = tuple[str, str]


def main() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="DialogSum, as published")
    lines = parser.parse_args().data.read_text(encoding="utf-8").splitlines()
    summaries = [json.loads(line)["summary"] for line in lines]
    short = list(zip(summaries, summaries[1:] + summaries[:1], strict=True))
    words = " ".join(summaries).split()
    draw = random.Random(0)
    long = [(" ".join(draw.choices(words, k=WORDS)), " ".join(draw.choices(words, k=WORDS)))]
    result = {
        "what": "pairs scored per second with ROUGE-1, -2 and -L, stemmed, on one core",
        "short": compared(short, SHORT_ROUNDS),
        "long": compared(long, LONG_ROUNDS),
        "rouge_score": version("rouge_score"),
        "rapidfuzz": version("rapidfuzz"),
        **machine(),
    }
    text = json.dumps(result, indent=2)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


def compared(pairs: list[Pair], rounds: int) -> dict[str, object]:
    """The rates of both sides on the same pairs."""
    scorer = RougeScorer(list(TYPES), use_stemmer=True)
    check(pairs, scorer)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        ours.append(seconds(pairs, lambda p, r: rouge.score(p, [r], TYPES)))
        theirs.append(seconds(pairs, lambda p, r: scorer.score(r, p)))
    words = [len(text.split()) for pair in pairs for text in pair]
    return {
        "pairs": len(pairs),
        "words_per_text": round(sum(words) / len(words), 1),
        "ours_pairs_per_second": spread([len(pairs) / s for s in ours]),
        "rouge_score_pairs_per_second": spread([len(pairs) / s for s in theirs]),
        "times_as_fast": round(min(theirs) / min(ours), 1),
    }


def check(pairs: list[Pair], scorer: RougeScorer) -> None:
    for prediction, reference in pairs[:200]:
        ours = rouge.score(prediction, [reference], TYPES)
        theirs = scorer.score(reference, prediction)
        for name in TYPES:
            gap = max(abs(a - b) for a, b in zip(ours[name], theirs[name], strict=True))
            assert gap <= 1e-12, f"{name} differs by {gap}"


def seconds(pairs: list[Pair], score: Callable[[str, str], object]) -> float:
    started = time.perf_counter()
    for prediction, reference in pairs:
        score(prediction, reference)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
