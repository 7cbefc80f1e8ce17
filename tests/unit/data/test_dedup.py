"""Near-duplicates: found whatever the spelling, and only above the threshold."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterable

import pytest

from brulee.data import dedup
from brulee.data import shingles as reading
from brulee.data.dedup import near_duplicates
from brulee.data.union_find import UnionFind


def shingles(text: str) -> frozenset[str]:
    words = text.split()
    return frozenset(" ".join(words[i : i + 5]) for i in range(len(words) - 4))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right)


def text(seed: int, words: int = 80) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(5_000)}" for _ in range(words)]


def test_copies_with_another_word_case_and_punctuation_are_found() -> None:
    words = text(0)
    changed = [*words[:79], "another"]
    texts = [" ".join(text(1)), " ".join(words), ", ".join(changed).upper(), " ".join(text(2))]
    ((i, j, similarity),) = near_duplicates(texts)
    assert (i, j) == (1, 2)
    assert similarity == pytest.approx(75 / 77)


def test_the_similarity_is_exact_and_the_threshold_is_kept() -> None:
    words = text(0)
    texts = [" ".join(words), " ".join([*words[:70], *text(9, 10)])]
    exact = 66 / (76 * 2 - 66)
    assert jaccard(*map(shingles, texts)) == pytest.approx(exact)
    assert near_duplicates(texts, threshold=0.8) == []
    assert near_duplicates(texts, threshold=0.7) == [(0, 1, pytest.approx(exact))]


def test_every_pair_of_a_cluster_is_found_among_many() -> None:
    originals = [text(seed) for seed in range(60)]
    copies = [[*words[:40], "x", *words[41:]] for words in originals[:20]]
    texts = [" ".join(words) for words in originals + copies]
    found = {(i, j) for i, j, _ in near_duplicates(texts)}
    assert found == {(i, 60 + i) for i in range(20)}


def test_the_clusters_are_those_of_every_pair_compared() -> None:
    draw = random.Random(4)
    words = [text(seed) for seed in range(20)]
    for _ in range(280):
        copied = list(draw.choice(words))
        copied[draw.randrange(len(copied))] = "changed"
        words.append(copied)
    texts = [" ".join(w) for w in words]
    sets = [shingles(t) for t in texts]
    pairs = itertools.combinations(range(len(texts)), 2)
    near = [(i, j) for i, j in pairs if jaccard(sets[i], sets[j]) >= 0.8]
    links = near_duplicates(texts)
    assert clusters(len(texts), [(i, j) for i, j, _ in links]) == clusters(len(texts), near)
    assert all(s == pytest.approx(jaccard(sets[i], sets[j])) for i, j, s in links)
    assert len(links) < len(texts) < len(near)


def clusters(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    joined = UnionFind(count)
    for i, j in links:
        joined.join(i, j)
    return joined.roots().tolist()


def test_a_preamble_that_all_texts_share_is_no_quadratic_trap() -> None:
    preamble = " ".join(text(0, 20))
    texts = [f"{preamble} {' '.join(text(seed, 6))}" for seed in range(1, 3_001)]
    texts.append(f"{texts[1_700]} again")
    started = time.process_time()
    assert [(i, j) for i, j, _ in near_duplicates(texts)] == [(1_700, 3_000)]
    assert time.process_time() - started < 10


@pytest.mark.parametrize("preamble", ["", " ".join(text(0, 20))])
def test_texts_too_many_to_keep_are_read_again_and_give_the_same_links(
    monkeypatch: pytest.MonkeyPatch, preamble: str
) -> None:
    words = [text(seed) for seed in range(1, 90)]
    changed = [[*one[:30], "x", *one[31:]] for one in words[:30]]
    texts = [f"{preamble} {' '.join(one)}" for one in [*words, *changed, words[0], ["no"], ["no"]]]
    kept = near_duplicates(texts)
    monkeypatch.setattr(dedup, "_MOST_KEPT", 500)
    monkeypatch.setattr(reading, "MOST_WORDS", 300)
    assert near_duplicates(texts) == kept
    assert len(kept) == 32


@pytest.mark.parametrize("copies", [0, 3])
def test_few_texts_have_the_links_of_many(monkeypatch: pytest.MonkeyPatch, copies: int) -> None:
    texts = [" ".join(text(seed)) for seed in range(20)]
    texts += [f"{texts[i]} again" for i in range(copies)]
    few = near_duplicates(texts)
    monkeypatch.setattr(dedup, "_FEW", 0)
    assert few == near_duplicates(texts)
    assert len(few) == copies


def test_few_texts_that_agree_nowhere_are_not_compared_band_by_band(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dedup, "_agreeing", None)
    assert near_duplicates([" ".join(text(seed)) for seed in range(20)]) == []


def test_texts_without_spaces_are_compared_by_letter() -> None:
    chinese = "我昨天在书店买了一本关于中国历史的书然后回家看了三个小时"
    assert len(near_duplicates([chinese, chinese + "了", "今天天气很好我们一起去公园散步吧"])) == 1


def test_lone_surrogates_and_null_bytes_are_text_like_any_other() -> None:
    odd = "one two \ud800 three\x00 four five six seven eight nine ten"
    assert near_duplicates([odd, odd, "something else that is not at all the same"]) == [
        (0, 1, 1.0)
    ]


def test_texts_of_fewer_than_five_words_are_linked_only_if_they_read_the_same() -> None:
    assert near_duplicates(["Yes,  sir!", "yes, sir!", "yes sir", "", "..."]) == [(0, 1, 1.0)]
    assert near_duplicates(["What is 5 - 3?", "What is 5 + 3?"]) == []
    assert near_duplicates(["no", "no no no no no"]) == []
    assert near_duplicates([]) == []


def test_a_threshold_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="threshold"):
        near_duplicates(["a"], threshold=0)
