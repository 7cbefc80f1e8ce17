"""What a model answers to test rows is the same, however often it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from brulee.data.encoding import Encoder
from brulee.data.task import Item
from brulee.data.template import Rendered
from brulee.evaluation import metric
from brulee.evaluation.answering import answer_items
from brulee.evaluation.answers import Answer
from brulee.inference.sampling import Sampling
from brulee.inference.session import open_engine

if TYPE_CHECKING:
    from brulee.models.loading import Base

Make = Callable[..., "Base"]


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
