"""Stratified splits: every label has its share in every split, and the sizes are exact."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from brulee.data.sources import Rows, open_source
from brulee.data.splits import Splits, split_rows
from brulee.errors import InputError
from brulee.recipe import SplitSpec


def spec(**values: Any) -> SplitSpec:
    return SplitSpec.model_validate({"stratify": "label", **values})


def labelled(counts: dict[Any, int]) -> Rows:
    labels = [label for label, count in counts.items() for _ in range(count)]
    random.Random(0).shuffle(labels)
    return Rows.of([{"text": f"text {i}", "label": label} for i, label in enumerate(labels)])


def per_label(rows: Rows, splits: Splits) -> dict[str, Counter[Any]]:
    labels = rows.column("label")
    return {
        name: Counter(labels[i] for i in getattr(splits, name))
        for name in ("train", "validation", "test")
    }


def test_plain_text_labels_are_stratified_without_any_class_type() -> None:
    rows = labelled({"good": 160, "bad": 30, "mixed": 10})
    found = per_label(rows, split_rows(rows, spec(test=0.2, validation=0.1), ["text"]))
    assert found == {
        "train": {"good": 112, "bad": 21, "mixed": 7},
        "validation": {"good": 16, "bad": 3, "mixed": 1},
        "test": {"good": 32, "bad": 6, "mixed": 2},
    }


@pytest.mark.parametrize("labels", [[1, 0], [True, False], [None, "x"], [1.5, 2.5]])
def test_labels_of_any_type_are_stratified(labels: list[Any]) -> None:
    rows = labelled(dict(zip(labels, (45, 15), strict=True)))
    test = per_label(rows, split_rows(rows, spec(test=0.2), ["text"]))["test"]
    assert [test[label] for label in labels] == [9, 3]


def test_many_small_labels_share_an_exact_total() -> None:
    rows = labelled({f"intent {i}": 10 for i in range(77)})
    found = per_label(rows, split_rows(rows, spec(test=0.15, validation=0.1), ["text"]))
    assert {name: count.total() for name, count in found.items()} == {
        "train": 577,
        "validation": 77,
        "test": 116,
    }
    assert set(found["validation"].values()) == {1}
    assert set(found["test"].values()) == {1, 2}


def test_stratified_sizes_are_exact_for_large_data_too() -> None:
    rows = labelled({"a": 4_000, "b": 1_000})
    found = per_label(rows, split_rows(rows, spec(test=0.1), ["text"]))
    assert found["test"] == {"a": 400, "b": 100}


def test_without_stratification_a_rare_label_may_be_missing() -> None:
    rows = labelled({"good": 190, "rare": 10})
    salts = [f"{i}" for i in range(20)]

    def rare(salt: str, stratify: str | None) -> int:
        splits = split_rows(rows, spec(test=0.1, salt=salt, stratify=stratify), ["text"])
        return per_label(rows, splits)["test"]["rare"]

    assert len({rare(salt, None) for salt in salts}) > 1
    assert {rare(salt, "label") for salt in salts} == {1}


def test_whole_groups_of_mixed_labels_come_as_near_as_they_can() -> None:
    draw = random.Random(2)
    records = []
    for user in range(80):
        for _ in range(draw.randrange(1, 6)):
            label = draw.choices("abc", (6, 3, 1))[0]
            records.append({"text": f"text {len(records)}", "user": user, "label": label})
    rows = Rows.of(records)
    splits = split_rows(rows, spec(test=0.2, validation=0.1, group="user"), ["text"])
    total = Counter(rows.column("label"))
    for name, share in (("test", 0.2), ("validation", 0.1)):
        found = per_label(rows, splits)[name]
        assert found.total() == round(share * len(rows))
        assert all(abs(found[label] - share * total[label]) <= 1 for label in "abc")
    users = [
        {records[i]["user"] for i in p} for p in (splits.train, splits.validation, splits.test)
    ]
    assert sum(map(len, users)) == 80


@pytest.mark.parametrize("stratify", ["label", None])
@pytest.mark.parametrize("sizes", [[3, 1, 1, 1, 4], [2, 3, 3, 2], [5, 5, 2, 3, 5]])
def test_sizes_are_exact_where_some_groups_add_up(stratify: str | None, sizes: list[int]) -> None:
    half = sum(sizes) // 2
    for salt in map(str, range(30)):
        users = [user for user, size in enumerate(sizes) for _ in range(size)]
        rows = Rows.of([{"text": f"t{i}", "user": u, "label": "x"} for i, u in enumerate(users)])
        asked = spec(test=0.5, group="user", stratify=stratify, salt=salt)
        assert len(split_rows(rows, asked, ["text"]).test) == half


def test_the_same_recipe_gives_the_same_split_and_no_global_seed_is_read() -> None:
    rows = labelled({"a": 60, "b": 40})
    random.seed(1)
    first = split_rows(rows, spec(test=0.2), ["text"])
    random.seed(2)
    state = random.getstate()
    assert split_rows(rows, spec(test=0.2), ["text"]) == first
    assert random.getstate() == state
    assert split_rows(rows, spec(test=0.2, salt="2"), ["text"]).test != first.test


def test_an_unknown_label_column_is_named_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"split\.stratify: rows: unknown column 'lable'; did you mean 'label'"
    ):
        split_rows(labelled({"a": 9, "b": 9}), spec(stratify="lable"), ["text"])


def test_a_column_that_does_not_repeat_is_no_label() -> None:
    with pytest.raises(InputError, match=r"split\.stratify names the column 'text'.* 18 different"):
        split_rows(labelled({"a": 9, "b": 9}), spec(stratify="text"), ["text"])


def test_only_a_missing_split_is_stratified_where_others_are_published(tmp_path: Path) -> None:
    for name, count in (("train", 60), ("test", 12)):
        lines = [f'{{"text": "{name} {i}", "label": {i % 3 // 2}}}' for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    rows = open_source(str(tmp_path))
    splits = split_rows(rows, spec(test=0.5, validation=0.1), ["text"])
    assert splits.test == tuple(range(60, 72))
    assert per_label(rows, splits)["validation"] == {0: 4, 1: 2}
    assert splits.manifest(rows)["stratify"] == "label"
