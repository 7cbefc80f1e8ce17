"""Runs are compared in the scores that both have, on rows that are known to be the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from brulee.evaluation import metric
from brulee.evaluation.answers import Answer, read_lines, write_answers
from brulee.pipeline.between_runs import against_first

TASK = "rows/test"
YES_NO = ("yes", "no", "yes", "no")


def run(folder: Path, name: str, outputs: Sequence[str], rows: str, read: str | None) -> Any:
    """A run's results in as far as they are read, with its answers and manifest in the folder.

    `rows` begins each prompt, `read` is the digest of the rows.
    """
    (folder / "eval/tuned").mkdir(parents=True)
    by = metric(name)
    answers = [
        Answer(
            str(i), TASK, f"{rows} {i}", said, (right,), {}, _statistics(by, said, right), 1,
            place=f"{folder.name}.csv, line {i + 2}",
        )
        for i, (said, right) in enumerate(zip(outputs, YES_NO, strict=True))
    ]  # fmt: skip
    write_answers(folder / "eval/tuned/rows-test.jsonl", answers)
    if read:
        # A file whose name begins the other's, as of a folder, is not the one that a row is from.
        files = {folder.name: f"of {folder.name}", f"{folder.name}.csv": read}
        (folder / "manifest.json").write_text(json.dumps({"data": files}))
    return SimpleNamespace(comparisons=[SimpleNamespace(task=TASK, metric=key) for key in by.keys])


def _statistics(by: Any, said: str, right: str) -> dict[str, list[float]]:
    return {k: [float(v) for v in found] for k, found in by.statistics(said, (right,)).items()}


def test_a_metric_with_more_scores_in_one_run_is_compared_in_the_common_ones(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    found = [
        run(folder, name, YES_NO, "row", "1")
        for folder, name in zip(folders, ("rouge1", "rouge"), strict=True)
    ]
    for order in (slice(None), slice(None, None, -1)):
        ((pair,),) = against_first(folders[order], found[order])
        assert (pair.metric, pair.ties) == ("rouge1", 4)


@pytest.mark.parametrize(
    ("of", "read", "items"),
    [
        ("other", ("1", "2"), 0),  # another file with as many rows and the same labels
        ("other", (None, None), 0),
        ("row", ("1", "2"), 4),  # rows were added after these
        ("cut", ("1", "1"), 4),  # a prompt was cut to the room of a smaller model
    ],
)
def test_rows_of_other_files_are_not_taken_for_the_same(
    tmp_path: Path, of: str, read: tuple[str | None, str | None], items: int
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    first = run(folders[0], "exact_match", YES_NO, "row", read[0])
    second = run(folders[1], "exact_match", ("no",) * 4, of, read[1])
    (pairs,) = against_first(folders, [first, second])
    assert [pair.wins + pair.losses + pair.ties for pair in pairs] == [items] * bool(items)


def test_an_item_that_differs_under_one_phrasing_is_left_out_under_all(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    outputs = (YES_NO, ("yes", "no", "wrong", "wrong"))
    found = [
        run(folder, "exact_match", said, "row", None)
        for folder, said in zip(folders, outputs, strict=True)
    ]
    for folder, odd in zip(folders, ("a long prompt", "a long"), strict=True):
        file = folder / "eval/tuned/rows-test.jsonl"
        each = read_lines(file)
        again = [replace(one, phrasing="q") for one in each]
        again[0] = replace(again[0], prompt=odd)
        again[1] = replace(again[1], references=(odd,))
        write_answers(file, [*each, *again])
    ((pair,),) = against_first(folders, found)
    assert (pair.losses, pair.ties) == (2, 0)


def test_items_that_were_each_asked_in_one_of_several_phrasings_are_all_compared(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    outputs = (("no",) * 4, YES_NO)
    found = [
        run(folder, "exact_match", said, "row", None)
        for folder, said in zip(folders, outputs, strict=True)
    ]
    for folder in folders:
        file = folder / "eval/tuned/rows-test.jsonl"
        write_answers(
            file, [replace(one, phrasing=f"p{i % 2}") for i, one in enumerate(read_lines(file))]
        )
    ((pair,),) = against_first(folders, found)
    assert (pair.base, pair.tuned, pair.wins, pair.ties) == (0.5, 1.0, 2, 2)


def test_rows_of_a_file_without_a_digest_are_known_by_their_prompts_alone(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    found = [run(folder, "exact_match", YES_NO, "row", "1") for folder in folders]
    file = folders[1] / "eval/tuned/rows-test.jsonl"
    first, *others = read_lines(file)
    write_answers(file, [replace(first, prompt="another", place="c.csv, line 2"), *others])
    ((pair,),) = against_first(folders, found)
    assert pair.ties == len(others)
