"""The items of suites as they are looked for in training rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from brulee.data.contamination import Index
from brulee.data.row_texts import row_texts
from brulee.data.rows import Rows
from brulee.data.words import words
from brulee.evaluation.suite_texts import suite_texts

FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_questions_stand_without_shots_and_options_also_apart() -> None:
    (found,) = suite_texts("mmlu", FIXTURES / "mmlu", {"subjects": "astronomy"})
    whole, apart, joined = found.forms
    assert len(found.units["mmlu/astronomy"]) == len(whole)
    assert whole.name == "mmlu/astronomy"
    first = next(iter(whole.rows))
    assert first["question"][0].startswith("The Moon's phases are caused by\nA. clouds\nB. the")
    assert "multiple choice questions" not in first["question"][0]
    options = next(iter(apart.rows))["choices"]
    assert options[:2] == ["clouds", "the angle between Sun and Moon seen from Earth"]
    (text,) = next(iter(joined.rows))["question"]
    assert text.startswith("The Moon's phases are caused by\nclouds\nthe angle between")


def test_a_question_with_its_choices_in_other_signs_is_found(tmp_path: Path) -> None:
    """As FLAN's templates write them."""
    (found,) = suite_texts("mmlu", FIXTURES / "mmlu", {"subjects": "astronomy"})
    forms = found.forms
    apart = list(forms[1].rows)
    texts = ["\n- ".join([f"{row['question'][0]}\nOPTIONS:", *row["choices"]]) for row in apart]
    train = Rows.of([{"text": text} for text in texts], "train")
    index = Index([row_texts("train", train)])
    for number, several in enumerate(zip(*map(index.search, forms), strict=True)):
        if len(words(texts[number])) >= 20:
            assert any(match.dirty for match in several)


def test_a_text_that_is_no_question_is_looked_for_once() -> None:
    ((prose,),) = [one.forms for one in suite_texts("bundled", None) if one.name == "plain-prose"]
    assert len(prose) == 60
    record = next(iter(prose.rows))
    assert (record["question"], record["answers"]) == ([], [])
    assert len(record["choices"]) == 1


@pytest.mark.parametrize("suite", ["glue", "superglue", "bigbench", "bbh"])
def test_every_suite_has_texts(suite: str) -> None:
    found = suite_texts(suite, FIXTURES / suite)
    assert found
    assert all(any(form.joined()) for one in found for form in one.forms)


def test_changed_items_of_helm_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "boolq").symlink_to(FIXTURES / "helm" / "boolq")
    (found,) = suite_texts("helm", tmp_path)
    (boolq,) = found.forms
    lines = (FIXTURES / "helm" / "boolq" / "dev.jsonl").read_text().splitlines()
    assert len(boolq) == len(lines)
