"""Every family of the library, rendered on rows made up in its data set's columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.data.templates import families, load_templates

ROWS = Path(__file__).parents[2] / "fixtures" / "library_rows"
FAMILIES = families()
LISTED = sorted(path.stem for path in ROWS.glob("*.jsonl"))
# A family older than the rule of eight phrasings.
SMALL = {"common-knowledge": 4}


def rows(family: str) -> list[dict[str, Any]]:
    lines = (ROWS / f"{family}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_every_family_has_rows_and_all_rows_have_a_family() -> None:
    assert LISTED == FAMILIES
    assert min(len(rows(family)) for family in FAMILIES) >= 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_large_enough_and_says_where_it_belongs(family: str) -> None:
    assert len(load_templates(family)) >= SMALL.get(family, 8)
    assert load_templates(family).cluster


@pytest.mark.parametrize("family", FAMILIES)
def test_every_template_applies_to_a_row_and_answers_it(family: str) -> None:
    for template in load_templates(family):
        results = [template.render(row) for row in rows(family)]
        applied = [result for result in results if result is not None]
        assert applied, template.name
        for result in applied:
            assert result.completion, template.name
            assert result.choices is None or result.completion in result.choices, template.name


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_of_a_row_differ(family: str) -> None:
    for row in rows(family):
        results = [template.render(row) for template in load_templates(family)]
        prompts = [" ".join(result.prompt.split()) for result in results if result]
        assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_of_the_template_language_is_left_over(family: str) -> None:
    for row in rows(family):
        given = json.dumps(row, ensure_ascii=False)
        for template in load_templates(family):
            result = template.render(row)
            text = result.prompt + result.completion if result else ""
            for residue in ("{{", "}}", "{%", "%}", "|||", "None", "  ", " \n"):
                assert residue not in text or residue in given, (template.name, residue)


@pytest.mark.parametrize(
    "family",
    [family for family in LISTED if isinstance(rows(family)[0].get("label"), int | float)],
)
@pytest.mark.parametrize("hidden", [-1, None])
def test_a_row_without_label_gets_no_answer(family: str, hidden: int | None) -> None:
    for template in load_templates(family):
        if "label" not in template.columns:
            continue
        for row in rows(family):
            result = template.render({**row, "label": hidden})
            assert result is None or not result.completion, template.name


def test_a_rationale_that_names_its_answer_does_not_name_it_twice() -> None:
    (row,) = [row for row in rows("aqua-rat") if "Answer:" in row["rationale"]]
    for template in load_templates("aqua-rat"):
        result = template.render(row)
        assert result is not None
        text = result.prompt + result.completion
        assert "Answer: C" not in text, template.name
        if template.metadata.rationale:
            assert result.completion.startswith("The speed is 120/2 = 60 km per hour.\nIn 5")
            assert result.completion.count("nswer") == 1, template.name


@pytest.mark.parametrize("product", ["Echo Dot (3rd Gen)", "a product of the shop"])
def test_a_products_name_is_no_part_of_a_sentence(product: str) -> None:
    for template in load_templates("review-writing"):
        result = template.render({**rows("review-writing")[0], "product": product})
        assert result is not None
        before, _, after = result.prompt.partition(product)
        assert before.rstrip()[-1:] in (":", "=", ".") or before.endswith("product is "), before
        assert not after.startswith(" "), after
