"""Splits: nothing leaks, sizes hold, and a row's side does not depend on the others."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from brulee.data.assignment import _closest
from brulee.data.sources import Rows, open_source
from brulee.data.splits import Splits, split_rows
from brulee.errors import InputError
from brulee.recipe import SplitSpec


def spec(**values: Any) -> SplitSpec:
    return SplitSpec.model_validate(values)


def numbered(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"text": f"text number {i}", "label": i % 3, **more} for i in range(count)]


def sides(rows: Rows, splits: Splits) -> dict[str, str]:
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {rows[i]["text"]: name for name, part in parts.items() for i in part}


def test_small_data_gets_exact_sizes_and_every_row_once() -> None:
    splits = split_rows(Rows.of(numbered(500)), spec(test=0.1, validation=0.05), ["text"])
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (425, 25, 50)
    assert sorted(splits.train + splits.validation + splits.test) == list(range(500))


def test_no_test_share_gives_no_test_rows() -> None:
    splits = split_rows(Rows.of(numbered(40)), spec(test=0.0), ["text"])
    assert (len(splits.train), splits.validation, splits.test) == (40, (), ())


def test_a_row_keeps_its_side_when_the_file_is_reordered() -> None:
    records = numbered(300)
    shuffled = random.Random(0).sample(records, len(records))
    first, second = Rows.of(records), Rows.of(shuffled)
    splits = [split_rows(rows, spec(test=0.2), ["text"]) for rows in (first, second)]
    assert sides(first, splits[0]) == sides(second, splits[1])
    digests = [s.manifest(r)["ids_sha256"] for s, r in zip(splits, (first, second), strict=True)]
    assert digests[0] == digests[1]


def test_large_data_keeps_sides_when_rows_are_appended_or_dropped() -> None:
    records = numbered(5_000)
    whole, part = Rows.of(records), Rows.of(records[1_000:3_500])
    asked = spec(test=0.1, validation=0.1)
    all_sides = sides(whole, split_rows(whole, asked, ["text"]))
    part_sides = sides(part, split_rows(part, asked, ["text"]))
    assert part_sides.items() <= all_sides.items()
    for name, share in (("test", 0.1), ("validation", 0.1), ("train", 0.8)):
        assert abs(sum(side == name for side in all_sides.values()) - 5_000 * share) < 100


def test_the_side_of_a_group_is_the_documented_hash() -> None:
    rows = Rows.of(numbered(2_500))
    splits = split_rows(rows, spec(test=0.3, salt="s"), ["text"])
    for name, side in sides(rows, splits).items():
        value = int(hashlib.sha256(f"s|{name}".encode()).hexdigest(), 16) / 2**256
        assert (side == "test") == (value < 0.3)


def test_another_salt_gives_another_split() -> None:
    rows = Rows.of(numbered(100))
    assert split_rows(rows, spec(salt="a"), ["text"]) != split_rows(rows, spec(salt="b"), ["text"])
    one, other = (split_rows(rows, spec(salt=s), ["text"]).test for s in "ab")
    assert one != other


@pytest.mark.parametrize("groups", [30, 2_500])
def test_rows_of_one_group_stay_together(groups: int) -> None:
    records = [{"text": f"t{i}", "user": i % groups} for i in range(groups * 3)]
    rows = Rows.of(records)
    splits = split_rows(rows, spec(test=0.2, validation=0.2, group="user"), ["text"])
    users = [{rows[i]["user"] for i in p} for p in (splits.train, splits.validation, splits.test)]
    assert all(users)
    assert sum(map(len, users)) == groups
    assert splits.manifest(rows)["groups_shared"] == {
        "train, validation": 0,
        "train, test": 0,
        "validation, test": 0,
    }


def test_texts_that_read_the_same_are_one_group() -> None:
    records = [
        {"text": t, "y": i} for i, t in enumerate(["The  cat", "the cat\n", "ＴＨＥ cat", "dog"])
    ]
    splits = split_rows(Rows.of(records), spec(test=0.25), ["text"])
    assert splits.test == (3,)


def test_exact_duplicates_are_left_out_and_counted() -> None:
    records = [{"id": i, "text": f"t{i % 10}", "y": i % 10} for i in range(30)]
    records.append({"id": 30, "text": "t0", "y": 99})
    splits = split_rows(Rows.of(records), spec(test=0.0), ["text"])
    assert splits.train == (*range(10), 30)
    assert splits.duplicates == 20
    narrow = split_rows(Rows.of(records), spec(test=0.0), ["text"], ["text"])
    assert narrow.train == tuple(range(10))


def test_prompts_without_a_column_of_their_own_group_rows_by_all_columns_but_ids() -> None:
    rows = [{"id": str(i), "text": f"text number {i}"} for i in range(40)]
    assert split_rows(Rows.of(rows), spec(test=0.2), []).columns == ("text",)
    ids = Rows.of([{"id": str(i)} for i in range(40)])
    assert split_rows(ids, spec(test=0.2), []).columns == ("id",)


def test_published_splits_are_kept_and_only_missing_ones_cut(tmp_path: Path) -> None:
    def write(name: str, first: int, count: int) -> None:
        lines = [json.dumps({"text": f"t{i}"}) for i in range(first, first + count)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))

    write("train", 0, 80)
    write("test", 79, 20)
    rows = open_source(str(tmp_path))
    splits = split_rows(rows, spec(test=0.5, validation=0.25), ["text"])
    assert splits.test == tuple(range(80, 100))
    assert len(splits.validation) == 20
    assert len(splits.train) == 60
    manifest = splits.manifest(rows)
    assert manifest["published"] == ["test", "train"]
    shared = manifest["groups_shared"]
    assert shared["train, test"] + shared["validation, test"] == 1


def test_a_published_source_without_train_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"text": "a"}')
    with pytest.raises(InputError, match="publishes test but no train"):
        split_rows(open_source(str(tmp_path)), spec(), ["text"])


def test_a_split_that_leaves_nothing_to_train_on_is_refused() -> None:
    one_group = Rows.of([{"text": "same", "y": i} for i in range(9)])
    said = r"no rows to train on; 9 rows in 1 group by text.*; a group is never divided.*test: 0"
    with pytest.raises(InputError, match=said):
        split_rows(one_group, spec(test=0.2), ["text"])
    with pytest.raises(InputError, match="leave nothing to train on"):
        split_rows(one_group, spec(test=0.6, validation=0.4), ["text"])


def test_few_rows_still_give_a_test_row() -> None:
    assert len(split_rows(Rows.of(numbered(3)), spec(test=0.1), ["text"]).test) == 1


def test_missing_columns_are_named() -> None:
    rows = Rows.of(numbered(3))
    with pytest.raises(InputError, match="unknown column 'texts'; did you mean 'text'"):
        split_rows(rows, spec(), ["texts"])
    with pytest.raises(InputError, match=r"^split\.group: .*unknown column 'user'"):
        split_rows(rows, spec(group=["text", "user"]), ["text"])


def test_the_manifest_records_counts_labels_and_digests() -> None:
    rows = Rows.of(numbered(30, language="en"))  # which tells no row from another
    manifest = split_rows(rows, spec(test=0.2, salt="s"), ["text"]).manifest(rows)
    assert manifest["salt"] == "s"
    assert manifest["counts"] == {"train": 24, "validation": 0, "test": 6}
    assert list(manifest["labels"]) == ["label"]
    assert sum(manifest["labels"]["label"]["train"].values()) == 24
    assert len({*manifest["ids_sha256"].values()}) == 3
    assert json.loads(json.dumps(manifest)) == manifest


def test_a_column_that_repeats_long_texts_is_not_counted_as_labels() -> None:
    asked = ["Sum up what the two people said.", "Translate the text below into plain English."]
    rows = Rows.of(
        [
            {"text": f"text {i}", "task": f"{asked[i % 2]} Write at most {i % 3 + 2} lines.",
             "url": f"{i % 2}" * 200, "answer": ["Yes, it is", "No", ""][i % 3]}
            for i in range(30)
        ]
    )  # fmt: skip
    manifest = split_rows(rows, spec(test=0.2), ["text"]).manifest(rows)
    assert set(manifest["labels"]) == {"answer"}
    assert set(manifest["labels"]["answer"]["train"]) == {"", "No", "Yes, it is"}
    assert manifest["repeated_texts"] == {"task": 6, "url": 2}


@pytest.mark.parametrize("count", [1, 37])
@pytest.mark.parametrize("many", [300, 2_500])
@pytest.mark.parametrize("validation", [0.1, 25])
def test_a_number_of_rows_is_exact_whatever_else_is_held_out(
    count: int, many: int, validation: float
) -> None:
    splits = split_rows(Rows.of(numbered(many)), spec(test=count, validation=validation), ["text"])
    assert len(splits.test) == count
    if many == 300 or validation == 25:
        assert len(splits.validation) == (25 if validation == 25 else 30)
    assert sorted(splits.train + splits.validation + splits.test) == list(range(many))


@pytest.mark.parametrize("many", [300, 2_500])
def test_an_added_row_takes_the_place_of_one_other_at_most(many: int) -> None:
    asked = spec(test=100, near_duplicates=False)
    before = Rows.of(numbered(many))
    test = {t for t, side in sides(before, split_rows(before, asked, ["text"])).items()
            if side == "test"}  # fmt: skip
    for added in (1, 20):
        after = Rows.of(numbered(many + added))
        now = {t for t, side in sides(after, split_rows(after, asked, ["text"])).items()
               if side == "test"}  # fmt: skip
        new = {f"text number {i}" for i in range(many, many + added)}
        assert len(now) == 100
        assert len(test - now) == len(now & new) == len(now - test)


def test_a_share_does_not_move_where_the_other_split_is_a_number() -> None:
    rows = Rows.of(numbered(2_500))
    alone = split_rows(rows, spec(test=0.0, validation=0.1), ["text"]).validation
    assert split_rows(rows, spec(test=50, validation=0.1), ["text"]).validation == alone


def test_groups_stay_whole_where_a_number_of_rows_is_asked_for() -> None:
    rows = Rows.of([{"text": f"text number {i}", "who": i // 3} for i in range(6_300)])
    splits = split_rows(rows, spec(test=100, group="who"), ["text"])
    assert len(splits.test) in (99, 102)
    assert len({rows[i]["who"] for i in splits.test}) * 3 == len(splits.test)


def test_large_groups_are_held_out_where_no_smaller_are_there() -> None:
    rows = Rows.of([{"text": f"text number {i}", "who": i // 3} for i in range(6_300)])
    assert len(split_rows(rows, spec(test=1, group="who"), ["text"]).test) == 3


def test_a_number_of_rows_is_stratified() -> None:
    splits = split_rows(Rows.of(numbered(3_000)), spec(test=100, stratify="label"), ["text"])
    assert sorted(i % 3 for i in splits.test).count(0) in (33, 34)
    assert len(splits.test) == 100


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"test": 40}, "rows: split: test 40 leave nothing to train on; there are 40 different "
         "rows to hold out from."),
        ({"test": 30, "validation": 20}, "rows: split: test 30 + validation 20 leave nothing"),
    ],
)  # fmt: skip
def test_more_rows_than_there_are_is_refused(asked: dict[str, int], said: str) -> None:
    with pytest.raises(InputError) as caught:
        split_rows(Rows.of(numbered(40) + numbered(5)), spec(**asked), ["text"])
    assert str(caught.value).startswith(said)


def test_the_digest_of_a_splits_rows_is_that_of_their_sorted_digests() -> None:
    """Written down once: runs of different versions are compared by it."""
    rows = numbered(40)
    splits = split_rows(Rows.of(rows), spec(test=0.25), ["text"])
    texts = [json.dumps(rows[i], sort_keys=True, ensure_ascii=False) for i in splits.test]
    ids = sorted(hashlib.sha256(text.encode()).hexdigest() for text in texts)
    found = splits.manifest(Rows.of(rows))["ids_sha256"]["test"]
    assert found == hashlib.sha256("\n".join(ids).encode()).hexdigest()


@pytest.mark.parametrize(
    ("sizes", "count", "taken"),
    [
        ({b"a": 1, b"b": 3}, 3, [b"a", b"b"]),  # 4 are closer to 3 than 1 is
        ({b"a": 1, b"b": 4}, 3, [b"a"]),  # 5 are as far from it as 1 is
        ({b"a": 2, b"b": 9, b"c": 1}, 3, [b"a", b"c"]),
        ({b"a": 9, b"b": 7}, 3, [b"b"]),  # never none
    ],
)
def test_groups_are_taken_to_come_close_to_a_number_of_rows(
    sizes: dict[bytes, int], count: int, taken: list[bytes]
) -> None:
    assert _closest(sizes, count) == taken
