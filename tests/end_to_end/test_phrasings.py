"""A test row may be scored in several phrasings: the mean, and how far they lie apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from brulee.reporting import results

RUN, STRAIGHT = Path("runs/recipe"), Path("runs/straight")
ROWS = [{"body": f"Order {i} came {i % 3} days late.", "stars": i % 3 + 1} for i in range(24)]
ANSWER = "{{ answer_choices[stars - 1] }}"
FAMILY = {
    "in words": ("{{ body }} How many stars?", "one ||| two ||| three"),
    "in digits": ("Stars of this order, 1 to 3: {{ body }}", "1 ||| 2 ||| 3"),
    "as a mark": ("{{ body }} Mark it.", "poor ||| fair ||| good"),
    "now and then": ("{% if stars != 2 %}{{ body }} Good?{% endif %}", "no ||| so ||| yes"),
    "inverted": ("A review with {{ stars }} stars:", None),
}
ASKED = {"metrics": ["ranked_accuracy"], "generation": {"max_new_tokens": 4}, "resamples": 100}


@pytest.fixture
def reviews(at: Any) -> Any:
    at.rows(ROWS)
    templates = {
        name: {
            "name": name,
            "jinja": f"{prompt} ||| {ANSWER if choices else '{{ body }}'}",
            "answer_choices": choices,
            "metadata": {"original_task": name != "inverted"},
        }
        for name, (prompt, choices) in FAMILY.items()
    }
    family = {"dataset": "stars", "templates": templates}
    Path("stars.yaml").write_text(yaml.safe_dump(family, sort_keys=False))
    at.recipe["data"] |= {"templates": "stars.yaml", "split": {"test": 0.5}}
    return at


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests every call of the engine was given."""
    from brulee.inference.engine import Engine

    found: list[int] = []
    for name in ("generate", "loglikelihood"):
        original = getattr(Engine, name)

        def counted(self: Engine, of: Any, *rest: Any, call: Any = original, **named: Any) -> Any:
            found.append(len(of))
            return call(self, of, *rest, **named)

        monkeypatch.setattr(Engine, name, counted)
    return found


def run(at: Any, brulee: Any, *more: object, **evaluate: Any) -> Any:
    done = brulee(*at.run(evaluate=ASKED | evaluate), *more)
    assert done.code == 0, done.err
    return done


def lines(who: str = "tuned", folder: Path = RUN, task: str = "rows-test") -> list[dict[str, Any]]:
    text = (folder / "eval" / who / f"{task}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_row_is_asked_in_every_phrasing_of_its_question(reviews: Any, brulee: Any) -> None:
    done = run(reviews, brulee, phrasings="all")
    assert "rows/test: not scored under template 'now and then', which applies to" in " ".join(
        done.err.split()
    )
    answers = lines()
    ids = {answer["id"] for answer in answers}
    under = {name: [a for a in answers if a["phrasing"] == name] for name in FAMILY}
    assert {name for name, of in under.items() if of} == {"in words", "in digits", "as a mark"}
    assert all({a["id"] for a in of} == ids for of in under.values() if of)
    assert {a["references"][0] for a in under["in digits"]} <= {"1", "2", "3"}
    found = results.read(RUN)
    (spread,) = found.phrasings
    assert spread.names == ("in words", "in digits", "as a mark")
    for who in ("base", "tuned"):
        means = [
            sum(a["scores"]["ranked_accuracy"] for a in lines(who) if a["phrasing"] == name)
            / len(ids)
            for name in spread.names
        ]
        assert getattr(spread, who).scores == pytest.approx(means)
        score = found.score(who, "rows/test", "ranked_accuracy")
        assert score is not None
        assert (score.value, score.n) == (pytest.approx(sum(means) / 3), len(ids))
    assert spread.low <= spread.difference <= spread.high
    page = (RUN / "report.html").read_text()
    assert "How much the phrasing matters" in page
    assert "mean of 3 phrasings" in " ".join(done.out.split())
    assert "in digits: after" in page
    card = (RUN / "adapter/README.md").read_text()
    assert "| rows/test, mean of 3 phrasings | ranked_accuracy |" in card


def test_more_phrasings_ask_only_for_what_is_missing(
    reviews: Any, brulee: Any, once: Any, asked: list[int]
) -> None:
    run(reviews, once)
    first = {who: lines(who) for who in ("base", "tuned")}
    assert {a["phrasing"] for a in first["base"]} == {"in words"}
    asked.clear()
    run(reviews, brulee, phrasings=2)
    choices = 3 * len(first["base"])
    assert [count for count in asked if count] == [choices, choices]  # of base and tuned
    for who, answers in first.items():
        assert lines(who)[: len(answers)] == answers
    asked.clear()
    run(reviews, brulee)
    assert not any(asked)
    assert lines() == first["tuned"]
    run(reviews, brulee, phrasings=2)
    assert not any(asked), "what was set aside is taken up again"


def test_a_killed_scoring_goes_on_where_it_was(
    reviews: Any, brulee: Any, once: Any, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    import brulee.evaluation.answering as answering

    metrics = ["ranked_accuracy", "exact_match"]
    run(reviews, once, "--folder", STRAIGHT, phrasings="all", metrics=metrics)
    asked.clear()
    append, left = answering.append, [30]

    def killed(out: Any, answer: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        append(out, answer)

    with monkeypatch.context() as broken:
        broken.setattr(answering, "append", killed)
        changed = reviews.run(evaluate=ASKED | {"phrasings": "all", "metrics": metrics})
        assert brulee(*changed).code != 0
    assert 0 < len(lines("base")) < len(lines("base", STRAIGHT)) * 2
    assert brulee("resume", RUN).code == 0
    for who in ("base", "tuned"):
        assert lines(who) == lines(who, STRAIGHT)
    assert results.read(RUN).phrasings == results.read(STRAIGHT).phrasings


def test_phrasings_with_labels_of_their_own_are_each_judged_by_them(
    reviews: Any, once: Any
) -> None:
    run(reviews, once, phrasings="all", metrics=["ranked_macro_f1", "rouge1", "bleu"])
    found = results.read(RUN)
    macro = next(one for one in found.phrasings if one.metric == "ranked_macro_f1")
    score = found.score("tuned", "rows/test", "ranked_macro_f1")
    assert score is not None
    assert score.value == pytest.approx(sum(macro.tuned.scores) / 3)
    assert {one.metric for one in found.phrasings} == {"ranked_macro_f1", "rouge1", "bleu"}


def test_unseen_phrasings_are_compared_too(reviews: Any, brulee: Any, once: Any) -> None:
    reviews.recipe["data"]["hold_out_templates"] = ["in digits", "as a mark"]
    run(reviews, once, phrasings="all", metrics=["ranked_macro_f1"])
    (unseen,) = results.read(RUN).phrasings
    assert unseen.task == "rows/test-unseen-phrasings"
    assert unseen.names == ("in digits", "as a mark")
    done = brulee(*reviews.run(evaluate=ASKED | {"metrics": ["ranked_macro_f1"]}))
    assert done.code == 2
    assert "Set evaluate.phrasings to all" in done.errors[0]
    assert "'in digits' has others than ['one', 'two', 'three']" in done.errors[0]


def test_a_limit_counts_rows_and_fewer_phrasings_are_said(reviews: Any, brulee: Any) -> None:
    done = run(reviews, brulee, phrasings=9, limit=2)
    assert "rows/test: evaluate.phrasings = 9, and it has 4 phrasings of its question." in " ".join(
        done.err.split()
    )
    assert len({a["id"] for a in lines()}) == 2
    assert results.read(RUN).scores[0].n == 2


def test_means_over_phrasings_are_not_mixed_with_single_ones(
    reviews: Any, brulee: Any, once: Any
) -> None:
    run(reviews, once)
    run(reviews, once, "--folder", STRAIGHT, phrasings="all")
    shown = " ".join(brulee("compare", RUN, STRAIGHT).out.split())
    assert "straight, mean of 3 phrasings" in shown
    assert "Over phrasings Worst Quartiles" in shown
    board = brulee("leaderboard", RUN, STRAIGHT, "--json").json
    assert "rows/test [3 phrasings]" in json.dumps(board)
    reviews.recipe["data"]["hold_out_templates"] = ["as a mark"]
    run(reviews, once, "--folder", "runs/two", phrasings="all")
    reviews.recipe["data"]["hold_out_templates"] = ["in digits"]
    run(reviews, once, "--folder", "runs/others", phrasings="all")
    shown = " ".join(brulee("compare", "runs/two", "runs/others").out.split())
    assert "two, mean of 2 phrasings (A)" in shown
    assert "A: in words, in digits; B: in words, as a mark." in shown
    board = brulee("leaderboard", "runs/two", "runs/others", "--json").json
    assert {score["task"] for score in board["scores"]} == {
        "rows/test-unseen-phrasings",
        "rows/test [2 phrasings] [with 'in digits']",
        "rows/test [2 phrasings] [with 'as a mark']",
    }
    dirty = brulee("data", "contamination", STRAIGHT / "recipe.yaml", "--run", STRAIGHT, "--json")
    assert dirty.code == 0, dirty.err
    (whole,) = [one for one in dirty.json["scores"] if one["items"] == "all"]
    score = results.read(STRAIGHT).score("tuned", "rows/test", "ranked_accuracy")
    assert score is not None
    assert whole["tuned"]["value"] == pytest.approx(score.value)
    assert whole["tuned"]["n"] == score.n


def test_contamination_refuses_answers_in_other_phrasings(
    reviews: Any, brulee: Any, once: Any
) -> None:
    reviews.recipe["data"]["hold_out_templates"] = ["as a mark"]
    run(reviews, once, phrasings="all")
    reviews.recipe["data"]["hold_out_templates"] = ["in digits"]
    other = reviews.write("other.yaml")
    done = brulee("data", "contamination", other, "--run", RUN)
    assert done.code == 2
    assert "it answered rows/test under templates 'in words', 'in digits'" in done.errors[0]
    assert "this recipe has 'in words', 'as a mark'" in done.errors[0]


def test_a_lone_unseen_phrasing_is_judged_by_its_own_labels(reviews: Any, once: Any) -> None:
    reviews.recipe["data"]["hold_out_templates"] = ["in digits"]
    run(reviews, once, metrics=["ranked_macro_f1", "ranked_accuracy"])
    pairs = [(a["output"], a["references"][0]) for a in lines(task="rows-test-unseen-phrasings")]
    labels = sorted({right for _, right in pairs})
    assert labels == ["1", "2", "3"]
    each = [
        2 * pairs.count((k, k)) / (sum(a == k for a, _ in pairs) + sum(b == k for _, b in pairs))
        for k in labels
    ]
    score = results.read(RUN).score("tuned", "rows/test-unseen-phrasings", "ranked_macro_f1")
    assert score is not None
    assert score.value == pytest.approx(sum(each) / 3)
    assert score.value > 0


def test_contamination_takes_some_of_a_runs_tasks(reviews: Any, brulee: Any, once: Any) -> None:
    own = reviews.recipe["data"] | {"name": "one"}
    other = own | {"name": "two", "templates": {"jinja": "{{ body }} ||| {{ stars }}"}}
    other |= {"metrics": ["exact_match"]}
    reviews.recipe["data"] = [other, own]
    run(reviews, once, phrasings="all")
    reviews.recipe["data"] = own
    some = brulee("data", "contamination", reviews.write("some.yaml"), "--run", RUN, "--json")
    assert some.code == 0, some.err
    assert {(one["task"], one["metric"]) for one in some.json["scores"]} == {
        ("one/test", "ranked_accuracy")
    }


@pytest.mark.parametrize("wrong", [0, "al", 1.5])
def test_what_is_no_number_of_phrasings_is_refused(reviews: Any, brulee: Any, wrong: Any) -> None:
    done = brulee(*reviews.run(evaluate__phrasings=wrong))
    assert done.code == 2
    assert f"evaluate.phrasings = {wrong!r} is not valid: it should be" in done.errors[0]


def test_a_phrasing_without_choices_is_named_before_anything_is_asked(
    reviews: Any, brulee: Any
) -> None:
    text = Path("stars.yaml").read_text().replace("answer_choices: poor ||| fair ||| good", "")
    Path("stars.yaml").write_text(
        text.replace("Mark it. ||| " + ANSWER, "Mark it. ||| {{ stars }}")
    )
    done = brulee(*reviews.run(evaluate=ASKED | {"phrasings": "all"}))
    assert done.code == 2
    assert "template 'as a mark', under which rows is scored, has none" in done.errors[0]


@pytest.mark.parametrize("phrasings", [1, "all"])
def test_texts_edited_under_the_same_names_are_told(
    reviews: Any, brulee: Any, once: Any, phrasings: int | str
) -> None:
    run(reviews, once, phrasings=phrasings)
    run(reviews, once, "--folder", STRAIGHT, phrasings=phrasings)
    for command in ("compare", "leaderboard"):
        assert "same texts" not in brulee(command, RUN, STRAIGHT).out
    family = Path("stars.yaml")
    family.write_text(family.read_text().replace("How many stars?", "How many of five stars?"))
    run(reviews, once, "--folder", "runs/edited", phrasings=phrasings)
    shown = " ".join(brulee("compare", RUN, STRAIGHT, "runs/edited").out.split())
    assert "rows/test was asked in different texts" in shown
    assert ": recipe, straight | edited." in shown
    shown = " ".join(brulee("leaderboard", RUN, "runs/edited").out.split())
    assert "Asked in different texts" in shown
    read = results.read(RUN)
    results.write(read.model_copy(update={"wordings": {}}), RUN)
    for command in ("compare", "leaderboard"):
        assert "same texts" not in brulee(command, RUN, "runs/edited").out
