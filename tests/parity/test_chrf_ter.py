"""chrF and TER against sacrebleu's own corpus scores."""

from __future__ import annotations

import random

import numpy as np
import pytest
import sacrebleu

from brulee.evaluation import chrf, metric, ter
from brulee.evaluation.base import Array, Metric

VOCABULARY = "the cat sat on a mat , and it's (very) happy . 3.5 naïve 日本語 dogs bark loud - ly"


def texts(rng: random.Random, count: int, longest: int = 12) -> list[str]:
    return [
        " ".join(rng.choices(VOCABULARY.split(), k=rng.randint(0, longest))) for _ in range(count)
    ]


def statistics(found: Metric, predictions: list[str], references: list[list[str]]) -> Array:
    pairs = zip(predictions, references, strict=True)
    return np.array([found.statistics(p, r)[found.keys[0]] for p, r in pairs])


@pytest.mark.parametrize("name", ["chrf", "ter"])
@pytest.mark.parametrize("of_each", [1, 3])
def test_corpora_score_as_sacrebleu_does(name: str, of_each: int) -> None:
    rng = random.Random(of_each)
    found = metric(name)
    corpus = {"chrf": sacrebleu.corpus_chrf, "ter": sacrebleu.corpus_ter}[name]
    for items in (1, 2, 5, 40):
        predictions = texts(rng, items)
        streams = [texts(rng, items) for _ in range(of_each)]
        references = [list(of) for of in zip(*streams, strict=True)]
        stats = statistics(found, predictions, references)
        ours = float(found.reduce(name, stats.mean(0), len(stats)))
        assert ours == pytest.approx(corpus(predictions, streams).score / 100, abs=1e-12)


@pytest.mark.parametrize("name", ["chrf", "ter"])
def test_one_resample_scores_as_the_corpus_it_draws(name: str) -> None:
    rng = random.Random(4)
    found = metric(name)
    predictions, references = texts(rng, 12), texts(rng, 12)
    stats = statistics(found, predictions, [[r] for r in references])
    drawn = [rng.randrange(12) for _ in range(12)]
    corpus = {"chrf": sacrebleu.corpus_chrf, "ter": sacrebleu.corpus_ter}[name]
    expected = corpus([predictions[i] for i in drawn], [[references[i] for i in drawn]]).score
    assert float(found.reduce(name, stats[drawn].mean(0), 12)) == pytest.approx(expected / 100)


def test_signatures_are_sacrebleus() -> None:
    assert chrf.signature(1).startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert ter.signature().startswith("nrefs:var|case:lc|tok:tercom|norm:no|punct:yes|asian:no|")


def test_ter_is_an_error_and_can_pass_one() -> None:
    found = metric("ter")
    assert not found.higher_is_better("ter")
    assert found.item("ter", found.statistics("a b", ["a b"])["ter"]) == 0.0
    assert found.item("ter", found.statistics("x y z", ["a"])["ter"]) == 3.0
    assert found.item("ter", found.statistics("x y z", [""])["ter"]) == 1.0
