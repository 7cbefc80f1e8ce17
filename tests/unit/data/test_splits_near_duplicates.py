"""Near-duplicates: rows that say nearly the same stay on one side; published splits stay put."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from brulee.data.sources import Rows, open_source
from brulee.data.splits import split_rows
from brulee.errors import InputError
from brulee.recipe import SplitSpec


def spec(**values: Any) -> SplitSpec:
    return SplitSpec.model_validate(values)


def words(seed: int, count: int = 60) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(5_000)}" for _ in range(count)]


def copied(seed: int, place: int) -> str:
    found = words(seed)
    found[place] = "changed"
    return " ".join(found)


def reposts(originals: int, copies: int) -> list[dict[str, Any]]:
    """Texts, each with copies that differ in one word."""
    return [
        {"text": copied(seed, 20 * copy) if copy else " ".join(words(seed)), "label": seed % 2}
        for copy in range(copies + 1)
        for seed in range(originals)
    ]


def test_reposts_with_a_word_changed_stay_on_one_side() -> None:
    rows = Rows.of(reposts(100, 2))
    splits = split_rows(rows, spec(test=0.2, validation=0.1), ["text"])
    assert splits.near_duplicates == 200
    assert splits.groups == tuple(range(100)) * 3
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (210, 30, 60)
    assert not any(splits.shared_groups.values())


def test_reposts_are_torn_apart_where_the_recipe_asks_for_that() -> None:
    rows = Rows.of(reposts(100, 2))
    splits = split_rows(rows, spec(test=0.2, near_duplicates=False), ["text"])
    assert (splits.near_duplicates, len(set(splits.groups))) == (0, 300)
    train = {i % 100 for i in splits.train}
    assert sum(i % 100 in train for i in splits.test) > 30


def test_a_repost_joins_the_groups_of_two_users() -> None:
    records = [{"user": i, "text": " ".join(words(i))} for i in range(40)]
    records += [{"user": 40 + i, "text": copied(i, 30)} for i in range(10)]
    splits = split_rows(Rows.of(records), spec(test=0.2, group="user"), ["text"])
    assert splits.groups[40:] == tuple(range(10))
    assert splits.near_duplicates == 10


def test_short_texts_are_joined_only_if_they_read_the_same() -> None:
    texts = ["5 - 3", "5 + 3", "yes!", "Yes?", "no", "NO"]
    records = [{"text": text, "y": i} for i, text in enumerate(texts)]
    splits = split_rows(Rows.of(records), spec(test=0.2), ["text"])
    assert splits.groups == (0, 1, 2, 3, 4, 4)
    assert splits.near_duplicates == 0


def test_two_customers_who_both_said_yes_are_two() -> None:
    records = [{"user": i, "text": "Yes, please!"} for i in range(30)]
    splits = split_rows(Rows.of(records), spec(test=0.2, group="user"), ["text"], ["user", "text"])
    assert len(set(splits.groups)) == 30


def test_a_side_does_not_depend_on_the_order_of_near_duplicates() -> None:
    records = reposts(50, 1)
    shuffled = random.Random(1).sample(records, len(records))
    held = []
    for some in (records, shuffled):
        splits = split_rows(Rows.of(some), spec(test=0.2), ["text"])
        held.append({some[i]["text"] for i in splits.test})
    assert held[0] == held[1]


def test_what_the_prompt_does_not_read_joins_nothing() -> None:
    preamble = " ".join(words(0))
    records = [{"text": f"text {i}", "policy": preamble} for i in range(20)]
    assert len(set(split_rows(Rows.of(records), spec(), ["text"]).groups)) == 20


@pytest.mark.parametrize("preambles", [1, 5])
def test_a_long_instruction_before_every_row_joins_none(preambles: int) -> None:
    records = [
        {"system": " ".join(words(i % preambles)), "text": " ".join(words(1_000 + i, 8))}
        for i in range(60)
    ]
    records.append({"system": " ".join(words(0)), "text": records[1]["text"]})
    splits = split_rows(Rows.of(records), spec(test=0.2), ["system", "text"])
    assert splits.near_duplicates == (1 if preambles > 1 else 0)
    assert len(set(splits.groups)) == 60


def test_a_preamble_inside_every_text_joins_none() -> None:
    preamble = " ".join(words(0, 100))
    records = [{"text": f"{preamble} {' '.join(words(i, 8))}"} for i in range(1, 121)]
    records.append({"text": f"{records[7]['text']} thanks"})
    splits = split_rows(Rows.of(records), spec(test=0.2), ["text"])
    assert (splits.near_duplicates, splits.groups[120]) == (1, 7)


def test_a_passage_with_several_questions_is_one_group() -> None:
    records = [
        {"passage": " ".join(words(i // 4)), "question": " ".join(words(500 + i, 6))}
        for i in range(200)
    ]
    splits = split_rows(Rows.of(records), spec(test=0.2), ["passage", "question"])
    assert splits.groups == tuple(i // 4 for i in range(200))


def test_rows_that_all_say_the_same_are_refused_with_the_reason() -> None:
    records = [{"text": copied(0, i), "y": i} for i in range(30, 36)]
    with pytest.raises(InputError, match=r"1 group.* by text, 5 rows joined as near-duplicates"):
        split_rows(Rows.of(records), spec(), ["text"])


def published(folder: Path) -> Rows:
    parts = {
        "train": [" ".join(words(i)) for i in range(60)],
        "test": [copied(i, 10) for i in range(15)] + [" ".join(words(i)) for i in range(70, 75)],
    }
    for name, texts in parts.items():
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return open_source(str(folder))


def test_a_published_test_set_is_not_split_again_whatever_the_shares(tmp_path: Path) -> None:
    rows = published(tmp_path)
    for asked in (spec(), spec(test=0.5), spec(test=0.0, salt="other"), spec(group="text")):
        splits = split_rows(rows, asked, ["text"])
        assert splits.test == tuple(range(60, 80))
        assert splits.train == tuple(range(60))


def test_near_duplicates_between_published_splits_are_reported_and_not_moved(
    tmp_path: Path,
) -> None:
    rows = published(tmp_path)
    splits = split_rows(rows, spec(validation=0.2), ["text"])
    assert splits.test == tuple(range(60, 80))
    shared = splits.manifest(rows)["groups_shared"]
    assert shared["train, test"] + shared["validation, test"] == 15
    assert shared["train, validation"] == 0
    assert splits.manifest(rows)["near_duplicates_joined"] == 15
