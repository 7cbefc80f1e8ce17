"""JSON answers: what is the same, which fields are right, what is no reference."""

from __future__ import annotations

import json
import random
from functools import partial
from typing import Any

import numpy as np
import pytest

from brulee.data.strict_json import read
from brulee.errors import InputError
from brulee.evaluation import METRICS, metric
from brulee.evaluation.json_fields import JsonFields
from brulee.evaluation.json_values import leaves, same
from brulee.evaluation.stats import compare, interval


def scores(prediction: str, *references: str, name: str = "json") -> dict[str, float]:
    found = metric(name)
    told = found.statistics(prediction, references)
    assert tuple(told) == found.keys
    return {key.partition(":")[0]: found.item(key, values) for key, values in told.items()}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("1", "1.0", True), ("1", "1e0", True), ("100", "1E+2", True), ("0", "-0.0", True),
        ("0.1", "0.10", True), ("1", "true", False), ("0", "false", False), ("1", '"1"', False),
        ("null", '"None"', False), ("null", "false", False), ("[]", "{}", False),
        ("12345678901234567890", "12345678901234567891", False),
        ("1e400", "1e401", False), ("0.1", "0.10000000000000001", False),
        ('{"a": 1, "b": [2]}', '{"b": [2.0], "a": 1}', True),
        ("[1, 2]", "[2, 1]", False), ("[[1], [2]]", "[[1, 2]]", False),
        ('"caf\\u00e9"', '"cafe\\u0301"', True), ('"\\ufb01"', '"fi"', False),
        ('{"caf\\u00e9": 1}', '{"cafe\\u0301": 1}', True), ('"A"', '"a"', False),
        ('"a "', '"a"', False), ('{"a": null}', "{}", False),
    ],
)  # fmt: skip
def test_what_is_the_same(one: str, other: str, equal: bool) -> None:
    assert (same(read(one)) == same(read(other))) is equal
    assert scores(one, other)["json_match"] == equal
    assert scores(one, other)["json_valid"] == 1


def test_values_of_python_are_those_of_json() -> None:
    for value in (1, 1.5, -0.25, True, None, "x", [1, {"a": 1e30}], 10**30):
        assert same(value) == same(read(json.dumps(value)))
    assert same(1) != same(True)


def test_lists_as_bags_where_asked_for() -> None:
    one, other = '{"a": [1, [2, 3], 1]}', '{"a": [[3, 2], 1, 1]}'
    assert scores(one, other)["json_match"] == 0
    assert scores(one, other, name="json:unordered")["json_match"] == 1
    assert scores("[1, 1, 2]", "[1, 2, 2]", name="json:unordered")["json_match"] == 0
    assert metric("json:fenced:unordered").keys[0] == "json_f1:fenced:unordered"


def test_a_field_is_its_keys_and_its_value_wherever_it_stands_in_a_list() -> None:
    value = read('{"who": {"name": "A"}, "items": [{"n": 1}, {"n": true}], "no": [null, {}, []]}')
    found = sorted(map(str, leaves(value)))
    assert found == sorted(
        map(str, [(("who", "name"), ("text", "A")), (("items", "n"), ("number", "1e0")),
                  (("items", "n"), "True")])
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prediction", "reference", "precision", "recall"),
    [
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 3, "c": 4}', 1 / 2, 1 / 3),
        ('{"a": [0, 1, 2]}', '{"a": [1, 2]}', 2 / 3, 1),  # one too many shifts no other
        ('{"a": [1, 1]}', '{"a": [1]}', 1 / 2, 1),
        ('{"b": 1}', '{"a": 1}', 0, 0),
        ('{"a": null}', '{"a": 1}', 0, 0),  # a field without a value is not found
        ('{"a": 1}', '{"a": null}', 0, 0),
        ("{}", '{"a": null}', 1, 1),
        ("no JSON", '{"a": 1}', 0, 0),
        ("no JSON", "{}", 0, 0),  # where nothing was to be found it still is not right
        ("", "[]", 0, 0),
    ],
)
def test_precision_and_recall_of_fields(
    prediction: str, reference: str, precision: float, recall: float
) -> None:
    found = scores(prediction, reference)
    assert found["json_precision"] == pytest.approx(precision)
    assert found["json_recall"] == pytest.approx(recall)
    both = precision + recall
    assert found["json_f1"] == pytest.approx(2 * precision * recall / both if both else 0)


def test_fields_are_counted_over_the_whole_test() -> None:
    """Against a count by hand; the mean of the items' own F1 is another number."""
    draw = random.Random(1)
    pairs = []
    for _ in range(60):
        wanted = {k: draw.randint(0, 3) for k in draw.sample("abcdefgh", draw.randint(1, 8))}
        kept = {k: draw.choice([v, 9]) for k, v in wanted.items() if draw.random() < 0.8}
        pairs.append(("oops" if draw.random() < 0.1 else json.dumps(kept), json.dumps(wanted)))
    right = said = due = 0
    for prediction, reference in pairs:
        wanted = set(json.loads(reference).items())
        found = set() if prediction == "oops" else set(json.loads(prediction).items())
        right, said, due = right + len(found & wanted), said + len(found), due + len(wanted)
    of = JsonFields()
    told = [of.statistics(p, [r]) for p, r in pairs]
    expected = {"json_precision": right / said, "json_recall": right / due}
    expected["json_f1"] = 2 * right / (said + due)
    for key, value in expected.items():
        found_in = interval(np.array([t[key] for t in told]), partial(of.reduce, key))
        assert found_in.value == pytest.approx(value)
        assert found_in.low < value < found_in.high
    mean = np.mean([of.item("json_f1", t["json_f1"]) for t in told])
    assert abs(mean - expected["json_f1"]) > 0.005
    stats = np.array([t["json_f1"] for t in told])
    better = np.array([of.statistics(r, [r])["json_f1"] for _, r in pairs])
    pair = compare(stats, better, partial(of.reduce, "json_f1"))
    assert pair.tuned == 1
    assert pair.low > 0
    assert pair.p < 0.01


def test_of_several_references_the_nearest_counts() -> None:
    found = scores('{"a": 1, "b": 2}', '{"a": 5}', '{"b": 2, "a": 1}', '{"a": 1}')
    assert set(found.values()) == {1.0}
    assert scores('{"a": 1}', '{"a": 5}', '{"a": 1, "b": 2}')["json_f1"] == pytest.approx(2 / 3)


def test_a_fence_counts_only_where_asked_for() -> None:
    answer, reference = 'Sure!\n```json\n{"a": 1}\n```', '{"a": 1}'
    assert set(scores(answer, reference).values()) == {0.0}
    assert set(scores(answer, reference, name="json:fenced").values()) == {1.0}
    assert set(scores(reference, answer, name="json:fenced").values()) == {1.0}


@pytest.mark.parametrize("answer", ["[" * 1_000_000, '{"a":' * 10_000, "9" * 200_000, "[NaN]", ""])
def test_hostile_answers_are_wrong_and_nothing_else(answer: str) -> None:
    for name in METRICS:
        if name.startswith("json"):
            found = scores(answer, '{"a": 1}', name=name)
            assert found["json_f1"] == found["json_match"] == 0


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("Berlin", "'Berlin' is not JSON: Expecting value"),
        ("```json\n{}\n```", "json:fenced reads JSON in a fence"),
        ("{'a': 'it'}", "tojson"),
        ("[" * 2000 + "]" * 2000, "levels deep"),
        ('{"a": 1, "a": 2}', "given twice"),
    ],
)
def test_a_reference_that_is_not_json_is_refused(reference: str, said: str) -> None:
    for judge in (metric("json").check, partial(metric("json").statistics, "{}")):
        with pytest.raises(InputError) as told:
            judge([reference])
        assert said in str(told.value)
        assert len(str(told.value)) < 250
    with pytest.raises(InputError, match="at least one"):
        metric("json").check([])


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if m.refuses])
def test_an_option_that_is_none_is_answered_with_those_that_are(name: str) -> None:
    with pytest.raises(InputError, match="did you mean"):
        metric(f"{name}x")
    for key in metric(name).keys:
        assert metric(name).higher_is_better(key)


def reduced(counts: list[Any], key: str = "json_precision") -> float:
    return float(JsonFields().reduce(key, np.array(counts, dtype=float), 1.0))


def test_ratios_of_nothing() -> None:
    assert reduced([0, 0, 0]) == reduced([0, 0, 0], "json_f1") == 1
    assert reduced([0, 0, 3]) == reduced([0, 3, 0], "json_recall") == 0
