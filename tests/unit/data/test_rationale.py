"""Which templates reason before they answer, and how they are picked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.data.rationale import select
from brulee.data.template import Template
from brulee.data.templates import families, load_templates, read_templates
from brulee.errors import InputError

ROWS = Path(__file__).parents[2] / "fixtures" / "library_rows"
# The column that the reasoning of a family is in, and the same row with another reasoning.
REASONING: dict[str, tuple[str, Any]] = {
    "gsm8k": ("answer", "By quite another way.\n#### {answer}"),
    "aqua-rat": ("rationale", "By quite another way."),
    "ecqa": ("taskB", "By quite another way."),
    "strategyqa": ("facts", ["By quite another way."]),
    "math-word-problems": ("Equation", "( 7.0 + 7.0 )"),
    "boolean-logic": ("input", "True or False or True and not ( False ) is"),
}
ENDING = "So the answer is "


def rows(family: str) -> list[dict[str, Any]]:
    lines = (ROWS / f"{family}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def otherwise(family: str, row: dict[str, Any]) -> dict[str, Any]:
    """The row with another reasoning and the same answer."""
    column, value = REASONING[family]
    if isinstance(value, str):
        value = value.replace("{answer}", str(row.get("answer", "")).split("####")[-1].strip())
    return {**row, column: value}


def completion(template: Template, row: dict[str, Any]) -> str:
    rendered = template.render(row)
    assert rendered is not None, template.name
    return rendered.completion


def test_only_the_families_with_reasoning_have_marked_templates() -> None:
    marked = {
        family
        for family in families()
        if any(t.metadata.rationale is not None for t in load_templates(family))
    }
    assert marked == set(REASONING)
    clusters = {f for f in families() if load_templates(f).cluster == "chain-of-thought"}
    assert clusters == marked


@pytest.mark.parametrize("family", REASONING)
def test_a_marked_template_reasons_on_every_line_but_the_last(family: str) -> None:
    for template in select(load_templates(family), "with"):
        for row in rows(family):
            *reasoning, answer = completion(template, row).splitlines()
            assert answer.startswith(ENDING), template.name
            assert "".join(reasoning).strip(), template.name


@pytest.mark.parametrize("family", REASONING)
def test_a_marked_template_reads_the_reasoning_in_its_completion(family: str) -> None:
    for template in select(load_templates(family), "with"):
        for row in rows(family):
            changed = completion(template, otherwise(family, row))
            assert changed != completion(template, row), template.name
            assert changed.splitlines()[-1] == completion(template, row).splitlines()[-1]


@pytest.mark.parametrize("family", REASONING)
def test_an_unmarked_template_answers_at_once(family: str) -> None:
    for template in select(load_templates(family), "without"):
        for row in rows(family):
            answer = completion(template, row)
            assert ENDING not in answer, template.name
            assert "\n" not in answer, template.name
            assert completion(template, otherwise(family, row)) == answer, template.name


@pytest.mark.parametrize("family", REASONING)
def test_with_without_and_inverted_are_the_whole_family(family: str) -> None:
    templates = load_templates(family)
    reasoning, answering = select(templates, "with"), select(templates, "without")
    inverted = [t for t in templates if t.metadata.original_task is False]
    assert min(len(reasoning), len(answering), len(inverted)) >= 2
    assert {*reasoning, *answering, *inverted} == {*templates}
    assert len(reasoning) + len(answering) + len(inverted) == len(templates)
    assert (reasoning.cluster, reasoning.sources) == (templates.cluster, templates.sources)
    assert reasoning.digest != answering.digest != templates.digest


# Writing reviews from their stars is a family of its own, of inverted templates only.
@pytest.mark.parametrize("family", [f for f in families() if f != "review-writing"])
@pytest.mark.parametrize("rationale", ["any", "without"])
def test_the_first_template_which_scores_answers_the_task_itself(
    family: str, rationale: Any
) -> None:
    first = select(load_templates(family), rationale).templates[0]
    assert first.metadata.original_task is True


def test_any_keeps_the_set_as_it_is() -> None:
    templates = load_templates("gsm8k")
    assert select(templates, "any") is templates


def test_a_family_without_reasoning_says_what_it_has() -> None:
    templates = load_templates("dialogsum")
    inverted = sum(t.metadata.original_task is False for t in templates)
    message = (
        "rationale with: no template of dialogsum is left; it has 0 that reason .* "
        f"{len(templates) - inverted} that only answer, and {inverted} inverted"
    )
    with pytest.raises(InputError, match=message):
        select(templates, "with")


def test_a_lone_template_of_the_other_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"step-by-step-cot is left; it has 1 that reason"):
        select(load_templates("gsm8k/step-by-step-cot"), "without")
    with pytest.raises(InputError, match="and 1 inverted"):
        select(load_templates("gsm8k/problem-with-result"), "with")


def test_an_inline_template_only_answers() -> None:
    inline = load_templates({"jinja": "{{a}} ||| {{b}}"})
    assert select(inline, "without").templates == inline.templates


def test_a_mark_that_is_neither_true_nor_false_is_refused() -> None:
    text = "templates:\n  a:\n    jinja: '{{x}} ||| {{y}}'\n    metadata: {rationale: maybe}\n"
    with pytest.raises(InputError, match="rationale is true or false, not 'maybe'"):
        read_templates(text, "mine", "mine.yaml")
