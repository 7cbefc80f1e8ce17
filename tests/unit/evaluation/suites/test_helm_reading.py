"""HELM's files: what each scenario takes from a row, the Hub's rows, and what is malformed."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation.suites.helm.instance import Instances
from brulee.evaluation.suites.helm.scenarios import SCENARIOS
from brulee.evaluation.suites.rows import Row

DATA = Path(__file__).parents[3] / "fixtures" / "helm"


def read(name: str, part: str = "", data: Path = DATA) -> Instances:
    return SCENARIOS[name].source.open(data, part)


def hub(name: str, splits: Mapping[str, Sequence[dict[str, Any]]], part: str = "") -> Instances:
    rows = SCENARIOS[name].source.rows
    assert rows is not None
    return rows(lambda s: [Row(f"{s}, row {i}", row) for i, row in enumerate(splits[s])], part)


def test_a_natural_question_keeps_distinct_answers_without_markup() -> None:
    found = read("naturalquestions-open")
    assert [i.answers for i in found.asked] == [
        ("61\xa0metres", "61"), ("1894", "In 1894"), ("the Ister", "Ister"), ("nine", "nine bells"),
    ]  # fmt: skip
    assert found.solved[0].answers == ("Anna Lindt",)
    assert found.solved[0].text.startswith(
        "Passage: The ceiling was painted by Anna Lindt in 1704."
    )
    # A question without a short answer is left out, and the numbers go on without a gap.
    assert all("puffins" not in i.text for part in (found.solved, found.asked) for i in part)


def test_one_question_a_story_with_both_answers() -> None:
    found = read("narrativeqa")
    assert len(found.solved) == 5
    assert [i.id for i in found.asked] == ["d6", "d7"]
    assert found.asked[1].text.endswith("Question: What does Emily plant?")
    assert found.asked[1].answers == ("An orchard", "an orchard of fruit trees")


def test_what_quac_cannot_answer_may_be_said_in_other_words() -> None:
    assert read("quac").asked[1].answers == (
        "CANNOTANSWER", "Not enough information", "Cannot answer", "Do not know",
    )  # fmt: skip


def test_truthful_answers_stand_in_turns_and_a_fifth_is_solved() -> None:
    found = read("truthfulqa")
    assert (len(found.solved), len(found.asked)) == (2, 8)
    cherry = found.solved[0]
    assert cherry.answer == "It passes through you."
    assert set(cherry.answers) == {"It passes through you.", "A tree grows in you.",
                                   "You die of it."}  # fmt: skip
    assert len({i.right[0] for i in (*found.solved, *found.asked)}) > 1


def test_passages_are_the_judged_and_the_first_by_rank() -> None:
    bear, honey = read("msmarco-regular").asked
    assert bear.answers[0].startswith("A spectacled bear")
    assert (len(bear.answers), bear.right, bear.relevance) == (4, (0,), (1, 0, 0, 0))
    assert len(honey.answers) == 2  # rank 31 is one too many
    (island,) = read("msmarco-trec").asked  # the query without judgements is left out
    assert (island.right, island.relevance) == ((0,), (3, 1, 0, 0))
    for pair in read("msmarco-regular").solved:
        assert len(pair.answers) == 2
        assert len(pair.right) == 1


def test_comments_of_a_group_and_their_label() -> None:
    every, male = read("civil-comments", "all"), read("civil-comments", "male")
    assert [i.answer for i in every.asked] == ["False", "True", "False", "True"]
    assert len(male.asked) == 2
    assert every.asked[0].text.endswith("Question: Is the passage above toxic?")


def test_long_articles_are_cut_and_broken_ones_are_no_example() -> None:
    found = read("xsum")
    assert len(found.solved) == 5
    assert len(read("cnn-dm").asked[1].text.split()) == 512


def test_raft_is_drawn_as_datasets_draws_it() -> None:
    datasets = pytest.importorskip("datasets")
    parts = datasets.Dataset.from_dict({"i": list(range(20))}).train_test_split(0.8, seed=42)
    found = read("raft", "overruling")
    assert [int(i.id) for i in found.asked] == parts["test"]["i"][:]
    assert [int(i.id) for i in found.solved] == parts["train"]["i"][:]


def test_the_hubs_rows_say_the_same() -> None:
    question = {"question": "is it", "passage": "It is.", "answer": True}
    assert hub("boolq", {"train": [question], "validation": [question]}).asked[0].text == (
        "It is.\nQuestion: Is it?"
    )
    swag = {"activity_label": "A", "ctx_a": "b", "ctx_b": "c", "endings": ["d", "e"], "label": "1"}
    assert hub("hellaswag", {"train": [], "validation": [swag]}).asked[0].right == (1,)
    book = {
        "question_stem": "s",
        "choices": {"text": ["x", "y"], "label": ["A", "B"]},
        "answerKey": "B",
    }
    assert hub("openbookqa", {"train": [], "test": [book]}).asked[0].answer == "y"
    truth = {"question": "q", "best_answer": "No", "incorrect_answers": ["Yes", "Maybe."]}
    assert hub("truthfulqa", {"validation": [truth] * 5}).asked[0].answer == "No."
    mmlu = {"question": "q", "choices": ["a", "b", "c", "d"], "answer": 3}
    splits = {"dev": [mmlu], "validation": [mmlu], "test": [mmlu]}
    assert [i.id for i in hub("mmlu", splits, "anatomy").asked] == ["validation/0", "test/0"]
    story = {
        "document": {"id": "7", "summary": {"text": "Once."}},
        "question": {"text": "When?"},
        "answers": [{"text": "Once"}, {"text": "once"}],
    }
    splits = {"train": [], "validation": [story], "test": []}
    assert hub("narrativeqa", splits).asked[0].answers == ("Once", "once")
    dialogue = {
        "wikipedia_page_title": "T", "background": "B", "section_title": "S",
        "context": "C CANNOTANSWER", "questions": ["a?", "b?", "c?"],
        "answers": {"texts": [["1"], ["2"], ["3", "3"]]},
        "orig_answers": {"texts": ["1", "2", "3"]},
    }  # fmt: skip
    assert hub("quac", {"train": [], "validation": [dialogue]}).asked[0] == type(
        read("quac").asked[0]
    )("0", "Title: T\n\nBackground: B\n\nSection: S\nPassage: C\n\nQuestion: a?\nAnswer: 1\n\n"
      "Question: c?", ("3",), (0,))  # fmt: skip
    review = {"text": " Good. ", "label": 1}
    assert hub("imdb", {"train": [], "test": [review]}).asked[0].answer == "Positive"
    article = {"article": "a b", "highlights": "c\nd"}
    news = hub("cnn-dm", {"train": [], "validation": [], "test": [article]})
    assert news.asked[0].answers == ("c d",)


def test_what_is_not_on_the_hub_says_so() -> None:
    with pytest.raises(InputError, match="raft is not on the Hub; --data must name its folder"):
        SCENARIOS["raft"].source.open(None, "overruling")


def spoil(tmp_path: Path, file: str, old: str, new: str) -> Path:
    folder = file.split("/")[0]
    shutil.copytree(DATA / folder, tmp_path / folder)
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    return tmp_path


SPOILT = [
    ("boolq", "", "boolq/dev.jsonl", "false", '"no"', "dev.jsonl, line 1: the answer is 'no'"),
    ("mmlu", "abstract_algebra", "mmlu/test/abstract_algebra_test.csv", ",D", ",E",
     "test.csv, line 1: the answer is 'E'"),
    ("hellaswag", "", "hellaswag/hellaswag_val.jsonl", '"label": 1', '"label": 7',
     "line 1: the answer is 7; it must be from 0 to 3"),
    ("openbookqa", "", "openbookqa/test.jsonl", '"answerKey": "B"', '"answerKey": "X"',
     "line 1: answerKey is 'X'; it must be A, B, C, D"),
    ("narrativeqa", "", "narrativeqa/qaps.csv", "d6", "d9", "has no document 'd9'"),
    ("quac", "", "quac/val_v0.2.json", '"qas"', '"questions"',
     "dialogue 1: there is no 'paragraphs.0.qas'"),
    ("naturalquestions-open", "", "natural_questions/nq-dev-00.jsonl", '"start_byte": 67',
     '"start_byte": null', "annotations.0.short_answers.0 has no byte offsets"),
    ("naturalquestions-closed", "", "natural_questions/nq-dev-00.jsonl", "annotations", "notes",
     "line 1: there is no 'annotations'"),
    ("msmarco-regular", "", "msmarco/qrels.dev.small.tsv", "\t1\n", "\n",
     "line 1: 3 columns where 4 are expected"),
    ("msmarco-regular", "", "msmarco/qrels.dev.small.tsv", "\t1\n", "\t--1\n",
     "line 1: '--1' must be a whole number"),
    ("msmarco-regular", "", "msmarco/collection.tsv", "4\tA spec", "99\tA spec",
     "lacks 1 passages, such as 4"),
    ("civil-comments", "all", "civil_comments/all_data_with_identities.csv", ",0.83,", ",much,",
     "line 9: toxicity is 'much'"),
    ("civil-comments", "all", "civil_comments/all_data_with_identities.csv", ",0.83,", ",nan,",
     "line 9: toxicity is 'nan'; it must be a number from 0 to 1"),
    ("civil-comments", "all", "civil_comments/all_data_with_identities.csv", ",test,", ",tset,",
     "unknown split 'tset'; did you mean 'test'"),
    ("raft", "overruling", "raft/overruling/train.csv", "Sentence,", "Text,",
     "no column 'Sentence'"),
    ("cnn-dm", "", "cnn_dailymail/test.jsonl", "highlights", "summary",
     "test.jsonl, line 1: 'highlights' must be a text"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "part", "file", "old", "new", "message"), SPOILT)
def test_a_malformed_file_is_named_with_its_line(
    tmp_path: Path, name: str, part: str, file: str, old: str, new: str, message: str
) -> None:
    with pytest.raises(InputError) as error:
        read(name, part, spoil(tmp_path, file, old, new))
    assert message in str(error.value)


def test_a_field_beyond_the_limit_is_named(tmp_path: Path) -> None:
    file = "civil_comments/all_data_with_identities.csv"
    before = csv.field_size_limit(1000)  # of the process; others may have raised it
    try:
        with pytest.raises(InputError, match=r"line 8: not valid CSV \(field larger"):
            read("civil-comments", "all", spoil(tmp_path, file, ",0.83,", f",{'8' * 1100},"))
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize(
    ("name", "part", "file"),
    [
        ("msmarco-regular", "", "msmarco/collection.tsv"),
        ("civil-comments", "all", "civil_comments/all_data_with_identities.csv"),
        ("imdb", "", "imdb/test/pos/0_9.txt"),
    ],
)
def test_a_file_in_another_encoding_is_named(
    tmp_path: Path, name: str, part: str, file: str
) -> None:
    folder = file.split("/")[0]
    shutil.copytree(DATA / folder, tmp_path / folder)
    with (tmp_path / file).open("ab") as spoilt:
        spoilt.write("café".encode("latin-1"))
    with pytest.raises(InputError, match=rf"{re.escape(Path(file).name)}: .* is not UTF-8 text"):
        read(name, part, tmp_path)


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "natural_questions"
    folder.mkdir()
    (folder / "nq-dev-00.jsonl.gz").write_bytes(gzip.compress(b"{}\n")[:11])
    with pytest.raises(InputError, match=r"nq-dev-00\.jsonl\.gz: corrupt or truncated gzip"):
        read("naturalquestions-open", "", tmp_path)
    (folder / "nq-dev-00.jsonl.gz").write_bytes(gzip.compress(b"\xff\n"))
    with pytest.raises(InputError, match=r"nq-dev-00\.jsonl\.gz: byte 0 is not UTF-8 text"):
        read("naturalquestions-open", "", tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "quac").mkdir()
    with pytest.raises(InputError, match=r"no file train_v0.2.json or train.json"):
        read("quac", "", tmp_path)
    (tmp_path / "natural_questions").mkdir()
    with pytest.raises(InputError, match=r"no file nq-dev-00\.jsonl"):
        read("naturalquestions-open", "", tmp_path)
    (tmp_path / "quac" / "train_v0.2.json").write_text(json.dumps([1]))
    (tmp_path / "quac" / "val_v0.2.json").write_text(json.dumps({"data": []}))
    with pytest.raises(InputError, match="a JSON object is expected"):
        read("quac", "", tmp_path)
