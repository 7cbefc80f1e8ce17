"""The data page holds what was found, escaped, and loads nothing."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brulee.data.corpus import open_corpus
from brulee.data.encoding import Encoder
from brulee.data.inspection import Framing, Inspection, inspect
from brulee.data.inspection_lengths import Cut, lengths
from brulee.recipe import recipe_from_dict
from brulee.reporting.data_headline import clauses
from brulee.reporting.data_page import render, write_data_page
from brulee.reporting.data_page_chart import histogram

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def found(tmp_path: Path, make_tokenizer, chat_templates) -> Callable[..., Inspection]:
    def make(tasks: int = 1, rows: int = 2, max_length: int = 64) -> Inspection:
        sections: list[dict[str, Any]] = []
        for number in range(tasks):
            file = tmp_path / f"t{number}.csv"
            lines = [f"{HOSTILE} {'word ' * (i % 9)}{i},{HOSTILE}{i % 2}" for i in range(40)]
            file.write_text("\n".join(["text,label", *lines]) + "\n")
            phrased = {"prompt": "Is it so?\n{{text}}", "completion": "{{label}}"}
            sections.append({"source": str(file), "templates": phrased})
        data = sections[0] if tasks == 1 else sections
        train = {"max_length": max_length}
        recipe = recipe_from_dict({"name": "it", "data": data, "train": train})
        encoder = Encoder(make_tokenizer(chat_templates["chatml"]), max_length=max_length)
        return inspect(recipe, open_corpus(recipe), encoder, rows=rows)

    return make


def test_what_data_holds_is_never_markup(found) -> None:
    page = render(found())
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_the_page_names_no_other_place_and_allows_none(found) -> None:
    page = render(found())
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)


def test_learned_and_special_tokens_are_marked(found) -> None:
    page = render(found())
    assert re.search(r'<span class="x" title="\d+">&lt;\|im_start\|&gt;</span>', page)
    assert re.search(r'<span class="l x" title="\d+">&lt;\|im_end\|&gt;</span>', page)
    assert '<span class="n"></span>' in page


def test_rows_of_a_mixture_are_folded_by_task_and_by_template(found) -> None:
    page = render(found(tasks=3))
    assert page.count('<details class="task"') == 3
    assert page.count('<details class="template"') == 3
    assert page.count('<details class="task" open>') == 1


def test_alarms_on_framing_and_length_come_first_with_their_counts(found) -> None:
    cut = Cut(64, rows_cut=20, tokens_lost=9, misfits=3, fewer_examples=10)
    here = replace(found(), framing=Framing(4, 3, 2, 1), cuts=(cut,), left_out=1, measured=40)
    said = clauses(here)
    assert [clause.text for clause in said if clause.alarm] == [
        "5.0% of the rows take another template in order to fit into 64 tokens",
        "2.5% of the rows do not fit into 64 tokens: left out",
        "2 of 4 rows read differently in training and at inference",
        "1 of 4 rows do not end in an end-of-turn token",
        "1 of 4 rows begin with two beginning-of-text tokens",
    ]
    assert "25% of the rows show fewer examples in order to fit into 64 tokens" in [
        clause.text for clause in said
    ]


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "1 near-duplicate row is kept in the split of the row it resembles"),
        (2, "2 near-duplicate rows are kept in the split of the row they resemble"),
    ],
)
def test_near_duplicates_are_counted_in_a_sentence(found, count: int, said: str) -> None:
    here = found()
    alike = replace(here.tasks[0], near_duplicates=count)
    assert said in [clause.text for clause in clauses(replace(here, tasks=(alike,)))]


def test_a_page_without_rows_has_no_section_for_them(found) -> None:
    assert "Read the rows" not in render(found(rows=0))


def test_what_is_past_the_cut_is_red_and_the_line_is_named() -> None:
    chart = histogram(lengths([10] * 50 + [90] * 5), "Whole", 800, cut=64)
    assert chart.count('class="bar lost"') == 1
    assert "max_length 64" in chart
    assert "max_length" not in histogram(lengths([10] * 50), "Whole", 800, cut=64)


def test_a_file_is_written_in_one_step(found, tmp_path: Path) -> None:
    file = write_data_page(found(), tmp_path / "data.html")
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in tmp_path.glob("*.html*")] == ["data.html"]
