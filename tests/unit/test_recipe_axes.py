"""The axes of a sweep, read from texts."""

from __future__ import annotations

import json
import re

import pytest

from brulee.errors import InputError
from brulee.recipe import TrainSpec, load_recipe
from brulee.recipe.axes import (
    TRAIN,
    Choices,
    Range,
    axes_of,
    check_keys,
    overrides_of,
    points,
    split_axes,
    whole,
    written,
)
from brulee.yaml_lines import parse_scalar

# Which rows there are, where it runs, what it tells and keeps on the way; seeds are no setting.
NO_AXES = {
    *("max_length", "seed", "device", "micro_batch", "trackers", "max_skips", "save_every"),
    *("validate_every", "keep_checkpoints", "generate_every", "generate_rows"),
}


def test_every_key_of_train_is_an_axis_or_known_to_be_none() -> None:
    assert set(TrainSpec.model_fields) == set(TRAIN) | NO_AXES
    assert not set(TRAIN) & NO_AXES


def test_one_value_is_an_override_and_several_are_an_axis() -> None:
    axes, fixed = split_axes(["train.epochs=1", "method.rank=4,8,16"])
    assert (axes, fixed) == ([Choices("method.rank", (4, 8, 16))], ["train.epochs=1"])


@pytest.mark.parametrize(
    ("text", "low", "high", "log"),
    [
        ("1e-4..3e-3:log", 1e-4, 3e-3, True),
        ("0..0.1", 0, 0.1, False),
        ("4..16", 4, 16, False),
        (".5..1.", 0.5, 1.0, False),
    ],
)
def test_a_range_is_two_numbers(text: str, low: float, high: float, log: bool) -> None:
    axes, _ = split_axes([f"train.learning_rate={text}"])
    assert axes == [Range("train.learning_rate", low, high, log)]


def test_commas_in_brackets_and_quotes_part_nothing() -> None:
    axes, fixed = split_axes(
        ["method.target=[q_proj,v_proj],all-linear", "data.references=[a,b]", "data.system='x, y'"]
    )
    assert axes == [Choices("method.target", (["q_proj", "v_proj"], "all-linear"))]
    assert fixed == ["data.references=[a,b]", "data.system='x, y'"]


@pytest.mark.parametrize("text", ["data.source=../rows.jsonl", "data.source=a..b"])
def test_a_path_is_no_range(text: str) -> None:
    assert split_axes([text]) == ([], [text])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.b=3e-3..1e-4", "from a lower number to a higher one"),
        ("a.b=0..1:log", "above 0; it begins at 0"),
        ("a.b=1..2:cubic", "'cubic' is not a scale"),
        ("a.b=1e-4..", "a range is LOW..HIGH with two numbers"),
        ("a.b=4...16", "a range is LOW..HIGH with two numbers"),
        ("a.b=1e-4:log", "a range is LOW..HIGH with two numbers"),
        ("a.b=1,,2", "there is no value between two commas"),
        ("a.b=1,2,", "there is no value between two commas"),
        ("a.b=4,8,4", "4 is listed twice"),
        ("a.b=1,2..4", "a range cannot be combined"),
    ],
)
def test_an_axis_that_makes_no_sense_says_which(text: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)) as error:
        split_axes([text])
    assert text in str(error.value)


def test_a_key_is_given_once() -> None:
    for texts in (["a.b=1,2", "a.b=3,4"], ["a.b=1,2", "a.b=3"]):
        with pytest.raises(InputError, match=r"a\.b is given twice"):
            split_axes(texts)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("train.seed", "--seeds N"),
        ("train.max_length", "which rows there are to validate on"),
        ("data.split.seed", "the same validation rows"),
        ("model", "the same model"),
        ("train.save_every", "nothing of what is learned"),
    ],
)
def test_an_axis_under_which_trials_cannot_be_compared_is_refused(key: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        check_keys([Choices(key, (1, 2))])
    check_keys([Choices("method.rank", (1, 2)), Range("train.learning_rate", 1, 2, False)])


def test_an_option_is_tried_with_the_methods_that_have_it() -> None:
    axes, _ = split_axes(["method.rank=4,8", "method.name=lora,ia3"])
    found = list(points(axes, {"method.rank": frozenset({"lora"})}))
    assert found == [
        {"method.name": "lora", "method.rank": 4},
        {"method.name": "lora", "method.rank": 8},
        {"method.name": "ia3"},
    ]


@pytest.mark.parametrize(
    "value", [8, 1e-05, 0.001, "cosine", "all-linear", ["q_proj", "v"], None, True, "true", "8", ""]
)
def test_a_value_is_read_back_as_it_was(value: object) -> None:
    assert parse_scalar(written(value)) == value
    assert json.dumps(parse_scalar(written(value))) == json.dumps(value)


def test_python_gives_lists_and_texts() -> None:
    axes, fixed = axes_of(
        {"method.rank": [4, 8], "train.learning_rate": "1e-4..1e-3:log", "train.epochs": 2}
    )
    assert axes == [
        Choices("method.rank", (4, 8)),
        Range("train.learning_rate", 1e-4, 1e-3, True),
    ]
    assert fixed == ["train.epochs=2"]
    assert axes_of(["method.rank=4,8"]) == ([Choices("method.rank", (4, 8))], [])
    with pytest.raises(InputError, match=r"write \['method.rank=4,8'\]"):
        axes_of("method.rank=4,8")


def test_whole_numbers_want_whole_ends() -> None:
    assert whole(Range("method.rank", 4.0, 16.0, True)) == Range("method.rank", 4, 16, True, True)
    with pytest.raises(InputError, match="give whole ends"):
        whole(Range("method.rank", 4.5, 16, False))


def test_overrides_are_read_by_a_recipe(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "r.yaml"
    file.write_text("data: {source: rows.jsonl}\n")
    recipe = load_recipe(file, overrides_of({"method.name": "lora", "train.learning_rate": 1e-05}))
    assert recipe.train.learning_rate == 1e-05
