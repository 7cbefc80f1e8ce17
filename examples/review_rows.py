"""Make reviews with a title, a body and stars of a table of sentences with their sentiment.

    python examples/review_rows.py snippets.tsv > reviews.jsonl

Each line of the table is `REVIEW_SENTENCE`, a mean human rating from -4 to 4, the sentence; so come
the Amazon reviews in the tests of vaderSentiment (MIT). The first sentence of a review is its
title, and its mean rating becomes one to five stars. What the product was is not in the table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from statistics import mean
from typing import Any

from brulee.data.sources import open_source

COLUMNS = {"id": "1", "rating": "2", "text": "3"}


def main() -> None:
    """Print a review per line."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rows = open_source(sys.argv[1], columns=COLUMNS)
    for review in reviews(rows):
        print(json.dumps(review, ensure_ascii=False))


def reviews(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A review per run of sentences whose id begins alike; those of one sentence are left out."""
    for number, group in groupby(rows, key=lambda row: row["id"].partition("_")[0]):
        first, *others = sentences = list(group)
        if others:
            yield {
                "id": number,
                "title": first["text"],
                "body": " ".join(sentence["text"] for sentence in others),
                "stars": round((mean(float(s["rating"]) for s in sentences) + 4) / 2) + 1,
                "product": "a product of the shop",
            }


if __name__ == "__main__":
    main()
