"""What tuning on one task forgets, and how much of it replaying general instructions keeps.

    python benchmarks/forgetting.py --runs runs/forgetting
    python benchmarks/forgetting.py --data dialogsum/dev.jsonl --mmlu mmlu --runs runs/forgetting

Runs recipes/replay-single.yaml and recipes/replay.yaml (stopped runs can be continued), prints
every guard before tuning and after each recipe with paired 95% intervals, and writes the numbers to
the file named by --out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from brulee.evaluation.answers import Answer, read_lines, statistics_array
from brulee.evaluation.guards import Guard, open_guards
from brulee.evaluation.stats import Comparison, compare
from brulee.pipeline import run
from brulee.pipeline.origin import machine, versions
from brulee.recipe import load_recipe
from brulee.reporting import results

RECIPES = Path(__file__).parents[1] / "recipes"
CASES = {"single task": "replay-single", "with replay": "replay"}
MMLU = ("marketing", "miscellaneous", "sociology", "high_school_psychology")


def main() -> None:
    arguments = _arguments()
    settings = list(arguments.set)
    guards = ["common-knowledge", "other-instructions", "plain-prose"]
    if arguments.data:
        settings.append(f"data.tasks.0.source={arguments.data}")
    if arguments.mmlu:
        guards += [f"mmlu/{subject}" for subject in MMLU]
        settings += [
            f"evaluate.data.mmlu={arguments.mmlu}",
            f"evaluate.guards={json.dumps(guards)}",
        ]
    folders = {}
    for case, name in CASES.items():
        recipe = load_recipe(RECIPES / f"{name}.yaml", settings)
        folders[case] = run(recipe, folder=arguments.runs / name)
    data = {"mmlu": arguments.mmlu} if arguments.mmlu else {}
    rows = [row(n, guard, folders) for n, guard in open_guards(guards, data, None).items()]
    show(rows, folders)
    if arguments.out:
        found = {"machine": machine(), "versions": versions(), "rows": rows}
        found["source"] = Path(arguments.data).name if arguments.data else "bundled/support-chats"
        found["gains"] = {case: gain(folder) for case, folder in folders.items()}
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def row(name: str, guard: Guard, folders: dict[str, Path]) -> dict[str, Any]:
    """One guard: its base score, its change after each case, and the effect of replay."""
    reduce = partial(guard.task.reduce, guard.metric)

    def pair(before: Sequence[Answer], after: Sequence[Answer]) -> Comparison:
        left, right = (statistics_array(side, guard.metric) for side in (before, after))
        return compare(left, right, reduce)

    answers = {case: _answers(folder, "tuned", name) for case, folder in folders.items()}
    base = _answers(next(iter(folders.values())), "base", name)
    changes = {case: pair(base, found)._asdict() for case, found in answers.items()}
    saved = pair(*answers.values())
    return {
        "guard": name,
        "metric": guard.metric,
        "higher_is_better": guard.task.higher_is_better(guard.metric),
        "n": len(base),
        "changes": changes,
        "replay against single": saved._asdict(),
    }


def gain(folder: Path) -> list[dict[str, Any]]:
    """A run's gains on its own task."""
    return [pair.model_dump() for pair in results.read(folder).comparisons]


def show(rows: Sequence[dict[str, Any]], folders: dict[str, Path]) -> None:
    print("| guard | items | before | " + " | ".join(CASES) + " | replay against single |")
    print("|---|---|---|---|---|---|")
    for one in rows:
        cells = [_change(change) for change in one["changes"].values()]
        before = next(iter(one["changes"].values()))["base"]
        saved = _change(one["replay against single"], value=False)
        arrow = "higher" if one["higher_is_better"] else "lower"
        name = f"{one['guard']}, {one['metric'].replace('_', ' ')} ({arrow} is better)"
        print(f"| {name} | {one['n']} | {before:.3f} | {' | '.join(cells)} | {saved} |")
    for case, folder in folders.items():
        print(f"\n{case}: {results.read(folder).verdict}")


def _change(found: dict[str, Any], value: bool = True) -> str:
    change = f"{found['difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
    return f"{found['tuned']:.3f}, {change}" if value else f"{change}, p = {found['p']:.4f}"


def _answers(folder: Path, who: str, guard: str) -> list[Answer]:
    return read_lines(folder / "eval" / who / f"{guard.replace('/', '-')}.jsonl")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="rows with dialogue and summary")
    parser.add_argument("--mmlu", type=Path, help="MMLU's files: its subjects become guards too")
    parser.add_argument("--runs", type=Path, default=Path("runs/forgetting"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="write the numbers here")
    parser.add_argument("--tag", help="any word, to tell this process from others")
    return parser.parse_args()


if __name__ == "__main__":
    main()
