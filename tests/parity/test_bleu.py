"""BLEU against sacrebleu's own corpus_bleu."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import sacrebleu

from brulee.evaluation.base import Array
from brulee.evaluation.bleu import Bleu, signature

METRIC = Bleu()
VOCABULARY = "the cat sat on a mat , and it's (very) happy . 3.5 &amp; dogs bark loud - ly"


def statistics(predictions: list[str], references: list[list[str]]) -> Array:
    pairs = zip(predictions, references, strict=True)
    return np.array([METRIC.statistics(p, r)["bleu"] for p, r in pairs])


def ours(predictions: list[str], references: list[list[str]]) -> float:
    stats = statistics(predictions, references)
    return float(METRIC.reduce("bleu", stats.mean(0), len(stats)))


def theirs(predictions: list[str], references: list[list[str]]) -> float:
    """sacrebleu takes streams, one text per item each; a missing reference is None."""
    most = max(map(len, references))
    streams = [[r[i] if i < len(r) else None for r in references] for i in range(most)]
    return sacrebleu.corpus_bleu(predictions, streams).score / 100


def random_corpus(
    rng: random.Random, items: int, most: int, longest: int
) -> tuple[list[str], list[list[str]]]:
    words = VOCABULARY.split()

    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(0, longest)))

    references = [[text() for _ in range(rng.randint(1, most))] for _ in range(items)]
    return [text() for _ in range(items)], references


def test_worked_example_scores_as_by_hand() -> None:
    # 4 of 5 words, 3 of 4 bigrams, 2 of 3 trigrams, 1 of 2 four-grams; two words too short.
    expected = math.exp(1 - 7 / 5) * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert ours(["a b c d x"], [["a b c d e f g"]]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("longest", [3, 6, 14, 40])
@pytest.mark.parametrize("most", [1, 2, 4])
def test_random_corpora_score_as_sacrebleu_does(most: int, longest: int) -> None:
    rng = random.Random(100 * most + longest)
    for items in (1, 2, 3, 5, 8, 30):  # small ones leave orders without a match: smoothing
        predictions, references = random_corpus(rng, items, most, longest)
        expected = theirs(predictions, references)
        assert ours(predictions, references) == pytest.approx(expected, abs=1e-12)


def test_smoothing_is_of_the_whole_corpus() -> None:
    predictions = ["a b c x y", "d e f z w", "g h i v u"]
    references = [["a b c d e"], ["d e f g h"], ["g h i j k"]]  # no 4-gram matches anywhere
    expected = theirs(predictions, references)
    assert expected > 0
    assert ours(predictions, references) == pytest.approx(expected, abs=1e-12)
    stats = statistics(predictions, references)
    assert METRIC.reduce("bleu", stats.mean(0), 1.0) != pytest.approx(expected, abs=1e-3)


def test_unequal_numbers_of_references_are_left_out_not_empty() -> None:
    predictions = ["the cat sat on the mat", "a dog barked loudly"]
    references = [["the cat sat on a mat"], ["a dog barked", "the dog barked loudly today"]]
    expected = theirs(predictions, references)
    assert ours(predictions, references) == pytest.approx(expected, abs=1e-12)
    padded = [[*references[0], ""], references[1]]  # "" is a reference of length 0
    assert statistics(predictions, padded)[0, -1] == 6
    assert ours(["the"], [["the cat sat on a mat", ""]]) == theirs(
        ["the"], [["the cat sat on a mat", ""]]
    )


@pytest.mark.parametrize(
    ("prediction", "references"),
    [
        ("", ["a reference"]),
        ("a prediction", [""]),
        ("", [""]),
        ("   ", ["a reference"]),
        ("word", ["word"]),
        ("one two three", ["one two three"]),
        ("one two three four", ["one two three four"]),
        ("one two three four five", ["five four three two one"]),
        ("nothing in common here", ["a b c d e"]),
        ("a very much longer prediction than the reference", ["a very"]),
        ("short but right here", ["short but right here and then very much more of it"]),
        ("line\nbreak and &quot;quotes&quot; of 1,000.5", ['line break and "quotes" of 1,000.5']),
        ("日本語 の テキスト です", ["日本語 の テキスト だ"]),
    ],
)
def test_one_sentence_scores_as_sacrebleu_does(prediction: str, references: list[str]) -> None:
    expected = theirs([prediction], [references])
    assert ours([prediction], [references]) == pytest.approx(expected, abs=1e-12)
    stats = METRIC.statistics(prediction, references)["bleu"]
    assert METRIC.item("bleu", stats) == pytest.approx(expected, abs=1e-12)


def test_resamples_reduced_together_score_as_one_by_one() -> None:
    rng = random.Random(5)
    stats = statistics(*random_corpus(rng, 12, 2, 8))
    chosen = np.random.default_rng(0).integers(12, size=(50, 12))
    together = METRIC.reduce("bleu", stats[chosen].mean(1), 12.0)
    for score, rows in zip(together, chosen, strict=True):
        total = [int(v) for v in stats[rows].sum(0)]
        alone = sacrebleu.BLEU.compute_bleu(
            total[:4], total[4:8], total[8], total[9], smooth_method="exp"
        )
        assert score == pytest.approx(alone.score / 100, abs=1e-12)


def test_signature_is_the_one_sacrebleu_prints() -> None:
    scorer = sacrebleu.BLEU()
    scorer.corpus_score(["a b"], [["a b"]])
    assert signature(1) == str(scorer.get_signature())
    assert signature().startswith("nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|version:")
