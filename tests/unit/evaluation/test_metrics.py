from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest

from brulee.errors import InputError
from brulee.evaluation import LABELLED, METRICS, Metric, metric, of_texts, summaries
from brulee.evaluation.rouge_kinds import EXAMPLES

# Those that need a number, or the source: a text that is wrong need not score the worst.
NUMERIC = ("pearson", "spearman", "brier", "ece", "ece_equal_width")
SOURCED = ("faithfulness", "extractiveness")
# Those that are asked no text, or read some texts alone, have tests of their own.
PLAIN = [n for n, m in METRICS.items() if m.asks == "text" and not m.refuses]
EVERY = [*(n for n in PLAIN if n not in (*NUMERIC, *SOURCED)), *LABELLED, *EXAMPLES]


@pytest.mark.parametrize("name", EVERY)
def test_every_metric_keeps_the_contract(name: str) -> None:
    found: Metric = metric(name, labels=["one two three four", "x"])
    reference = "one two three four"
    right = found.statistics(reference, [reference])
    wrong = found.statistics("x", [reference])
    assert tuple(right) == found.keys
    for key in found.keys:
        assert right[key].shape == wrong[key].shape == (right[key].size,)
        assert right[key].dtype == np.float64
        both = np.stack([np.stack([right[key]] * 5), np.stack([wrong[key]] * 5)])
        scores = found.reduce(key, both.mean(1), 5.0)
        assert scores.shape == (2,)
        worst = scores[1] if found.higher_is_better(key) else scores[0]
        assert worst == 0.0
        assert 0.0 <= found.item(key, right[key]) <= 1.0


@pytest.mark.parametrize("name", [*EVERY, *NUMERIC, *SOURCED])
def test_every_metric_joins_and_reduces_as_the_statistics_are_told_to(name: str) -> None:
    labels = ["0", "0.25", "0.75", "1"]
    found = metric(name, labels=labels)
    draw = random.Random(0)
    pairs = [(draw.choice(labels), draw.choice("01")) for _ in range(24)]
    told = [found.statistics(given, [wanted]) for given, wanted in pairs]
    assert found.against == ("source" if name in SOURCED else "references")
    for key in found.keys:
        stats_NS = np.stack([item[key] for item in told])  # as many for every item
        kept_NS = stats_NS.copy()
        joined_NS = found.join(key, stats_NS)
        assert np.array_equal(stats_NS, kept_NS), "join wrote into what it was given"
        assert joined_NS.ndim == 2
        assert len(joined_NS) == len(pairs), "an item was lost, and its pair with it"
        score = found.reduce(key, joined_NS.mean(0), 24.0)
        assert np.isfinite(score)
        # All at once and one by one, as the bootstrap and as a table has it.
        means_BS = np.stack([joined_NS[:12].mean(0), joined_NS[12:].mean(0), joined_NS.mean(0)])
        sizes_B = np.array([12.0, 12.0, 24.0])
        each = [found.reduce(key, m, float(n)) for m, n in zip(means_BS, sizes_B, strict=True)]
        np.testing.assert_allclose(found.reduce(key, means_BS, sizes_B), each, atol=1e-12)
        # The order of the items says nothing.
        turned_NS = found.join(key, stats_NS[::-1].copy())
        np.testing.assert_allclose(found.reduce(key, turned_NS.mean(0), 24.0), score, atol=1e-12)
        assert isinstance(found.higher_is_better(key), bool)


def test_no_score_is_given_by_two_metrics_of_one_name() -> None:
    assert not METRICS.keys() & LABELLED.keys(), "the first of them hides the other"
    keys = [(key, name) for name, one in METRICS.items() for key in one.keys]
    assert len(dict(keys)) == len(keys)


@pytest.mark.parametrize("name", [name for name in METRICS if len(metric(name).keys) == 1])
def test_a_metric_gives_the_key_it_is_asked_for_by(name: str) -> None:
    assert metric(name).keys == (name,)


def test_rouge_comes_whole_or_by_one_key() -> None:
    text, reference = "one two\nthree", ["three one two"]
    assert metric("rouge").keys == ("rouge1", "rouge2", "rougeL")
    assert metric("rougeLsum").keys == ("rougeLsum",)
    whole, single = (metric(n).statistics(text, reference) for n in ("rouge", "rouge2"))
    assert single == {"rouge2": whole["rouge2"]}


@pytest.mark.parametrize(
    ("name", "near"), [("blue", "bleu"), ("rougel", "rougeL"), ("acuracy", "accuracy")]
)
def test_unknown_metric_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(InputError, match=f"unknown metric '{name}'; did you mean.*'{near}'"):
        metric(name)


@pytest.mark.parametrize("name", list(LABELLED))
def test_a_labelled_metric_asks_for_its_labels(name: str) -> None:
    with pytest.raises(InputError, match="needs the task's labels"):
        metric(name)


def test_importing_the_metrics_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'nltk', 'sacrebleu', 'scipy'}"
    code = f"import brulee.evaluation, sys; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_metric_says_what_it_measures_in_words_of_its_own() -> None:
    said = summaries()
    assert said.keys() == {*METRICS, *LABELLED, "json:schema=FILE"}
    assert all(said.values())
    twice = {text for text in said.values() if list(said.values()).count(text) > 1}
    assert twice == {metric("accuracy").summary}, "only exact_match is another name for something"


def test_what_judges_plain_texts_is_told_by_what_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [*METRICS, *LABELLED, *EXAMPLES]
    assert [name for name in names if of_texts(name)] == ["bits_per_byte"]
    monkeypatch.setitem(METRICS, "mine", metric("bits_per_byte"))
    assert of_texts("mine")
