"""Multiple choice: MMLU, HellaSwag, OpenbookQA, TruthfulQA."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from brulee.errors import InputError
from brulee.evaluation.suites.helm.instance import Instance, Instances
from brulee.evaluation.suites.helm.source import (
    Source,
    Split,
    count,
    find_file,
    inside,
    position,
    texts,
)
from brulee.evaluation.suites.rows import Row, read_csv, read_jsonl

_LETTERS: Final = ("A", "B", "C", "D")
_SOLVED_SHARE: Final = 0.2  # of TruthfulQA's questions, because it has only one file


# MMLU: {dev,val,test}/SUBJECT_{dev,val,test}.csv, rows question,A,B,C,D,letter without a header.


def _mmlu_files(folder: Path, subject: str) -> Instances:
    held = [split for split in ("val", "test") if (folder / split).is_dir()]
    if not held:
        raise InputError(
            f"{folder}: it has neither a folder val nor test, which hold MMLU's files."
        )

    def read(split: str) -> list[Instance]:
        file = find_file(folder / split, f"{subject}_{split}.csv")
        rows = read_csv(file, ("question", *_LETTERS, "answer"))
        return [_mmlu_instance(row, f"{split}/{i}") for i, row in enumerate(rows)]

    return Instances(read("dev"), [instance for split in held for instance in read(split)])


def _mmlu_instance(row: Row, id_: str) -> Instance:
    letter = row.text("answer")
    if letter not in _LETTERS:
        raise InputError(f"{row.place}: the answer is {letter!r}; it must be A, B, C or D.")
    options = tuple(row.text(name) for name in _LETTERS)
    return Instance(id_, row.text("question"), options, (_LETTERS.index(letter),))


def _mmlu_rows(split: Split, subject: str) -> Instances:
    del subject  # the data set's id names it

    def convert(name: str) -> list[Instance]:
        return [
            _option_instance(row, f"{name}/{i}", row.text("question"), texts(row, "choices"),
                             row.get("answer"))
            for i, row in enumerate(split(name))
        ]  # fmt: skip

    return Instances(convert("dev"), [*convert("validation"), *convert("test")])


MMLU = Source(("mmlu",), _mmlu_files, "cais/mmlu:{part}", _mmlu_rows)


# HellaSwag: hellaswag_{train,val}.jsonl with activity_label, ctx_a, ctx_b, endings, label.


def _hellaswag_files(folder: Path, part: str) -> Instances:
    del part
    solved = read_jsonl(find_file(folder, "hellaswag_train.jsonl"))
    asked = read_jsonl(find_file(folder, "hellaswag_val.jsonl"))
    return Instances(_hellaswag(solved), _hellaswag(asked))


def _hellaswag_rows(split: Split, part: str) -> Instances:
    del part
    return Instances(_hellaswag(split("train")), _hellaswag(split("validation")))


def _hellaswag(rows: Sequence[Row]) -> list[Instance]:
    instances = []
    for i, row in enumerate(rows):
        end = row.text("ctx_b")
        context = f"{row.text('ctx_a')} {end[:1].upper()}{end[1:]}"
        text = f"{row.text('activity_label')}: {context}"
        endings = texts(row, "endings")
        instances.append(_option_instance(row, str(i), text, endings, row.get("label")))
    return instances


HELLASWAG = Source(("hellaswag",), _hellaswag_files, "Rowan/hellaswag", _hellaswag_rows)


# OpenbookQA: {train,test}.jsonl with question.stem, question.choices[].{text,label}, answerKey.


def _openbookqa_files(folder: Path, part: str) -> Instances:
    del part
    main = ("", "Data/Main/", "OpenBookQA-V1-Sep2018/Data/Main/")
    solved, asked = (
        read_jsonl(find_file(folder, *(f"{place}{split}.jsonl" for place in main)))
        for split in ("train", "test")
    )
    return Instances(*([_openbookqa(r, i) for i, r in enumerate(rs)] for rs in (solved, asked)))


def _openbookqa(row: Row, number: int) -> Instance:
    numbers = count(row, "question", "choices")
    options = [str(inside(row, "question", "choices", k, "text")) for k in numbers]
    labels = [str(inside(row, "question", "choices", k, "label")) for k in numbers]
    stem = str(inside(row, "question", "stem"))
    return _option_instance(row, str(number), stem, options, _label(row, labels))


def _openbookqa_rows(split: Split, part: str) -> Instances:
    del part

    def convert(rows: Sequence[Row]) -> list[Instance]:
        instances = []
        for i, row in enumerate(rows):
            options = list(map(str, inside(row, "choices", "text")))
            answer = _label(row, list(map(str, inside(row, "choices", "label"))))
            stem = row.text("question_stem")
            instances.append(_option_instance(row, str(i), stem, options, answer))
        return instances

    return Instances(convert(split("train")), convert(split("test")))


def _label(row: Row, labels: Sequence[str]) -> int:
    key = row.text("answerKey")
    if key not in labels:
        raise InputError(f"{row.place}: answerKey is {key!r}; it must be {', '.join(labels)}.")
    return labels.index(key)


OPENBOOKQA = Source(("openbookqa",), _openbookqa_files, "allenai/openbookqa:main", _openbookqa_rows)


# TruthfulQA: TruthfulQA.csv with Question, Best Answer, Incorrect Answers (separated by ";").


def _truthfulqa_files(folder: Path, part: str) -> Instances:
    del part
    rows = read_csv(find_file(folder, "TruthfulQA.csv"))
    wrong = [row.text("Incorrect Answers").split(";") for row in rows]
    return _truthfulqa(rows, "Question", "Best Answer", wrong)


def _truthfulqa_rows(split: Split, part: str) -> Instances:
    del part
    rows = split("validation")
    wrong = [texts(row, "incorrect_answers") for row in rows]
    return _truthfulqa(rows, "question", "best_answer", wrong)


def _truthfulqa(
    rows: Sequence[Row], question: str, best: str, wrong: Sequence[Sequence[str]]
) -> Instances:
    instances = []
    for i, (row, others) in enumerate(zip(rows, wrong, strict=True)):
        right = _sentence(row.text(best))
        options = [*(_sentence(other) for other in others if other.strip()), right]
        # The correct option's position depends on its first letter, so that all positions occur.
        start = ord(right[0]) % len(options)
        turned = (*options[start:], *options[:start])
        at = (len(options) - 1 - start) % len(options)
        instances.append(Instance(str(i), row.text(question).strip(), turned, (at,)))
    cut = int(len(instances) * _SOLVED_SHARE)
    return Instances(instances[:cut], instances[cut:])


def _sentence(answer: str) -> str:
    stripped = answer.strip()
    return stripped if stripped.endswith(".") else f"{stripped}."


TRUTHFULQA = Source(
    ("truthfulqa", "truthful_qa"),
    _truthfulqa_files,
    "truthfulqa/truthful_qa:generation",
    _truthfulqa_rows,
)


def _option_instance(
    row: Row, id_: str, text: str, options: Sequence[str], answer: object
) -> Instance:
    return Instance(id_, text, tuple(options), (position(row, answer, len(options)),))
