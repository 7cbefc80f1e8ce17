"""Tune a model on rows that are in memory, and ask the tuned model.

    python examples/tune_on_rows.py bundled rows.json

The file is a JSON array of objects with a question and an answer each; rows come from wherever
Python gets them. In a notebook, `run` as the last line of a cell shows the table of scores.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import brulee


def main() -> None:
    """Run on the rows of a file, print what was found, answer a question of the test rows."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    model, file = sys.argv[1:]
    rows = [row for row in json.loads(Path(file).read_text()) if row["answer"].strip()]
    run = brulee.run(
        {
            "name": "questions",
            "model": model,
            "data": {"source": rows, "templates": {"jinja": "{{question}} ||| {{answer}}"}},
            "train": {"max_steps": 20, "batch_size": 4, "max_length": 256},
            "evaluate": {"metrics": ["rouge"], "limit": 20},
        },
        show=True,
    )
    print(run)
    question = run.answers()[0]["prompt"]
    session = brulee.load(run)
    (answer,) = session.complete([question], max_new_tokens=48)
    print(f"{question}\n-> {answer}")
    print("in PEFT's format:", run.weights)


if __name__ == "__main__":
    main()
