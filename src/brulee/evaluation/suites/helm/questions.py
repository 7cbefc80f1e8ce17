"""Questions about a passage: BoolQ, NarrativeQA, QuAC."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from brulee.errors import InputError
from brulee.evaluation.suites.helm.instance import (
    Instance,
    Instances,
    open_question,
    passage_question,
)
from brulee.evaluation.suites.helm.source import (
    Source,
    Split,
    count,
    find_file,
    inside,
    texts,
)
from brulee.evaluation.suites.rows import Row, read_csv, read_json, read_jsonl

_UNANSWERABLE: Final = "CANNOTANSWER"
# HELM also accepts these answers instead of QuAC's marker.
_NO_ANSWER: Final = ("Not enough information", "Cannot answer", "Do not know")


# BoolQ: {train,dev}.jsonl with passage, question, answer (true or false).


def _boolq_files(folder: Path, part: str) -> Instances:
    del part
    solved = read_jsonl(find_file(folder, "train.jsonl"))
    asked = read_jsonl(find_file(folder, "dev.jsonl", "val.jsonl"))
    return Instances(_boolq(solved), _boolq(asked))


def _boolq_rows(split: Split, part: str) -> Instances:
    del part
    return Instances(_boolq(split("train")), _boolq(split("validation")))


def _boolq(rows: Sequence[Row]) -> list[Instance]:
    instances = []
    for i, row in enumerate(rows):
        answer = row.get("answer", "label")
        if not isinstance(answer, bool):
            raise InputError(f"{row.place}: the answer is {answer!r}; it must be true or false.")
        question = f"{row.text('question').strip().capitalize()}?"
        text = passage_question(row.text("passage"), question)
        instances.append(open_question(str(i), text, ["Yes" if answer else "No"]))
    return instances


BOOLQ = Source(("boolq", "BoolQ"), _boolq_files, "google/boolq", _boolq_rows)


# NarrativeQA: qaps.csv (set, document_id, question, answer1, answer2), summaries.csv (set,
# document_id, summary). One question per document, drawn at random.


def _narrativeqa_files(folder: Path, part: str) -> Instances:
    del part
    summaries_file = find_file(folder, "third_party/wikipedia/summaries.csv", "summaries.csv")
    summaries = {row.text("document_id"): row.text("summary") for row in read_csv(summaries_file)}
    qaps_file = find_file(folder, "qaps.csv")
    found: dict[str, list[tuple[str, str, str, list[str]]]] = {}
    for row in read_csv(qaps_file):
        document = row.text("document_id")
        if document not in summaries:
            raise InputError(f"{row.place}: {summaries_file} has no document {document!r}.")
        answers = [row.text("answer1"), row.text("answer2")]
        question = (document, summaries[document], row.text("question"), answers)
        found.setdefault(row.text("set"), []).append(question)
    return _narrativeqa([found.get(split, []) for split in ("train", "valid", "test")])


def _narrativeqa_rows(split: Split, part: str) -> Instances:
    del part

    def convert(row: Row) -> tuple[str, str, str, list[str]]:
        answers = [str(answer["text"]) for answer in row.get("answers")]
        summary = str(inside(row, "document", "summary", "text"))
        document = str(inside(row, "document", "id"))
        return document, summary, str(inside(row, "question", "text")), answers

    return _narrativeqa([list(map(convert, split(s))) for s in ("train", "validation", "test")])


def _narrativeqa(splits: Sequence[Sequence[tuple[str, str, str, list[str]]]]) -> Instances:
    rng = random.Random(0)
    drawn = []
    for questions in splits:
        by_document: dict[str, list[Instance]] = {}
        for document, summary, question, answers in questions:
            asked = question.strip() if question.strip().endswith("?") else f"{question.strip()}?"
            instance = open_question(document, passage_question(summary.strip(), asked), answers)
            by_document.setdefault(document, []).append(instance)
        drawn.append([rng.choice(instances) for instances in by_document.values()])
    return Instances(drawn[0], [*drawn[1], *drawn[2]])


NARRATIVEQA = Source(
    ("narrativeqa", "narrative_qa"), _narrativeqa_files, "deepmind/narrativeqa", _narrativeqa_rows
)


# QuAC: {train,val}_v0.2.json, data[] with title, background, section_title and one paragraph of
# context and qas[]. A dialogue is truncated at a random question, which becomes the item.


def _quac_files(folder: Path, part: str) -> Instances:
    del part
    rng = random.Random(0)
    files = [find_file(folder, f"{split}_v0.2.json", f"{split}.json") for split in ("train", "val")]
    solved, asked = (
        [_quac(row, rng, i) for i, row in enumerate(_dialogues(file))] for file in files
    )
    return Instances(solved, asked)


def _dialogues(file: Path) -> Iterable[Row]:
    whole = read_json(file)
    for i in count(whole, "data"):
        yield Row(f"{file}, dialogue {i + 1}", inside(whole, "data", i))


def _quac(row: Row, rng: random.Random, number: int) -> Instance:
    context = str(inside(row, "paragraphs", 0, "context")).removesuffix(f" {_UNANSWERABLE}")
    questions = len(count(row, "paragraphs", 0, "qas"))
    if questions < 3:
        raise InputError(f"{row.place}: it has {questions} questions; a dialogue has at least 3.")
    asked = rng.randint(3, questions) - 1
    turns = [
        f"Question: {inside(row, 'paragraphs', 0, 'qas', k, 'question')}\n"
        f"Answer: {inside(row, 'paragraphs', 0, 'qas', k, 'orig_answer', 'text')}\n\n"
        for k in range(asked - 1)  # HELM leaves out the turn directly before the question
    ]
    turn = ("paragraphs", 0, "qas", asked)
    given = count(row, *turn, "answers")
    answers = [str(inside(row, *turn, "answers", k, "text")) for k in given]
    question = str(inside(row, *turn, "question"))
    return _quac_instance(row, number, context, turns, question, answers)


def _quac_instance(
    row: Row, number: int, context: str, turns: Sequence[str], question: str, answers: list[str]
) -> Instance:
    text = (
        f"Title: {row.text('title', 'wikipedia_page_title')}\n\n"
        f"Background: {row.text('background')}\n\n"
        f"Section: {row.text('section_title')}\n"
        f"Passage: {context}\n\n{''.join(turns)}Question: {question}"
    )
    if not answers:
        raise InputError(f"{row.place}: the question {question!r} has no answer.")
    if set(answers) == {_UNANSWERABLE}:
        answers = [_UNANSWERABLE, *_NO_ANSWER]
    return open_question(str(number), text, answers)


def _quac_rows(split: Split, part: str) -> Instances:
    del part
    rng = random.Random(0)

    def convert(rows: Sequence[Row]) -> list[Instance]:
        instances = []
        for i, row in enumerate(rows):
            questions = texts(row, "questions")
            asked = rng.randint(3, len(questions)) - 1
            turns = [
                f"Question: {questions[k]}\nAnswer: {inside(row, 'orig_answers', 'texts', k)}\n\n"
                for k in range(asked - 1)
            ]
            answers = list(map(str, inside(row, "answers", "texts", asked)))
            context = row.text("context").removesuffix(f" {_UNANSWERABLE}")
            instances.append(_quac_instance(row, i, context, turns, questions[asked], answers))
        return instances

    solved = convert(split("train"))
    return Instances(solved, convert(split("validation")))


QUAC = Source(("quac",), _quac_files, "allenai/quac", _quac_rows)
