"""What a run says of its rows before it begins."""

from __future__ import annotations

import pytest

from brulee.pipeline.record import told

NONE = {"empty completion": 0, "template not applicable": 0, "too long": 0, "source text cut": 0}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"source text cut": 15}, "of 1,500 rows, 15 have their source text cut."),
        ({"source text cut": 1}, "of 1,500 rows, 1 has its source text cut."),
        ({"empty completion": 1}, "of 1,500 rows, 1 is left out (empty completion)."),
        (
            {"malformed chat": 1017, "too long": 3, "source text cut": 15},
            "of 1,500 rows, 1,020 are left out (too long: 3, malformed chat: 1,017) and 15 have "
            "their source text cut.",
        ),
    ],
)
def test_rows_that_are_left_out_or_cut_are_told_with_reasons(
    rows: dict[str, int], sentence: str
) -> None:
    assert told(1500, {**NONE, **rows}) == sentence
