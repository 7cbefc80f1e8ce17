"""What a model answers to test rows is the same, however often it was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from brulee.data.encoding import Encoder
from brulee.data.task import Item
from brulee.data.template import Rendered
from brulee.errors import BruleeError, InputError
from brulee.evaluation import metric
from brulee.evaluation.answering import answer_items
from brulee.evaluation.answers import (
    Answer,
    append,
    keep_just,
    known_answers,
    read_lines,
    worth,
    write_answers,
)
from brulee.evaluation.base import Array, Metric
from brulee.evaluation.unended import is_unended
from brulee.inference.sampling import Sampling
from brulee.inference.session import open_engine

if TYPE_CHECKING:
    from brulee.models.loading import Base

Make = Callable[..., "Base"]


@pytest.mark.parametrize(
    ("thoughts", "output", "unended"),
    [("Hm", "", True), ("Hm", "Yes", False), ("", "", False), ("", "Yes", False)],
)
def test_only_reasoning_without_an_answer_is_unended(
    thoughts: str, output: str, unended: bool
) -> None:
    answer = Answer("0", "t", "Q", output, ("Yes",), {}, {}, 4, thoughts=thoughts)
    assert is_unended(answer) == unended


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_resuming_draws_what_would_have_been_drawn(
    make_base: Make, tmp_path: Path, name: str
) -> None:
    base = make_base(name)
    encoder = Encoder(base.tokenizer, kind=base.kind)
    engine = open_engine(base, encoder)
    items = [
        Item(str(i), Rendered("The customer asked.", "Yes.", None), ("Yes.",)) for i in range(8)
    ]

    def answers(file: str) -> list[Answer]:
        return answer_items(
            engine,
            encoder,
            items,
            [metric("exact_match")],
            Sampling(12, temperature=1.0),
            task="t/test",
            file=tmp_path / file,
            title="",
        )

    whole = answers("whole.jsonl")
    assert len({one.output for one in whole}) > 4
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "resumed.jsonl").write_text("".join(lines[:3]))
    assert answers("resumed.jsonl") == whole


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "1"',
        '{"id": "1", "task": "t"}',
        "[]",
        '{"references": ["a"], "scores": {"f1": NaN}}',
    ],
    ids=["torn", "keys", "list", "nan"],
)
def test_a_line_that_is_no_answer_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "t.jsonl"
    with file.open("w") as out:
        append(out, Answer("0", "t", "Q", "A", ("A",), {}, {}, 1))
        out.write(line + "\n")
    with pytest.raises(InputError, match=r"t\.jsonl, line 2: not an answer"):
        read_lines(file)


def test_a_metric_without_a_number_is_named() -> None:
    class Broken(type(metric("exact_match"))):  # type: ignore[misc]
        def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
            return {"exact_match": np.array([np.inf])}

    broken: Metric = Broken()
    item = Item("17", Rendered("Q", "A", None), ("A",))
    with pytest.raises(BruleeError, match="'exact_match' gave inf for item '17'"):
        worth(item, [(broken, "A")])


def test_replies_that_are_not_scored_now_are_kept_aside(tmp_path: Path) -> None:
    file = tmp_path / "eval" / "t.jsonl"
    one, other = (
        Answer(key, "t", "Q", "A", ("A",), {}, {}, 1, request=f"digest of {key}") for key in "ab"
    )
    write_answers(file, [one, other])
    for scored in ([one], [other], [], [one, other]):
        keep_just(file, scored)
        assert read_lines(file) == scored
        aside = [answer for answer in (one, other) if answer not in scored]
        assert read_lines(file.with_suffix(".spare")) == aside
        assert (file.exists(), file.with_suffix(".spare").exists()) == (bool(scored), bool(aside))
        assert sorted(answer.id for answer in known_answers(file)) == ["a", "b"]
