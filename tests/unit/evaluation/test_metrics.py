from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from brulee.errors import InputError
from brulee.evaluation import LABELLED, METRICS, Metric, metric
from brulee.evaluation.rouge import TYPES

EVERY = [*METRICS, *LABELLED, *TYPES]


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


@pytest.mark.parametrize("name", [n for n in METRICS if n != "rouge"])
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
