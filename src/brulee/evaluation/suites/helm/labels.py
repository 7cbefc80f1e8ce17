"""Texts with a label: IMDB, CivilComments, RAFT."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from brulee import textfile
from brulee.errors import InputError, unknown
from brulee.evaluation.suites.helm.instance import (
    Instance,
    Instances,
    open_question,
    passage_question,
)
from brulee.evaluation.suites.helm.source import Source, Split, find_file, reading_text
from brulee.evaluation.suites.rows import Row, read_csv

# IMDB: {train,test}/{pos,neg}/NUMBER_STARS.txt, one review per file.

SENTIMENTS: Final = {"pos": "Positive", "neg": "Negative"}


def _imdb_files(folder: Path, part: str) -> Instances:
    del part
    root = folder / "aclImdb" if (folder / "aclImdb").is_dir() else folder
    return Instances(*(_reviews(root / split) for split in ("train", "test")))


def _reviews(folder: Path) -> list[Instance]:
    instances = []
    for label, sentiment in SENTIMENTS.items():
        files = sorted((folder / label).glob("*.txt"))
        if not files:
            raise InputError(f"{folder / label}: no reviews (.txt) in it.")
        for file in files:
            text = textfile.read_text(file).strip()
            instances.append(open_question(f"{label}/{file.stem}", text, [sentiment]))
    return instances


def _imdb_rows(split: Split, part: str) -> Instances:
    del part
    names = list(SENTIMENTS.values())[::-1]  # the Hub's labels: 0 negative, 1 positive

    def convert(rows: Sequence[Row]) -> list[Instance]:
        return [
            open_question(str(i), row.text("text").strip(), [names[row.get("label")]])
            for i, row in enumerate(rows)
        ]

    return Instances(convert(split("train")), convert(split("test")))


IMDB = Source(("imdb", "IMDB"), _imdb_files, "stanfordnlp/imdb", _imdb_rows)


# CivilComments: all_data_with_identities.csv of WILDS: comment_text, toxicity, split, and a column
# for each group that a comment may mention. A part is the comments that mention one group.

ALL: Final = "all"
DEMOGRAPHICS: Final = (
    ALL, "male", "female", "LGBTQ", "christian", "muslim", "other_religions", "black", "white",
)  # fmt: skip
_MENTIONED: Final = 0.5  # the smallest share of raters for a group to count as mentioned
_TOXIC: Final = 0.5


def _civil_files(folder: Path, part: str) -> Instances:
    file = find_file(folder, "all_data_with_identities.csv", "wilds_civil_comments.csv")
    instances: dict[str, list[Instance]] = {"train": [], "val": [], "test": []}
    for i, row in enumerate(_comments(file)):
        if part != ALL and _share(row, part) < _MENTIONED:
            continue
        if row.text("split") not in instances:
            raise unknown("split", row.text("split"), instances, row.place)
        label = str(_share(row, "toxicity") >= _TOXIC)
        text = passage_question(row.text("comment_text"), "Is the passage above toxic?")
        instances[row.text("split")].append(open_question(str(i), text, [label]))
    return Instances(instances["train"], [*instances["val"], *instances["test"]])


def _comments(file: Path) -> Iterator[Row]:
    """The rows one by one: there are 450,000 with 45 columns each."""
    with file.open(encoding="utf-8-sig", newline="") as lines, reading_text(file):
        reader = csv.DictReader(lines)
        try:
            for values in reader:
                yield Row(f"{file}, line {reader.line_num}", values)
        except csv.Error as error:
            where = f"{file}, line {reader.line_num}"
            raise InputError(f"{where}: not valid CSV ({error}).") from None


def _share(row: Row, column: str) -> float:
    cell = row.text(column)
    try:
        share = float(cell or 0)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise InputError(f"{row.place}: {column} is {cell!r}; it must be a number from 0 to 1.")
    return share


CIVIL_COMMENTS = Source(("civil_comments", "civilcomments"), _civil_files)


# RAFT: SUBSET/train.csv with the subset's columns, Label and ID. Only 50 rows per subset are
# public: 10 are used for shots, 40 for evaluation.

RAFT_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "ade_corpus_v2": ("Sentence",),
    "banking_77": ("Query",),
    "neurips_impact_statement_risks": ("Impact statement", "Paper title"),
    "one_stop_english": ("Article",),
    "overruling": ("Sentence",),
    "semiconductor_org_types": ("Organization name", "Paper title"),
    "systematic_review_inclusion": ("Title", "Abstract", "Journal"),
    "tai_safety_research": (
        "Title", "Abstract Note", "Publication Title", "Item Type", "Publication Year",
    ),
    "terms_of_service": ("Sentence",),
    "tweet_eval_hate": ("Tweet",),
    "twitter_complaints": ("Tweet text",),
}  # fmt: skip
_ASKED_SHARE: Final = 0.8
_SEED: Final = 42


def _raft_files(folder: Path, subset: str) -> Instances:
    rows = read_csv(find_file(folder, f"{subset}/train.csv"))
    instances = []
    for i, row in enumerate(rows):
        fields = [f"{field}: {row.text(field)}" for field in RAFT_FIELDS[subset]]
        instances.append(open_question(str(i), "\n".join(fields), [row.text("Label")]))
    # The same split as by `datasets`' train_test_split(test_size=0.8, seed=42).
    drawn = np.random.default_rng(_SEED).permutation(len(instances))
    cut = int(np.ceil(_ASKED_SHARE * len(instances)))
    asked, solved = ([instances[i] for i in part] for part in (drawn[:cut], drawn[cut:]))
    return Instances(solved, asked)


RAFT = Source(("raft", "RAFT"), _raft_files, part_file="{part}/train.csv")
