"""The share of tokens that prefix sharing saves in a pass: the prefix common to all, or a tree.

    python benchmarks/beginnings.py --data dialogsum.dev.jsonl

Draws the documents of training steps as the recipes do and counts the tokens to compute: with each
document separate; with the prefix common to all documents of a pass computed once (`common_start`,
as training does); and with every prefix that any two documents share computed once, as in a prefix
tree. A token is shared only if no token with loss is predicted from it. Only counts, runs no model.
Prints a table and writes benchmarks/results/beginnings.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from brulee.data.batching import common_start
from brulee.data.encoding import Encoded
from brulee.pipeline.folder import open_run
from brulee.pipeline.origin import machine, versions
from brulee.pipeline.preparation import prepare
from brulee.pipeline.tuning import trainer_of
from brulee.recipe import load_recipe

HERE = Path(__file__).parent
RECIPES = ("dialogsum", "support-chat", "small-mixture", "replay", "review-rating")
SIZES, STEPS = (8, 32), 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="a JSONL with dialogue, summary and fname")
    data = parser.parse_args().data
    rows = [counted(name, size, data) for name in RECIPES for size in SIZES]
    print("| recipe | documents a step | tokens | common to all | any two |\n|---|--:|--:|--:|--:|")
    for row in rows:
        saved = f"{row['common']:.1%} | {row['tree']:.1%}"
        print(f"| {row['recipe']} | {row['documents']} | {row['tokens']} | {saved} |")
    result = {
        "what": "share of tokens that is not computed again, of the documents of training steps",
        "command": f"python benchmarks/beginnings.py --data {Path(data).name}",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "rows": rows,
    }
    target = HERE / "results" / "beginnings.json"
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def counted(name: str, size: int, data: str) -> dict[str, object]:
    """The tokens of some steps, and the share that each way of sharing saves."""
    own = [f"data.source={data}", "data.split.test=0"] if name == "dialogsum" else []
    settings = [*own, f"train.batch_size={size}", f"train.max_steps={STEPS}"]
    recipe = load_recipe(HERE.parent / "recipes" / f"{name}.yaml", settings)
    tokens = common = tree = 0
    with tempfile.TemporaryDirectory() as scratch:
        trainer = trainer_of(prepare(open_run(recipe, "train", Path(scratch) / "run", fresh=False)))
        for step in range(STEPS):
            documents = [trainer.document(i).encoded for i in trainer.course.of(step)]
            for part in trainer.passes.parts(documents):
                whole = sum(len(document.ids) for document in part)
                tokens += whole
                common += whole - common_start(part) * (len(part) - 1)
                tree += distinct(part)
    saved = {"common": round(1 - common / tokens, 4), "tree": round(1 - tree / tokens, 4)}
    return {"recipe": name, "documents": size, "steps": STEPS, "tokens": tokens, **saved}


def distinct(documents: Sequence[Encoded]) -> int:
    """The number of tokens that a prefix tree of the documents would compute."""
    nodes: dict[tuple[int, int], int] = {}  # (node, next token) -> child node
    own = 0
    for document in documents:
        node, shareable = 0, document.spans[0][0] - 1
        for token in document.ids[:shareable]:
            node = nodes.setdefault((node, token), len(nodes) + 1)
        own += len(document.ids) - shareable
    return len(nodes) + own


if __name__ == "__main__":
    main()
