"""Leakage: what splits share is seen, counted, and called by its name."""

from __future__ import annotations

import json
import random

import pytest

from brulee.data.dedup import near_duplicates
from brulee.data.leakage import Leakage, input_text, pair_of
from brulee.data.leakage import leakage as leakage_of
from brulee.data.normalised import normalise
from brulee.data.sources import Rows, open_source
from brulee.data.splits import split_rows
from brulee.data.templates import TemplateSet, load_templates
from brulee.data.union_find import UnionFind
from brulee.recipe import SplitSpec

BETWEEN = ("train", "validation")


def leakage(texts: dict[str, dict[int, tuple[str, str]]]) -> Leakage:
    inputs = {i: normalise(x) for of in texts.values() for i, (x, _) in of.items()}
    distinct = list(dict.fromkeys(inputs.values()))
    joined = UnionFind(len(distinct))
    for i, j, _ in near_duplicates(distinct):
        joined.join(i, j)
    near = dict(zip(distinct, joined.roots().tolist(), strict=True))
    pairs = {split: {i: pair_of(x, y) for i, (x, y) in of.items()} for split, of in texts.items()}
    return leakage_of(pairs, {i: near[text] for i, text in inputs.items()})


def nine_phrasings() -> TemplateSet:
    asked = [
        "Review: {{body}}\nStars?",
        "{{body}}\nHow many stars is that, from 1 to 5?",
        "A customer wrote: {{body}} Their rating was",
        "Rate this review: {{body}}",
        "What rating would you expect beside the text below?\n{{body}}",
        "Product: {{product}}\nText: {{body}}\nRating:",
        "Guess the stars. {{body}}",
        "{{body}} Out of five, I give it",
        "Read the review and say how many stars it has: {{body}}",
    ]
    templates = [load_templates({"name": f"{i}", "jinja": f"{asked[i]} ||| {{{{stars}}}}"})
                 for i in range(9)]  # fmt: skip
    return TemplateSet("rating", tuple(one.templates[0] for one in templates))


def reviews() -> Rows:
    return open_source("bundled/product-reviews", limit=200)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_splitting_rendered_rows_leaks_every_review_and_is_reported(seed: int) -> None:
    rows, templates = reviews(), nine_phrasings()
    rendered = [
        (i, found)
        for i, row in enumerate(rows)
        for template in templates
        if (found := template.render(row))
    ]
    assert len(rendered) == 200 * 9
    order = random.Random(seed).sample(range(1_800), 1_800)
    parts = {"validation": order[:180], "train": order[180:]}
    said = {
        name: {n: (rows[rendered[n][0]]["body"], rendered[n][1].completion) for n in part}
        for name, part in parts.items()
    }
    found = leakage(said).overlap("input", *BETWEEN)
    assert (found.rows, found.share, found.severity) == (180, 1.0, "error")
    # Compared as they are rendered, no two rows would look alike: hence inputs before templating.
    prompts = {name: {n: (rendered[n][1].prompt, "") for n in part} for name, part in parts.items()}
    assert leakage(prompts).overlap("input", *BETWEEN).rows == 0


def test_splitting_reviews_before_rendering_leaks_none() -> None:
    rows, templates = reviews(), nine_phrasings()
    asked = SplitSpec(validation=0.1, test=0.1)
    splits = split_rows(rows, asked, templates.source_columns, tuple(templates.columns))
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    assert sum(map(len, parts.values())) == 200
    rendered = {
        name: {
            9 * i + n: (str(rows[i]["body"]), found.completion)
            for i in part
            for n, template in enumerate(templates)
            if (found := template.render(rows[i]))
        }
        for name, part in parts.items()
    }
    assert {name: len(part) for name, part in rendered.items()} == {
        "train": 9 * 160,
        "validation": 9 * 20,
        "test": 9 * 20,
    }
    found = leakage(rendered)
    assert found.errors == ()
    for kind in ("input", "pair", "near-duplicate"):
        assert [o.rows for o in found.overlaps if o.kind == kind] == [0, 0, 0]
    assert found.labels
    assert {o.severity for o in found.overlaps if o.kind == "target"} == {"none"}


def test_input_target_and_pair_are_counted_on_their_own() -> None:
    train = {0: ("A  cat", "one"), 1: ("a dog", "two"), 2: ("a cow", "three"), 3: ("a hen", "four")}
    test = {7: ("a CAT", "One"), 8: ("a dog", "five"), 9: ("a pig", "three")}
    found = leakage({"test": test, "train": train})
    counts = {o.kind: (o.rows, o.severity, o.examples) for o in found.overlaps}
    assert counts == {
        "input": (2, "error", ((0, 7), (1, 8))),
        "near-duplicate": (0, "none", ()),
        "target": (2, "warning", ((0, 7), (2, 9))),
        "pair": (1, "error", ((0, 7),)),
    }
    assert found.overlaps[0].share == pytest.approx(2 / 3)
    assert [o.kind for o in found.errors] == ["input", "pair"]


def test_the_share_is_of_the_smaller_side_whichever_that_is() -> None:
    small, large = {0: ("x", "1")}, dict.fromkeys(range(1, 11), ("x", "2"))
    for train, test in ((small, large), (large, small)):
        found = leakage({"train": train, "test": test}).overlap("input", "train", "test")
        assert (found.rows, found.share) == (1, 1.0)
    assert found.examples == ((1, 0),)


def test_near_duplicates_are_counted_apart_from_equal_inputs() -> None:
    draw = random.Random(0)
    words = [[f"w{draw.randrange(999)}" for _ in range(50)] for _ in range(10)]
    train = {i: (" ".join(text), f"{i}") for i, text in enumerate(words)}
    test = {10 + i: (" ".join([*text[:-1], "new"]), "") for i, text in enumerate(words[:4])}
    test[20] = (train[9][0].upper(), "")
    found = leakage({"train": train, "test": test})
    near = found.overlap("near-duplicate", "train", "test")
    assert (near.rows, near.severity) == (4, "warning")
    assert near.examples == ((0, 10), (1, 11), (2, 12))
    assert found.overlap("input", "train", "test").rows == 1


def test_labels_that_splits_share_are_no_leak() -> None:
    train = {i: (f"text {i}", "yes" if i % 2 else "no") for i in range(20)}
    test = {i: (f"text {i}", "yes") for i in range(20, 25)}
    found = leakage({"train": train, "test": test})
    assert found.errors == ()
    assert found.sentences(str) == [
        ("none", "No input is in two splits."),
        ("none", "The targets are labels (2 distinct), which splits naturally share."),
    ]


@pytest.mark.parametrize(("rows", "labels"), [(8, True), (7, False)])
def test_targets_are_labels_where_each_stands_for_four_rows(rows: int, labels: bool) -> None:
    pairs = {i: (f"text {i}", "yes" if i % 2 else "no") for i in range(rows)}
    assert leakage({"train": pairs}).labels == labels


@pytest.mark.parametrize("smaller", ["train", "test"])
def test_a_leak_is_said_with_the_places_of_both_rows(smaller: str) -> None:
    """It is a share of the smaller split's rows, which are also in the other one."""
    train, test = {0: ("a", "p")}, {4: ("A", "q")}
    other = "test" if smaller == "train" else "train"
    more = {"train": train, "test": test}[other]
    more[5] = ("b", "r")
    assert leakage({"train": train, "test": test}).sentences(lambda row: f"line {row}") == [
        ("error", f"1 of the 1 {smaller} rows (100.0%) has an input that is also in {other}: "
         "line 0 and line 4."),
    ]  # fmt: skip


def test_splits_without_rows_are_left_out() -> None:
    assert leakage({"train": {0: ("a", "b")}, "validation": {}, "test": {}}).overlaps == ()
    assert leakage({}).to_dict()["overlaps"] == []


def test_the_report_is_plain_values() -> None:
    found = leakage({"train": {0: ("a", "p")}, "test": {4: ("A", "p")}})
    plain = found.to_dict(lambda row: f"rows.jsonl, line {row + 1}")
    assert json.loads(json.dumps(plain)) == plain
    assert plain["overlaps"][0] == {
        "kind": "input",
        "between": ["train", "test"],
        "smaller": "test",
        "rows": 1,
        "share": 1.0,
        "severity": "error",
        "examples": [["rows.jsonl, line 1", "rows.jsonl, line 5"]],
    }


def test_a_value_in_one_column_is_not_the_same_value_in_another() -> None:
    assert input_text([0, 5], "?") != input_text([5, 0], "?")
    first, second = input_text(["five", None], "?"), input_text([None, "five"], "?")
    found = leakage({"train": {0: (first, "x")}, "test": {1: (second, "y")}})
    assert found.overlap("input", "train", "test").rows == 0
    assert input_text([None, ""], "the prompt") == "the prompt"
