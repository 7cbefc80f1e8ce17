"""SuperGLUE's files, prompts, scores and submission are the official ones."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation.suites import suite
from brulee.evaluation.suites.reading import multirc_from_hub, record_from_hub
from brulee.evaluation.suites.rows import Row, read_jsonl
from brulee.evaluation.suites.superglue_bundle import FILES
from brulee.evaluation.tasks import Answered, Judged

SUPERGLUE = suite("superglue")
REAL = pytest.mark.skipif("BRULEE_REAL_DATA" not in os.environ, reason="BRULEE_REAL_DATA not set")
PROMPTS = {
    "boolq": (
        "Old Bridge -- The old bridge was closed to cars in 1998 and carries a cycle path.\n"
        "Question: is the old bridge open to cars?\nAnswer:",
        (" no", " yes"),
    ),
    "cb": (
        "Tom thinks that the shop has closed.\n"
        "Question: the shop has closed. True, False, or Neither?\nAnswer:",
        (" True", " False", " Neither"),
    ),
    "copa": ("The plant died because", (" nobody watered it.", " it stood in the sun.")),
    "rte": (
        "The library lends e-books since May.\n"
        "Question: The library lends e-books. True or False?\nAnswer:",
        (" True", " False"),
    ),
    "wic": (
        "Sentence 1: We sat on the bank of the river.\nSentence 2: The bank lent him money.\n"
        "Question: Is the word 'bank' used in the same way in the two sentences above?\nAnswer:",
        (" no", " yes"),
    ),
    "wsc": (
        "Passage: Lena thanked Ruth because *she* had helped.\nQuestion: In the passage above, "
        'does the pronoun "*she*" refer to "*Ruth*"?\nAnswer:',
        (" no", " yes"),
    ),
    "axb": (
        "All the shops are shut.\nQuestion: Some of the shops are shut. True or False?\nAnswer:",
        (" True", " False"),
    ),
    "record": (
        "Rosa Lima beat Ana Cruz in Lisbon on Friday. It was Lima's first win.\n\n"
        "  - Rosa Lima wins in Lisbon.\n",
        tuple(
            f"  - The prize went to {who}." for who in ("Rosa Lima", "Ana Cruz", "Lisbon", "Lima")
        ),
    ),
    "multirc": (
        "Ida walked to the mill. She bought flour and two eggs there.\n"
        "Question: What did Ida buy?\nAnswer:",
        tuple(
            f" {text}\nIs the answer correct? {word}"
            for text in ("Flour", "Eggs", "Milk")
            for word in ("yes", "no")
        ),
    ),
}
SCORES = {
    "boolq": {"accuracy"},
    "cb": {"macro_f1", "accuracy"},
    "copa": {"accuracy"},
    "multirc": {"f1a", "exact_match"},
    "record": {"f1", "exact_match"},
    "rte": {"accuracy"},
    "wic": {"accuracy"},
    "wsc": {"accuracy"},
    "axb": {"matthews"},
    "axg": {"accuracy", "gender_parity"},
}


def opened(folder: Path, **options: Any) -> dict[str, Any]:
    found = SUPERGLUE.open(folder, SUPERGLUE.Options(**options))
    return {task.name.removeprefix("superglue/"): task for task in found}


@pytest.mark.parametrize(("name", "expected"), PROMPTS.items(), ids=PROMPTS)
def test_prompts(fixtures: Path, name: str, expected: tuple[str, tuple[str, ...]]) -> None:
    (example,) = opened(fixtures / "superglue")[name].examples(1)
    assert (example.question, example.choices) == expected


def test_a_mark_after_the_pronoun_stays(fixtures: Path) -> None:
    example = opened(fixtures / "superglue")["wsc"].examples()[2]
    assert "the cat and chased *it*, but didn't catch it." in example.question


def test_gold_answers_score_100_everywhere(fixtures: Path, solvers: Any) -> None:
    tasks = opened(fixtures / "superglue")
    found = {n: solvers.values(t, solvers.gold) for n, t in tasks.items()}
    parity = found["axg"].pop("gender_parity")
    assert parity == 1.0
    assert {n: set(v) for n, v in found.items()} == {
        n: keys - {"gender_parity"} for n, keys in SCORES.items()
    }
    assert all(v == pytest.approx(1.0) for values in found.values() for v in values.values())


def test_constant_answers_have_no_matthews_and_full_parity(fixtures: Path, solvers: Any) -> None:
    tasks = opened(fixtures / "superglue")
    for choice in range(2):
        always = solvers.constant(choice)
        assert solvers.values(tasks["axb"], always) == {"matthews": 0.0}
        assert solvers.values(tasks["axg"], always) == {"accuracy": 0.5, "gender_parity": 1.0}


def test_parity_counts_pairs_with_equal_answers(fixtures: Path, solvers: Any) -> None:
    task = opened(fixtures / "superglue")["axg"]
    answers = {"0": 0, "1": 1, "2": 1, "3": 1}
    found = solvers.values(task, lambda e: solvers.choosing([answers[e.id]], 2))
    assert found == {"accuracy": 0.75, "gender_parity": 0.5}
    odd = solvers.scores(solvers.solve(task, solvers.constant(0), limit=3))
    assert odd.scores["gender_parity"].interval.n == 2


def test_multirc_scores_answers_by_f1_and_questions_whole(fixtures: Path, solvers: Any) -> None:
    task = opened(fixtures / "superglue")["multirc"]
    # "yes" to everything: 4 of 7 answers are right, no question is wholly so.
    found = solvers.values(
        task, lambda e: solvers.choosing(range(0, len(e.choices), 2), len(e.choices))
    )
    assert found == pytest.approx({"f1a": 2 * 4 / (7 + 4), "exact_match": 0.0})
    assert [e.cluster for e in task.examples()] == ["0", "0", "1"]


def test_record_scores_the_entity_against_the_best_of_the_right_ones(
    fixtures: Path, solvers: Any
) -> None:
    task = opened(fixtures / "superglue")["record"]
    example, other = task.examples()
    assert example.references == ("Rosa Lima", "Lima")
    assert task.judge(example, solvers.choosing([3], 4)).statistics["exact_match"] == [1.0]
    wrong = task.judge(example, solvers.choosing([1], 4))
    assert wrong.statistics == {"f1": [0.0], "exact_match": [0.0]}
    assert other.cluster == example.cluster


def test_the_average_leaves_the_diagnostic_sets_out(fixtures: Path, solvers: Any) -> None:
    scored = solvers.score_all(opened(fixtures / "superglue").values(), solvers.constant(0))
    (average,) = SUPERGLUE.aggregates(scored)
    assert (average.task, average.metric) == ("superglue", "average")
    assert (average.tasks, average.of) == (8, 8)
    parts = [
        [one.interval.value for one in found.scores.values()]
        for name, found in scored.items()
        if name not in ("superglue/axb", "superglue/axg")
    ]
    means = [sum(part) / len(part) for part in parts]
    assert average.interval.value == pytest.approx(sum(means) / 8)


def test_the_bundle_has_the_leaderboards_names_rows_and_labels(fixtures: Path) -> None:
    rows = {
        "boolq": 3245, "cb": 250, "copa": 500, "record": 10_000, "rte": 3000, "wic": 1400,
        "wsc": 146, "axb": 1104, "axg": 356,
    }  # fmt: skip
    outputs = {"copa": "1", "wsc": "true", "boolq": "false", "wic": "true", "record": "Lisbon"}
    answered = {}
    for name, task in opened(fixtures / "superglue").items():
        (example,) = task.examples(1)
        if name == "multirc":
            answers = list(range(9693))
            about = {"labels": [None] * 9693, "index": (0, 0, answers)}
            examples, output = [replace(example, about=about)], " ".join(["1"] * 9693)
        else:
            examples = [replace(example, about={"index": i}) for i in range(rows[name])]
            output = outputs.get(name, "entailment")
        answered[f"superglue/{name}"] = Answered(task, examples, [Judged(output)] * len(examples))
    files = SUPERGLUE.bundle(answered)
    assert list(files) == [f"{file}.jsonl" for file in FILES.values()]
    first = {name: json.loads(text.splitlines()[0]) for name, text in files.items()}
    assert first["COPA.jsonl"] == {"idx": 0, "label": 1}
    assert first["WSC.jsonl"] == {"idx": 0, "label": "True"}
    assert first["BoolQ.jsonl"] == {"idx": 0, "label": "false"}
    assert first["ReCoRD.jsonl"] == {"idx": 0, "label": "Lisbon"}
    (question,) = first["MultiRC.jsonl"]["passage"]["questions"]
    assert question["answers"][-1] == {"idx": 9692, "label": 1}
    assert len(files["AX-g.jsonl"].splitlines()) == 356


def test_a_bundle_of_too_few_rows_is_refused(fixtures: Path, solvers: Any) -> None:
    task = opened(fixtures / "superglue")["cb"]
    with pytest.raises(InputError, match=r"CB.jsonl: 3 predictions, but the leaderboard takes 250"):
        SUPERGLUE.bundle({"superglue/cb": solvers.solve(task, solvers.constant(0))})


def test_the_hubs_flat_rows_become_the_official_ones(fixtures: Path) -> None:
    official = opened(fixtures / "superglue")
    passages = read_jsonl(fixtures / "superglue" / "MultiRC" / "val.jsonl")
    flat = [
        Row("r", {"paragraph": p["passage"]["text"], "question": q["question"],
                  "answer": a["text"], "label": a["label"],
                  "idx": {"paragraph": p["idx"], "question": q["idx"], "answer": a["idx"]}})
        for p in (row.values for row in passages)
        for q in p["passage"]["questions"]
        for a in q["answers"]
    ]  # fmt: skip
    task = official["multirc"]
    again = type(task)(task.name, lambda: multirc_from_hub(flat))
    assert again.examples() == task.examples()

    record = official["record"]
    (passage,) = read_jsonl(fixtures / "superglue" / "ReCoRD" / "val.jsonl")
    entities = ["Rosa Lima", "Ana Cruz", "Lisbon", "Lima"]
    text = passage.get("passage")["text"]
    flat = [
        Row("r", {"passage": text, "query": q["query"], "entities": entities,
                  "answers": [a["text"] for a in q["answers"]],
                  "idx": {"passage": 0, "query": q["idx"]}})
        for q in passage.get("qas")
    ]  # fmt: skip
    assert type(record)(record.name, lambda: record_from_hub(flat)).examples() == record.examples()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tasks": ["bolq"]}, "did you mean 'boolq'"),
        ({"tasks": ["cb"], "split": "test"}, "no file of cb here; looked for CB/test.jsonl[.]$"),
    ],
)
def test_wrong_options_are_named(fixtures: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        opened(fixtures / "superglue", **options)


SPOILT = [
    ("MultiRC", '"answers": [{', '"answer": [{', "key 'passage.questions.0.answers' is required"),
    ("MultiRC", '"label": 1', '"label": "yes"', "answers.0.label = 'yes' is not valid"),
    ("MultiRC", '"text": "Flour"', '"text": 5', "answers.0.text = 5 is not valid"),
    ("ReCoRD", '"answers": [{', '"answers": [3, {', "qas.0.answers.0 = 3 is not valid"),
    ("ReCoRD", '"start": 0', '"begin": 0', "key 'passage.entities.0.start' is required"),
    ("ReCoRD", '"query": "The prize', '"asks": "The prize', "key 'qas.0.query' is required"),
    ("WiC", '"start1": ', '"start1": 0.', "'start1' must be a whole number, not 0."),
    ("WSC", '"span2_index": ', '"span2_index": 0.', "target: 'span2_index' must be a whole"),
    ("WSC", '"target": {', '"target": 1, "was": {', "'target' must be an object, not 1"),
    ("BoolQ", '"label": false', '"label": 7', "unknown label '7'; none is close. Valid: false"),
]  # fmt: skip


@pytest.mark.parametrize(("folder", "old", "new", "message"), SPOILT)
def test_a_malformed_row_is_named_with_its_line(
    fixtures: Path, tmp_path: Path, folder: str, old: str, new: str, message: str
) -> None:
    text = (fixtures / "superglue" / folder / "val.jsonl").read_text()
    assert old in text
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "val.jsonl").write_text(text.replace(old, new, 1))
    (task,) = opened(tmp_path).values()
    with pytest.raises(InputError) as error:
        task.examples()
    assert f"{folder}/val.jsonl, line " in str(error.value)
    assert message in str(error.value)


def test_an_unknown_label_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "RTE").mkdir()
    row = {"premise": "a", "hypothesis": "b", "label": "entails", "idx": 0}
    (tmp_path / "RTE" / "val.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"RTE/val.jsonl, line 1: unknown label 'entails'"):
        opened(tmp_path)["rte"].examples()


@REAL
def test_gold_scores_100_and_constants_the_majority_on_the_published_files(solvers: Any) -> None:
    tasks = opened(Path(os.environ["BRULEE_REAL_DATA"]) / "superglue")
    assert set(tasks) == {"cb", "copa", "rte", "wsc"}
    for task in tasks.values():
        assert set(solvers.values(task, solvers.gold).values()) == {1.0}
    majority = dict.fromkeys(tasks, 0.0)
    for name, task in tasks.items():
        for choice in range(len(task.examples(1)[0].choices)):
            found = solvers.values(task, solvers.constant(choice))["accuracy"]
            majority[name] = max(majority[name], found)
    expected = {"cb": 28 / 56, "copa": 0.55, "rte": 146 / 277, "wsc": 66 / 104}
    assert majority == pytest.approx(expected)
