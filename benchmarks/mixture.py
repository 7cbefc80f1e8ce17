"""Time to open and to draw from a mixture of 2,000 tasks x 1,000,000 rows.

    python benchmarks/mixture.py

Prints JSON and writes it to benchmarks/results/mixture.json. Draws are at random indices below
10**9 and yield the task, epoch, row index and template; no row is read.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import numpy as np
import psutil
from scipy.stats import chisquare

from brulee.data.mixture import Mixture
from brulee.data.parts import Group, Part

TASKS, ROWS, TEMPLATES, DRAWS, REPEATS = 2_000, 1_000_000, 10, 200_000, 5
RESULT = Path(__file__).parent / "results" / "mixture.json"


def main() -> None:
    anywhere = Random(0)
    indices = [anywhere.randrange(10**9) for _ in range(DRAWS)]
    mixture, again = opened(), opened()
    counts = np.bincount([int(mixture.sample(i).part) for i in indices], minlength=TASKS)
    opening = [seconds(opened) for _ in range(REPEATS)]
    drawing = [seconds(lambda: draw(mixture, indices)) for _ in range(REPEATS)]
    result = {
        "what": f"{TASKS:,} tasks x {ROWS:,} rows, {DRAWS:,} draws at random indices",
        "open_seconds": spread([wall for wall, _ in opening]),
        "open_cpu_seconds": spread([cpu for _, cpu in opening]),
        "draws_per_second": spread([DRAWS / wall for wall, _ in drawing]),
        "draws_per_cpu_second": spread([DRAWS / cpu for _, cpu in drawing]),
        "peak_mib_while_opening": peak_mib(opened),
        "mib_kept_by_the_open_mixture": kept_mib(),
        "peak_mib_while_drawing": peak_mib(lambda: draw(mixture, indices)),
        "p_of_equal_shares": round(float(chisquare(counts).pvalue), 4),
        "another_opening_draws_the_same": all(
            mixture.sample(i) == again.sample(i) for i in indices[:20_000]
        ),
        **machine(),
    }
    text = json.dumps(result, indent=2)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


def opened() -> Mixture:
    parts = [Part(str(number), range(ROWS), TEMPLATES) for number in range(TASKS)]
    return Mixture(Group("mixture", parts), seed=0)


def draw(mixture: Mixture, indices: Sequence[int]) -> None:
    for i in indices:
        mixture.sample(i)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock seconds, and this process's CPU seconds, which other load does not change."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def spread(values: Sequence[float]) -> dict[str, float]:
    named = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: float(f"{value:.3g}") for name, value in named.items()} | {"runs": len(values)}


def peak_mib(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / 2**20, 2)


def kept_mib() -> float:
    tracemalloc.start()
    mixture = opened()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert mixture.sample(0) is not None
    return round(kept / 2**20, 2)


def machine() -> dict[str, object]:
    return {
        "cpu": processor(),
        "cpu_count": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


if __name__ == "__main__":
    main()
