"""Which phrasings a test row is scored in: those that ask one question of all the rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from brulee.data.corpus import Corpus, open_corpus
from brulee.data.phrasings import alike, phrased, wording
from brulee.data.template import Template, TemplateMetadata
from brulee.recipe import recipe_from_dict


def template(name: str, **about: bool) -> Template:
    return Template(name, "{{ a }} ||| {{ b }}", None, TemplateMetadata(**about))


def test_inverted_and_reasoning_templates_ask_another_question() -> None:
    plain, other, unsaid = template("plain", original_task=True), template("other"), template("x")
    inverted, reasons = template("inv", original_task=False), template("cot", rationale=True)
    every = [plain, inverted, other, reasons, unsaid]
    assert alike(every, plain) == (plain, other, unsaid)
    assert alike(every, inverted) == (inverted,)
    assert alike(every, reasons) == (reasons,)


Asks = list[tuple[str, str, str | None]]


def opened(
    folder: Path, templates: Asks, hold_out: Sequence[str] = (), **evaluate: object
) -> Corpus:
    rows = [{"a": f"text {i}", "b": "yes" if i % 2 else "no", "c": i} for i in range(30)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = {
        name: {
            "name": name,
            "jinja": jinja,
            "answer_choices": choices,
            "metadata": {"original_task": name != "inverted"},
        }
        for name, jinja, choices in templates
    }
    (folder / "t.yaml").write_text(json.dumps({"dataset": "t", "templates": said}))
    data = {"source": str(folder / "rows.jsonl"), "templates": str(folder / "t.yaml")}
    data |= {"split": {"test": 0.5}}  # type: ignore[dict-item]
    if hold_out:
        data["hold_out_templates"] = list(hold_out)  # type: ignore[assignment]
    return open_corpus(recipe_from_dict({"data": data, "evaluate": evaluate}))


ASKS = [
    ("first", "{% if c > 4 %}{{ a }}?{% endif %} ||| {{ b }}", "yes ||| no"),
    ("some", "{% if c < 20 %}{{ a }}{% endif %} ||| {{ b }}", None),
    ("all", "{{ a }}! ||| {{ answer_choices[0] if b == 'yes' else answer_choices[1] }}", "1 ||| 0"),
    ("own", "{{ a }}: ||| {{ b }}", "{{ b }} ||| {{ c }}"),
]


def test_rows_are_those_of_the_first_phrasing_and_phrasings_those_of_all_rows(
    tmp_path: Path,
) -> None:
    corpus = opened(tmp_path, ASKS, phrasings="all")
    (test,) = corpus.tests
    assert test.every
    assert [t.name for t in test.templates] == ["first", "some", "all", "own"]
    task = corpus.tasks[test.path]
    found = phrased(task, test.rows, test.templates, None)
    assert found.rows == test.rows
    assert all(row > 4 for row in found.rows)
    assert [(p.template.name, p.labels) for p in found.phrasings] == [
        ("first", ("yes", "no")), ("all", ("1", "0")), ("own", None),
    ]  # fmt: skip
    assert found.left_out == {"some": sum(row < 20 for row in test.rows)}
    few = phrased(task, test.rows, test.templates, 3)
    assert few.rows == test.rows[:3]


def test_one_phrasing_is_the_first_alone(tmp_path: Path) -> None:
    (test,) = opened(tmp_path, ASKS).tests
    assert (test.every, [t.name for t in test.templates]) == (False, ["first"])
    (two,) = opened(tmp_path, ASKS, phrasings=2).tests
    assert (two.every, [t.name for t in two.templates]) == (True, ["first", "some"])


@pytest.mark.parametrize(
    ("phrasings", "asked"), [("all", ["all"]), (2, ["all"]), (1, ["all", "inverted"])]
)
def test_inverted_templates_are_not_among_unseen_phrasings_of_the_question(
    tmp_path: Path, phrasings: object, asked: list[str]
) -> None:
    asks = [*ASKS, ("inverted", "{{ b }} ||| {{ a }}", None)]
    held = ["all", "inverted"]
    *_, unseen = opened(tmp_path, asks, held, phrasings=phrasings).tests
    assert unseen.name == "rows/test-unseen-phrasings"
    assert (unseen.every, [t.name for t in unseen.templates]) == (False, asked)


def test_a_wording_is_of_the_texts_and_not_of_names_or_order() -> None:
    one, other = Template("a", "{{ x }} ||| y"), Template("b", "{{ x }}? ||| y", "y ||| n")
    found = wording([one, other])
    assert wording([other.called("c"), one]) == found
    assert wording([other, one], every=False) != wording([one, other], every=False)
    differing = [
        wording([one]),
        wording([one, other], shots=2),
        wording([one, Template("b", "{{ x }}? ||| y", "y ||| no")]),
        wording([one, Template("b", "{{ x }}! ||| y", "y ||| n")]),
    ]
    assert len({found, *differing}) == 5
