"""A recipe may rank a template's answer choices beside what the model writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

RUN = Path("runs/recipe")
STARS = {
    "prompt": "{{ body }} How many stars?",
    "completion": "{{ answer_choices[stars - 1] }}",
    "answer_choices": "one ||| two ||| three",
}
ROWS = [{"body": f"Order {i} came {i % 3} days late.", "stars": i % 3 + 1} for i in range(24)]


@pytest.fixture
def reviews(at: Any) -> Any:
    at.rows(ROWS)
    at.recipe["data"] |= {"templates": STARS, "split": {"test": 0.25}}
    return at


def lines(who: str) -> list[dict[str, Any]]:
    (file,) = (RUN / "eval" / who).glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def scores() -> dict[tuple[str, str], dict[str, Any]]:
    found = json.loads((RUN / "results.json").read_text())
    return {(one["who"], one["metric"]): one for one in found["scores"]}


def test_choices_are_ranked_before_and_after_and_stand_in_the_report(
    reviews: Any, brulee: Any
) -> None:
    done = brulee(*reviews.run(evaluate__metrics=["accuracy", "ranked_accuracy"]))
    assert done.code == 0, done.err
    assert "accuracy of ranked choices" in " ".join(done.out.split())
    for who in ("base", "tuned"):
        answers = lines(who)
        found = scores()[who, "ranked_accuracy"]
        assert found["n"] == len(answers)
        assert found["value"] == pytest.approx(
            sum(one["scores"]["ranked_accuracy"] for one in answers) / len(answers)
        )
        assert all(one["reply"]["choices"] == ["one", "two", "three"] for one in answers)
        assert not list((RUN / "eval" / who).glob("*.spare"))
    assert "accuracy of ranked choices" in (RUN / "report.html").read_text()


def test_a_finished_run_may_be_asked_for_ranked_choices(
    reviews: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brulee.inference.engine import Engine

    assert brulee(*reviews.run(evaluate__metrics=["accuracy"])).code == 0
    written = [one["output"] for one in lines("tuned")]
    asked: list[Any] = []
    monkeypatch.setattr(Engine, "generate", lambda _, prompts, *__, **___: asked.extend(prompts))
    done = brulee(*reviews.run(evaluate__metrics=["accuracy", "ranked_macro_f1"]))
    assert done.code == 0, done.err
    assert not asked
    assert [one["output"] for one in lines("tuned")] == written
    assert ("tuned", "ranked_macro_f1") in scores()


@pytest.mark.slow
def test_choices_are_ranked_on_validation_rows_of_a_sweep(reviews: Any, brulee: Any) -> None:
    pytest.importorskip("optuna")
    reviews.recipe["data"]["split"] = {"test": 0.25, "validation": 0.25}
    recipe = reviews.write(evaluate__metrics=["ranked_accuracy"])
    done = brulee(
        "sweep", recipe, "--set", "method.rank=1,2", "--objective", "ranked_accuracy", "--json"
    )
    assert done.code == 0, done.err


def test_completions_on_the_way_are_shown_and_not_ranked(reviews: Any, brulee: Any) -> None:
    reviews.recipe["data"]["split"] = {"test": 0.25, "validation": 0.25}
    recipe = reviews.write(
        train__generate_every=3, train__generate_rows=2, evaluate__metrics=["ranked_accuracy"]
    )
    done = brulee("train", recipe)
    assert done.code == 0, done.err
    assert "not scored, as there are no metrics" in done.err


def test_a_template_without_choices_is_refused_before_anything_is_loaded(
    at: Any, brulee: Any
) -> None:
    done = brulee(*at.run(evaluate__metrics=["ranked_accuracy"]))
    assert done.code == 2
    assert done.errors == [
        "error: recipe.yaml, line 5: ranked_accuracy compares answer choices, and "
        "template 'inline', under which rows is scored, has none; add answer_choices to it, or "
        "give the task metrics of its own."
    ]
    assert not RUN.exists()


def test_texts_alone_do_not_say_which_choice_is_likeliest(at: Any, brulee: Any) -> None:
    Path("p.txt").write_text("yes\n")
    done = brulee(
        "score", "--predictions", "p.txt", "--references", "p.txt", "--metrics", "ranked_accuracy"
    )
    assert done.code == 2
    assert "ranked_accuracy asks a model for the likeliest answer choice" in done.errors[0]
