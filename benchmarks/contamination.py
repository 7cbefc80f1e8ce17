"""Time to index 100,000 training rows and to look up 1,000 test rows in them.

    python benchmarks/contamination.py

Prints JSON and writes it to benchmarks/results/contamination.json. Rows have 60 words each, drawn
from 50,000 by Zipf's law; every tenth test row quotes 20 words of a training row.
"""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from brulee.data.contamination import Index
from brulee.data.row_texts import RowTexts, row_texts
from brulee.data.sources import Rows

TRAIN, TEST, WORDS, VOCABULARY, QUOTED = 100_000, 1_000, 60, 50_000, 20
RESULT = Path(__file__).parent / "results" / "contamination.json"


def main() -> None:
    chance = random.Random(0)
    train = made(TRAIN, chance)
    test = made(TEST, chance)
    for i in range(0, TEST, 10):
        words = chance.choice(train)["text"].split()[:QUOTED]
        test[i]["text"] = " ".join([*words, test[i]["text"]])
    trained, tested = texts("train", train), texts("test", test)
    del train, test
    before = peak_mib()
    index, opening = timed(lambda: Index([trained]))
    found, searching = timed(lambda: index.search(tested))
    result = {
        "what": f"{TRAIN:,} training rows x {WORDS} words, {TEST:,} test rows",
        "index": opening,
        "search": searching,
        "peak_mib_over_the_rows_themselves": round(peak_mib() - before, 1),
        "dirty": sum(match.dirty for match in found),
        "quoted": TEST // 10,
        **machine(),
    }
    text = json.dumps(result, indent=2)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


def made(count: int, chance: random.Random) -> list[dict[str, str]]:
    names = [f"w{i}" for i in range(VOCABULARY)]
    weights = list(accumulate(1 / (i + 3) for i in range(VOCABULARY)))
    return [
        {"text": " ".join(chance.choices(names, cum_weights=weights, k=WORDS))}
        for _ in range(count)
    ]


def texts(name: str, rows: list[dict[str, str]]) -> RowTexts:
    return row_texts(name, Rows.of(rows, name))


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """The result of `work`, with its wall-clock seconds and this process's CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    given = work()
    spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return given, {name: round(value, 2) for name, value in spent.items()}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> dict[str, object]:
    return {
        "cpu_count": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    main()
