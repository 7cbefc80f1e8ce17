"""ROUGE against Google's rouge_score 0.1.2, the implementation that papers report."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from brulee.evaluation import rouge

TYPES = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]
VOCABULARY = (
    "the a of agent agents customer customer's refund refunded refunding orders ordered relational "
    "generously conditional happily dying skies sky's flies ponies caresses hopping falling e-mail "
    "3.50 2024 café naïve Straße 日本 привет İstanbul Kelvin under_score OK ok be is was it its"
)
WORDS = VOCABULARY.split()
SEPARATORS = [" ", " ", " ", " ", ", ", ". ", "\n", "\n\n", " - ", "\t"]

EDGES = [
    ("", ""),
    ("", "something"),
    ("something", ""),
    ("...!?", "...!?"),
    ("...", "word"),
    (" \n \n", "\n"),
    ("word", "word"),
    ("one two", "one two"),
    ("a a a a", "a a"),
    ("a b a b a b", "b a b a"),
    ("the the the cat", "the cat the cat the"),
    ("first line\nsecond line", "second line\nfirst line"),
    ("first line\n\n\nsecond line\n", "first line second line"),
    ("a b c\na b c\na b c", "a b c"),
    ("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5"),
    ("x y z x\ny z x y", "z y x\nx x y y z z"),
    ("日本語のテキスト", "日本語のテキスト"),
    ("привет мир", "привет, мир"),
    ("Crème brûlée", "creme brulee"),
    ("İ K ſ ﬁ", "i k s fi"),
    ("snake_case don't e.g. 1,000", "snake case dont eg 1000"),
    ("\ud800 lone surrogate", "lone surrogate"),
    ("tab\tand\u2028separator\x0bline\rend", "tab and separator line end"),
]


def random_text(rng: random.Random, words: list[str]) -> str:
    return "".join(rng.choice(words) + rng.choice(SEPARATORS) for _ in range(rng.randint(0, 22)))


def random_pairs(count: int) -> list[tuple[str, str]]:
    rng = random.Random(20240)
    pairs = []
    for _ in range(count):
        words = rng.sample(WORDS, rng.randint(2, len(WORDS)))  # few words: many repeats and ties
        pairs.append((random_text(rng, words), random_text(rng, words)))
    return pairs


def assert_equal(ours: dict[str, rouge.Score], theirs: dict[str, object], context: object) -> None:
    assert ours.keys() == theirs.keys()
    for name, score in ours.items():
        assert tuple(score) == pytest.approx(tuple(theirs[name]), abs=1e-12), (name, context)


@pytest.mark.parametrize("stem", [True, False])
def test_five_hundred_random_pairs_score_as_rouge_score_does(stem: bool) -> None:
    scorer = RougeScorer(TYPES, use_stemmer=stem)
    for prediction, reference in random_pairs(500):
        ours = rouge.score(prediction, [reference], TYPES, stem=stem)
        assert_equal(ours, scorer.score(reference, prediction), (prediction, reference))


@pytest.mark.slow
@pytest.mark.skipif("BRULEE_REAL_DATA" not in os.environ, reason="BRULEE_REAL_DATA is not set")
@pytest.mark.parametrize("stem", [True, False])
def test_ten_thousand_random_and_real_pairs_score_as_rouge_score_does(stem: bool) -> None:
    file = Path(os.environ["BRULEE_REAL_DATA"]) / "dialogsum" / "dev.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    texts = [text for row in map(json.loads, lines) for text in (row["summary"], row["dialogue"])]
    rng = random.Random(11)
    pairs = [(rng.choice(texts), rng.choice(texts)) for _ in range(2000)]
    scorer = RougeScorer(TYPES, use_stemmer=stem)
    for prediction, reference in [*random_pairs(8000), *pairs]:
        ours = rouge.score(prediction, [reference], TYPES, stem=stem)
        assert_equal(ours, scorer.score(reference, prediction), (prediction, reference))


@pytest.mark.parametrize("stem", [True, False])
@pytest.mark.parametrize(("prediction", "reference"), EDGES)
def test_edge_case_scores_as_rouge_score_does(prediction: str, reference: str, stem: bool) -> None:
    scorer = RougeScorer(TYPES, use_stemmer=stem)
    ours = rouge.score(prediction, [reference], TYPES, stem=stem)
    assert_equal(ours, scorer.score(reference, prediction), (prediction, reference))


def test_every_n_and_a_lone_type_score_as_rouge_score_does() -> None:
    for prediction, reference in random_pairs(40):
        for name in (*(f"rouge{n}" for n in range(1, 10)), "rougeL", "rougeLsum"):
            theirs = RougeScorer([name]).score(reference, prediction)
            ours = rouge.score(prediction, [reference], [name], stem=False)
            assert_equal(ours, theirs, (prediction, reference))


def test_several_references_pick_the_best_f_per_type_as_score_multi_does() -> None:
    rng = random.Random(7)
    scorer = RougeScorer(TYPES, use_stemmer=True)
    for _ in range(150):
        prediction = random_text(rng, WORDS[:20])
        references = [random_text(rng, WORDS[:20]) for _ in range(rng.randint(1, 4))]
        theirs = scorer.score_multi(references, prediction)
        assert_equal(rouge.score(prediction, references, TYPES), theirs, references)


def test_long_documents_score_as_rouge_score_does() -> None:
    rng = random.Random(3)
    words = [f"w{i}" for i in range(150)]  # above 64 tokens the bit-parallel LCS changes its path
    for _ in range(3):
        prediction, reference = (" ".join(rng.choices(words, k=300)) for _ in range(2))
        theirs = RougeScorer(TYPES).score(reference, prediction)
        ours = rouge.score(prediction, [reference], TYPES, stem=False)
        assert_equal(ours, theirs, "300 words")
