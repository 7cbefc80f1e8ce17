import numpy as np
import pytest

from brulee.data import ngrams
from brulee.data.ngrams import Grams, Texts, Vocabulary, covered, windows


def learned(*texts: str) -> tuple[Vocabulary, Texts]:
    vocabulary = Vocabulary()
    return vocabulary, next(vocabulary.learn(enumerate(texts), 1_000))


def test_windows_cross_no_boundary() -> None:
    _, texts = learned("a b c", "", "d e")
    assert windows(texts.words, 2).tolist() == [0, 1, 5]
    assert windows(texts.words, 4).tolist() == []
    assert windows(texts.words, 99).tolist() == []


def test_positions_belong_to_their_rows() -> None:
    vocabulary = Vocabulary()
    (texts,) = vocabulary.learn([(3, "a b"), (3, "c"), (7, "d e")], 1_000)
    assert texts.owner_of(np.array([0, 1, 3, 5, 6])).tolist() == [3, 3, 3, 7, 7]


def test_chunks_hold_whole_rows() -> None:
    chunks = [*Vocabulary().learn([(3, "a b"), (3, "c"), (7, "d e"), (8, ""), (9, "a")], 3)]
    assert [chunk.owners.tolist() for chunk in chunks] == [[3, 3], [7], [8, 9]]
    assert Texts.joined(chunks).words.tolist() == [2, 3, 0, 4, 0, 5, 6, 0, 0, 2, 0]


def test_some_texts_are_chosen_and_others_joined() -> None:
    _, texts = learned("a b", "", "c", "d e")
    chosen = texts.chosen(np.array([False, True, False, True]))
    assert (chosen.words.tolist(), chosen.starts.tolist()) == ([0, 5, 6, 0], [0, 1])
    assert chosen.owners.tolist() == [1, 3]
    none = texts.chosen(np.zeros(4, bool))
    assert (none.words.tolist(), none.starts.tolist()) == ([], [])
    joined = Texts.joined([none, chosen, texts])
    assert joined.starts.tolist() == [0, 1, *(texts.starts + 4)]


def test_an_unknown_word_matches_nothing_not_even_another_unknown_word() -> None:
    vocabulary, texts = learned("a b c")
    read = vocabulary.read([(0, "a b x"), (1, "y b c"), (2, "a b c")])
    grams = Grams(texts.words, 2, windows(texts.words, 2))
    found = grams.find(read.words, windows(read.words, 2))
    assert found.tolist() == [0, -1, -1, 1, 0, 1]


def test_the_first_place_is_found_and_repeats_are_marked() -> None:
    vocabulary, texts = learned("a b", "c d", "a b", "a b")
    grams = Grams(texts.words, 2, windows(texts.words, 2))
    read = vocabulary.read([(0, "a b")])
    assert int(grams.repeats.sum()) == 2
    assert len(grams.firsts()) == 2
    assert grams.firsts().find(read.words, np.array([0])).tolist() == [0]
    assert grams.all(read.words, 0).tolist() == [0, 6, 9]


@pytest.mark.parametrize("first", [False, True])
def test_a_collision_of_hashes_is_no_match(monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    """With one hash for everything, only the words can tell n-grams apart."""

    def same(words_T: np.ndarray, size: int, positions: np.ndarray) -> np.ndarray:
        return np.zeros(len(positions), dtype=np.uint64)

    monkeypatch.setattr(ngrams, "hashes_of", same)
    vocabulary, texts = learned("a b", "c d", "a b", "e f")
    grams = Grams(texts.words, 2, windows(texts.words, 2))
    grams = grams.firsts() if first else grams
    read = vocabulary.read([(0, "e f"), (1, "c d"), (2, "b a"), (3, "a b"), (4, "x y")])
    assert grams.find(read.words, windows(read.words, 2)).tolist() == [9, 3, -1, 0, -1]


def test_covered_marks_every_place_of_overlapping_runs_once() -> None:
    assert covered(8, np.array([1, 2, 5]), 2).tolist() == [
        *[False, True, True, True, False, True, True, False]
    ]
    assert covered(3, np.array([], dtype=np.int64), 2).tolist() == [False] * 3


def test_segments_are_the_runs_between_boundaries() -> None:
    _, texts = learned("a b c", "", "d e")
    masked = texts.without(np.array([False, True, False, False, False, False, False, False]))
    starts, lengths = masked.segments()
    assert (starts.tolist(), lengths.tolist()) == ([0, 2, 5], [1, 1, 2])
