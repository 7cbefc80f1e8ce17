"""Is one set of texts really better than another? Scores, intervals and a paired test, no model.

    python examples/compare_texts.py before.txt after.txt references.txt

Line i of each file belongs to line i of the others.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np

from brulee.evaluation import metric
from brulee.evaluation.stats import compare


def main() -> None:
    """Print ROUGE before and after, and what can be said about the difference."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    before, after, references = (Path(name).read_text().splitlines() for name in sys.argv[1:4])
    rouge = metric("rouge")
    statistics = [
        [rouge.statistics(text, [wanted]) for text, wanted in zip(texts, references, strict=True)]
        for texts in (before, after)
    ]
    for key in rouge.keys:
        base_NS, tuned_NS = (np.array([item[key] for item in side]) for side in statistics)
        found = compare(base_NS, tuned_NS, partial(rouge.reduce, key))
        print(
            f"{key}: {found.base:.3f} -> {found.tuned:.3f}, difference {found.difference:+.3f} "
            f"(95% interval {found.low:+.3f} to {found.high:+.3f}, p = {found.p:.4f}); "
            f"{found.wins} better, {found.losses} worse, {found.ties} equal"
        )


if __name__ == "__main__":
    main()
