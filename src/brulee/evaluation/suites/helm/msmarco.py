"""MS MARCO passage ranking: the regular track (RR@10), TREC 2019 deep learning (NDCG@10).

Files, tab-separated without headers, by MS MARCO's names or by HELM's:

    collection.tsv       passage_document.tsv        passage id, text
    queries.train.tsv    passage_train_queries.tsv   query id, text
    qrels.train.tsv      passage_train_qrels.tsv     query id, 0, passage id, relevance
    top.train.tsv        passage_train_topk.tsv      query id, passage id, rank

and the same three for the regular track (queries.dev.small.tsv, passage_regular_queries.tsv ...)
and for TREC (msmarco-test2019-queries.tsv, 2019qrels-pass.txt, top.test2019.tsv, passage_trec_...).

The passages of a query are the judged ones and the first `TOP` by BM25 (the rank).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from brulee.errors import InputError
from brulee.evaluation.suites.helm.instance import Instance, Instances
from brulee.evaluation.suites.helm.source import Source, find_file, reading_text

Track = Literal["regular", "trec"]
TOP: Final = 30  # BM25 passages to rank in addition to the judged ones
_SEED: Final = 1885
_POOL: Final = 1000  # training queries to draw shots from
_WRONG_RANKS: Final = range(11, 21)  # near misses: neither likely hits nor clearly irrelevant
_GOLD: Final[dict[Track, int]] = {"regular": 1, "trec": 2}  # the least relevance of an answer

_NAMES: Final[dict[str, tuple[tuple[str, str], tuple[str, str], tuple[str, str]]]] = {
    "train": (
        ("queries.train.tsv", "passage_train_queries.tsv"),
        ("qrels.train.tsv", "passage_train_qrels.tsv"),
        ("top.train.tsv", "passage_train_topk.tsv"),
    ),
    "regular": (
        ("queries.dev.small.tsv", "passage_regular_queries.tsv"),
        ("qrels.dev.small.tsv", "passage_regular_qrels.tsv"),
        ("top.dev.small.tsv", "passage_regular_topk.tsv"),
    ),
    "trec": (
        ("msmarco-test2019-queries.tsv", "passage_trec_queries.tsv"),
        ("2019qrels-pass.txt", "passage_trec_qrels.tsv"),
        ("top.test2019.tsv", "passage_trec_topk.tsv"),
    ),
}


@dataclass(frozen=True)
class _Queries:
    """The queries of a split: their text, judged passages and BM25 ranks, by id."""

    texts: Mapping[str, str]
    judged: Mapping[str, Mapping[str, int]]
    ranks: Mapping[str, Mapping[str, int]]
    gold: int

    def usable(self) -> list[str]:
        """The queries with an answer among their judged passages, and with ranks."""
        return [
            query
            for query in self.texts
            if query in self.ranks
            and any(r >= self.gold for r in self.judged.get(query, {}).values())
        ]


def _files(track: Track, folder: Path, part: str) -> Instances:
    del part
    train, valid = _queries(folder, "train", 1), _queries(folder, track, _GOLD[track])
    rng = random.Random(_SEED)
    solved = {query: _solved(train, query, rng) for query in _shuffled(train, rng)[:_POOL]}
    solved = {query: pair for query, pair in solved.items() if pair}
    asked = {query: _passages(valid, query) for query in valid.usable()}
    texts = _texts(folder, {p for ids in (*solved.values(), *asked.values()) for p in ids})
    return Instances(
        [_instance(train, query, ids, texts) for query, ids in solved.items()],
        [_instance(valid, query, ids, texts) for query, ids in asked.items()],
    )


def _queries(folder: Path, split: str, gold: int) -> _Queries:
    queries, qrels, top = (find_file(folder, *names) for names in _NAMES[split])
    judged: dict[str, dict[str, int]] = {}
    for place, (query, _, passage, relevance) in _cells(qrels, 4):
        judged.setdefault(query, {})[passage] = _number(relevance, place)
    ranks: dict[str, dict[str, int]] = {}
    for place, (query, passage, rank) in _cells(top, 3):
        ranks.setdefault(query, {})[passage] = _number(rank, place)
    texts = {query: text for _, (query, text) in _cells(queries, 2)}
    return _Queries(texts, judged, ranks, gold)


def _shuffled(queries: _Queries, rng: random.Random) -> list[str]:
    usable = queries.usable()
    rng.shuffle(usable)
    return usable


def _solved(queries: _Queries, query: str, rng: random.Random) -> list[str]:
    """The most relevant passage and the first near miss, in random order; empty without a miss."""
    judged, ranks = queries.judged[query], queries.ranks[query]
    best = max(judged, key=lambda passage: judged[passage])
    misses = [
        passage
        for passage, rank in ranks.items()
        if rank in _WRONG_RANKS and judged.get(passage, 0) < queries.gold
    ]
    pair = [best, *misses[:1]]
    rng.shuffle(pair)
    return pair if misses else []


def _passages(queries: _Queries, query: str) -> list[str]:
    first = [passage for passage, rank in queries.ranks[query].items() if rank <= TOP]
    return list(dict.fromkeys([*queries.judged[query], *first]))


def _instance(
    queries: _Queries, query: str, ids: Iterable[str], texts: Mapping[str, str]
) -> Instance:
    relevance = tuple(queries.judged[query].get(passage, 0) for passage in ids)
    right = tuple(i for i, grade in enumerate(relevance) if grade >= queries.gold)
    passages = tuple(texts[passage] for passage in ids)
    return Instance(query, queries.texts[query], passages, right, relevance)


def _texts(folder: Path, wanted: set[str]) -> dict[str, str]:
    """The texts of these passages, from a collection of nine million."""
    file = find_file(folder, "collection.tsv", "passage_document.tsv")
    found = {passage: text for _, (passage, text) in _cells(file, 2) if passage in wanted}
    missing = sorted(wanted - found.keys())
    if missing:
        raise InputError(f"{file}: it lacks {len(missing)} passages, such as {missing[0]}.")
    return found


def _cells(file: Path, columns: int) -> Iterator[tuple[str, list[str]]]:
    """Each line's place and cells; TREC's files separate cells by spaces."""
    with file.open(encoding="utf-8") as lines, reading_text(file):
        for number, line in enumerate(lines, start=1):
            bare = line.rstrip("\r\n")
            cells = bare.split("\t") if "\t" in bare else bare.split()
            if len(cells) != columns:
                raise InputError(
                    f"{file}, line {number}: {len(cells)} columns where {columns} are expected."
                )
            yield f"{file}, line {number}", cells


def _number(cell: str, place: str) -> int:
    if not cell.removeprefix("-").isdecimal():
        raise InputError(f"{place}: {cell!r} must be a whole number.")
    return int(cell)


MSMARCO_REGULAR = Source(("msmarco",), partial(_files, "regular"))
MSMARCO_TREC = Source(("msmarco",), partial(_files, "trec"))
