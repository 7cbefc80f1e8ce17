"""`brulee data split`: show how a recipe's rows are split, and whether the splits leak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from brulee import progress
from brulee.cli import options
from brulee.cli.output import print_json, print_table, print_text

if TYPE_CHECKING:
    from brulee.data.split_summary import SplitSummary

_LABELS_SHOWN: Final = 20


def split(
    recipe: options.RecipeFile,
    overrides: options.Overrides = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show how a recipe's rows are split; writes nothing.

    For each task: rows, groups, duplicates, near-duplicates, labels, and rows that leak from one
    split into another.
    """
    from brulee.recipe import load_recipe

    spec = load_recipe(recipe, overrides or ())
    from brulee.data.corpus import open_corpus
    from brulee.data.split_summary import Targets, summarise

    progress.enable(not quiet)
    seen: dict[str, Targets] = {}
    tasks = open_corpus(
        spec, False, lambda path, templates: seen.setdefault(path, Targets(templates))
    ).tasks
    found: dict[str, SplitSummary] = {}
    plain: dict[str, Any] = {}
    # With one task, the splitting of its rows already shows a progress bar.
    watched = (
        progress.bar("Comparing splits", len(tasks), "tasks")
        if len(tasks) > 1
        else progress.silent()
    )
    with watched as bar:
        for path, task in tasks.items():
            found[path] = summarise(task, seen.pop(path))
            plain |= {path: found[path].to_dict()} if as_json else {}
            bar.advance()
    if as_json:
        print_json(plain)
        return
    for path, summary in found.items():
        _print(path, summary)


def _print(path: str, summary: SplitSummary) -> None:
    task = summary.task
    print_text(f"{path}: {task.count_read:,} rows of {task.rows.name}, split {summary.decided}")
    names = [name for name, count in summary.counts.items() if count]
    print_table(
        ["split", "rows", "groups"],
        [(name, f"{summary.counts[name]:,}", f"{summary.groups[name]:,}") for name in names],
    )
    repeats = task.splits.duplicates
    out = [("duplicate" if repeats == 1 else "duplicates", repeats), *task.dropped.items()]
    said = ", ".join(f"{count:,} {reason}" for reason, count in out if count)
    print_text(f"Left out: {said or 'none'}.")
    print_text(
        f"Near-duplicates grouped with an earlier row: {task.splits.near_duplicates:,}; "
        f"the largest group has {summary.largest_group:,} row{'s'[: summary.largest_group > 1]}."
    )
    if summary.labels:
        _print_labels(names, summary.labels)
    for severity, sentence in summary.sentences:
        print_text(sentence if severity == "none" else f"{severity}: {sentence}")
    print()


def _print_labels(names: list[str], labels: dict[str, dict[str, int]]) -> None:
    totals = {name: sum(labels[name].values()) for name in names}
    every = list(labels[names[0]])
    print_table(
        ["label", *names],
        [
            (label, *(f"{labels[name][label] / totals[name]:.1%}" for name in names))
            for label in every[:_LABELS_SHOWN]
        ],
    )
    if len(every) > _LABELS_SHOWN:
        print(f"... {len(every) - _LABELS_SHOWN} more labels; --json has them all.")
