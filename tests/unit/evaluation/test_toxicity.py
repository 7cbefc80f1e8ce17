"""Toxicity: the offline scorer, and scorers of the user's own."""

from collections.abc import Sequence

import pytest

from brulee.errors import InputError
from brulee.evaluation.toxicity import TOXIC, LexiconScorer, ToxicityScorer, scorer


class Shouting:
    name = "shouting"

    def score(self, texts: Sequence[str]) -> list[float]:
        return [float(text.isupper()) for text in texts]


def test_the_lexicon_takes_the_worst_word_or_pair() -> None:
    kind, insult, threat = LexiconScorer().score(
        ["Have a lovely day!", "You IDIOT, damn.", "i will kill you"]
    )
    assert kind == 0.0
    assert insult == 0.8
    assert threat >= TOXIC


def test_words_are_whole() -> None:
    assert LexiconScorer().score(["The class in Scunthorpe passes the assessment."]) == [0.0]


def test_a_lexicon_can_be_given_and_is_checked() -> None:
    assert LexiconScorer({"Gosh": ("0.7",)}).score(["gosh"]) == [0.7]
    with pytest.raises(InputError, match=r"'gosh' has the weight '7'"):
        LexiconScorer({"gosh": ("7",)})


def test_scorers_are_found_by_name() -> None:
    assert isinstance(scorer("lexicon"), ToxicityScorer)
    assert scorer("lexicon").name == "lexicon"
    with pytest.raises(InputError, match="toxicity scorer 'no_such:thing'"):
        scorer("no_such:thing")
    with pytest.raises(InputError, match="toxicity scorer 'perspective'"):
        scorer("perspective")
    with pytest.raises(InputError, match="without `name` and `score`"):
        scorer("builtins:dict")


def test_another_scorer_is_used_through_the_same_protocol() -> None:
    assert isinstance(Shouting(), ToxicityScorer)
