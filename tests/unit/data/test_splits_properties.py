"""Whatever the rows and the spec, every row is on one side and every group is whole."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from brulee.data.sources import Rows
from brulee.data.splits import split_rows
from brulee.errors import InputError
from brulee.recipe import SplitSpec

PHRASES = [
    "the kettle pours a thin stream and holds its heat for half an hour",
    "the kettle pours a thin stream and holds its heat for half an hour now",
    "yes",
    "Yes",
    "",
    "我昨天在书店买了一本书",
]
ROW = st.fixed_dictionaries(
    {
        "text": st.one_of(
            st.sampled_from(PHRASES),
            # Sources refuse lone surrogates and NUL.
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
        ),
        "user": st.integers(0, 9),
        "label": st.sampled_from(["a", "b", None]),
    }
)
SPEC = st.fixed_dictionaries(
    {
        "test": st.floats(0, 0.6),
        "validation": st.floats(0, 0.3),
        "group": st.sampled_from([None, "user", ["user", "label"]]),
        "stratify": st.sampled_from([None, "label"]),
        "near_duplicates": st.booleans(),
        "salt": st.text(max_size=3),
    }
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(ROW, min_size=6, max_size=40), SPEC)
def test_rows_are_on_one_side_and_groups_are_whole(
    records: list[dict[str, Any]], asked: dict[str, Any]
) -> None:
    rows = Rows.of(records)
    try:
        splits = split_rows(rows, SplitSpec.model_validate(asked), ["text"])
    except InputError as error:
        if "leaves no rows to train on" not in str(error):
            raise
        return
    parts = [splits.train, splits.validation, splits.test]
    used = sorted(row for part in parts for row in part)
    assert len(used) == len(set(used)) == len(records) - splits.duplicates
    held = [{splits.groups[row] for row in part} for part in parts]
    assert sum(map(len, held)) == len(set().union(*held))
    assert len(splits.groups) == len(records)
    for column in [asked["group"]] if isinstance(asked["group"], str) else []:
        sides = [{records[row][column] for row in part} for part in parts]
        assert sum(map(len, sides)) == len(set().union(*sides))
