"""Each mistake that instruction data has shipped with is reported; what is fine is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from brulee.data.lint import Finding, lint
from brulee.data.sources import Rows
from brulee.data.templates import Template, TemplateMetadata, TemplateSet, families, load_templates

LIBRARY_ROWS = Path(__file__).parents[2] / "fixtures" / "library_rows"
FINE = Template("fine", "Say something. ||| Something.")


class Records:
    """Rows as they are in a JSONL file, without one type per column."""

    def __init__(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        self.records: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.name = path.name
        self.columns = list(dict.fromkeys(key for record in self.records for key in record))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> Mapping[str, Any]:
        return self.records[i]

    def place(self, i: int) -> str:
        return f"{self.name}, line {i + 1}"


def found(
    jinja: str, rows: list[dict[str, Any]] | None = None, choices: str | None = None, **more: Any
) -> list[Finding]:
    metadata = TemplateMetadata(**{"original_task": True, **more})
    family = TemplateSet("toys", (Template("t", jinja, choices, metadata), FINE))
    table = Rows.of(rows, "rows") if rows is not None else None
    return [finding for finding in lint(family, table) if finding.template == "t"]


def codes(*arguments: Any, **options: Any) -> list[tuple[str, str]]:
    return [(finding.severity, finding.code) for finding in found(*arguments, **options)]


@pytest.mark.parametrize(
    "jinja",
    [
        "{{premise}}\nSo: {{hypothesis}}n\nYes or no? ||| {{label}}",
        "{{text}}n ||| {{label}}",
        "{{text}} ||| {{label}}n",
        "Text: {{text}}\nLabel:n{{other}} ||| {{label}}",
        "{{text}}n{{other}} ||| {{label}}",
    ],
)
def test_a_letter_left_of_a_line_break_is_an_error(jinja: str) -> None:
    assert ("error", "stray-character") in codes(jinja)


def test_a_letter_that_is_no_escape_may_be_meant_and_a_plural_is() -> None:
    assert codes("{{text}}x\nWhy? ||| {{label}}") == [("warning", "stray-character")]
    assert codes("List {{n}} {{thing}}s\nor none. ||| {{label}}") == []
    assert codes("Who's {{name}}'s friend, {{a}} or {{b}}n't? ||| {{label}}") == []


@pytest.mark.parametrize(
    ("jinja", "finding"),
    [
        ("CONVERSATION:Conversation:\n{{text}} ||| {{label}}", ("error", "merged-strings")),
        ("Text: text: {{text}} ||| {{label}}", ("error", "merged-strings")),
        ("Dialogue:Summary: {{text}} ||| {{label}}", ("warning", "merged-strings")),
        ("Read the review.Then rate: {{text}} ||| {{label}}", ("warning", "merged-strings")),
        ("Read the the text: {{text}} ||| {{label}}", ("error", "doubled-word")),
        ("Read the\nthe text: {{text}} ||| {{label}}", ("error", "doubled-word")),
        ("I know that that is so: {{text}} ||| {{label}}", ("warning", "doubled-word")),
        ("Review{{text}} ||| {{label}}", ("warning", "missing-space")),
        ("{{text}}and now? ||| {{label}}", ("warning", "missing-space")),
        ("Read: \n{{text}} ||| {{label}}", ("warning", "trailing-space")),
        ("{{text}} \nWell? ||| {{label}}", ("warning", "trailing-space")),
        (r"Read:\n{{text}} ||| {{label}}", ("warning", "escape-in-text")),
        ("Read (twice: {{text}} ||| {{label}}", ("warning", "unbalanced")),
        ("Read twice]: {{text}} ||| {{label}}", ("warning", "unbalanced")),
        ('Read "{{text}} again. ||| {{label}}', ("warning", "unbalanced")),
        ("{% if a %}(see{% endif %} page {{text}}) ||| {{label}}", ("warning", "unbalanced")),
    ],
)
def test_slips_of_the_text_are_reported(jinja: str, finding: tuple[str, str]) -> None:
    assert codes(jinja) == [finding]


@pytest.mark.parametrize(
    "jinja",
    [
        "{{text}}\n{% for c in all %}{{loop.index}}) {{c}}\n{% endfor %}a) or b)||| So: {{n}}) x",
        "{% if a %}(see {{a}}){% else %}({{text}}){% endif %} ||| {{label}}",
        'The title is "||| {{label}}"',
        "Happy :) or sad :(? {{text}} ||| {{label}}",
        "At 10:30: https://a.example/{{text}} ||| {{label}}",
        "Text:  \n||| {{label}}",
        "{{text}}{{'and so on' if more}} ||| {{label}}",
        "Section: Title: {{text}} ||| {{label}}",
        "{{n}}th {{text}}: ||| {{label}}",
        "Read\n{# a remark (open #}{{text}} ||| {{label}}",
    ],
)
def test_what_is_meant_so_is_not_reported(jinja: str) -> None:
    assert codes(jinja) == []


def test_a_message_says_where_the_slip_stands() -> None:
    family = TemplateSet("f", (Template("t", "a\n{{b}}n\n||| {{c}}", where="f.yaml, line 3"), FINE))
    (finding,) = lint(family)
    assert (finding.family, finding.template, finding.where) == ("f", "t", "f.yaml, line 3")
    assert "the letter 'n' stands right after {{b}}" in finding.message
    assert "(line 2 of its text)" in finding.message


def twins(first: str, second: str, *choices: str | None) -> list[tuple[str, str, str]]:
    pairs = zip((first, second), choices or (None, None), strict=True)
    family = TemplateSet("f", tuple(Template(f"t{i}", j, c) for i, (j, c) in enumerate(pairs)))
    return [(f.severity, f.code, f.template) for f in lint(family)]


def test_a_template_given_twice_is_an_error() -> None:
    plain = "Is this fine: {{text}}? ||| {{label}}"
    assert twins(plain, "Is this  fine:\n{{text}}? ||| {{label}}") == [
        ("error", "duplicate-template", "t1")
    ]
    assert twins(plain, "is this fine - {{text}} ||| {{label}}") == [
        ("warning", "duplicate-template", "t1")
    ]
    assert twins(plain, "Is this fine: {{other}}? ||| {{label}}") == []


def test_the_same_words_with_other_answers_are_reported() -> None:
    shown = "{{text}} {{answer_choices | join}}? ||| {{answer_choices[label]}}"
    hidden = "{{text}} Well? ||| {{answer_choices[label]}}"
    assert twins(hidden, hidden, "yes ||| no", "good ||| bad") == [("warning", "same-prompt", "t1")]
    assert twins(shown, shown, "yes ||| no", "good ||| bad") == []


def test_one_phrasing_is_few_unless_it_was_picked() -> None:
    assert [f.code for f in lint(TemplateSet("f", (FINE,)))] == ["few-phrasings"]
    assert lint(TemplateSet("f/fine", (FINE,))) == []


def test_a_template_without_words_of_its_own_has_no_phrasing_to_learn() -> None:
    assert lint(TemplateSet("f", (Template("bare", "{{q}} ||| The answer is {{a}}"),))) == []


def test_metadata_and_label_words_are_checked_without_rows() -> None:
    jinja = "{{text}} Is it so? ||| {{answer_choices[label]}}"
    assert codes(jinja, choices="yes ||| yes") == [("warning", "repeated-choice")]
    assert codes(jinja, choices="yes ||| ") == [("error", "empty-choice")]
    assert codes("{{text}} ||| It is {{label}}.", choices="yes ||| no") == [
        ("warning", "unused-choices")
    ]
    (finding,) = found(jinja, choices="yes ||| no", metrics=("Acuracy",))
    assert finding.message == "the metric 'Acuracy' is unknown; did you mean 'Accuracy'?"


def test_a_column_that_the_rows_lack_is_an_error_with_the_nearest() -> None:
    (finding,) = found("{{dialog}} ||| {{summary}}", [{"dialogue": "a", "summary": "b"}])
    assert (finding.code, finding.severity) == ("missing-column", "error")
    assert "'dialog' does not exist; did you mean 'dialogue'?" in finding.message


def test_label_words_must_cover_the_labels() -> None:
    rows = [{"text": "a", "label": label} for label in (0, 1, 2, 3)]
    by_index = "{{text}} Well? ||| {{answer_choices[label]}}"
    (finding,) = found(by_index, rows, "yes ||| no")
    assert (finding.code, finding.severity) == ("label-not-covered", "error")
    assert "no label word for" in finding.message
    assert "so with 1 more rows" in finding.message
    assert "3" in finding.where
    by_name = "{{text}} Well? ||| {{ {'0': 'yes', '1': 'no'}[label] }}"
    named = [{"text": "a", "label": label} for label in ("0", "1", "neutral")]
    assert codes(by_name, named) == [("error", "label-not-covered")]
    by_branch = "{{text}} ||| {% if label == 0 %}yes{% elif label in (1, 2) %}no{% endif %}"
    assert codes(by_branch, rows) == [("warning", "empty-completion")]


def test_a_row_without_label_must_not_be_answered() -> None:
    rows = [{"text": "a", "label": -1}, {"text": "b", "label": 0}]
    jinja = "{{text}} Well? ||| {{answer_choices[label]}}"
    guarded = "{{text}} Well? ||| {% if label >= 0 %}{{answer_choices[label]}}{% endif %}"
    assert codes(jinja, rows, "yes ||| no") == [("error", "negative-label")]
    assert codes(guarded, rows, "yes ||| no") == []


def test_a_completion_must_be_one_of_the_choices() -> None:
    rows = [{"text": "a", "label": "Yes"}]
    (finding,) = found("{{text}} ||| {{label}}", rows, "yes ||| no")
    assert (finding.code, finding.severity) == ("completion-not-a-choice", "error")
    assert "'Yes' is not among its choices ('yes', 'no')" in finding.message


def test_a_target_in_the_prompt_is_an_error() -> None:
    rows = [
        {"text": "a long story of a fox", "summary": "a fox did it", "topic": "animals"},
        {"text": "a short story", "summary": "nothing happened", "topic": "none"},
    ]
    leaking = "{{text}}\nTopic: {{summary}}\nSummary: ||| {{summary}}"
    assert codes(leaking, rows) == [("error", "target-leaks")]
    assert codes(leaking, rows, original_task=None) == [("warning", "target-leaks")]
    assert codes(leaking, rows, original_task=False) == []
    assert codes("{{text}}\nSummary: ||| {{summary}}", rows) == []


@pytest.mark.parametrize(
    ("jinja", "row"),
    [
        ("{{context}} {{question}} ||| {{answer}}", {"answer": "fox"}),
        ("{{a}} or {{b}}? ||| {{a if n else b}}", {}),
        ("{% for o in options %}{{o}} {% endfor %}? ||| {{options[0]}}", {}),
        ("Is it the fox or not? {{question}} ||| {{answer}}", {"answer": "fox"}),
    ],
)
def test_an_answer_cut_from_the_text_or_offered_does_not_leak(
    jinja: str, row: dict[str, Any]
) -> None:
    base = {"context": "The fox ran.", "question": "Who?", "a": "fox", "b": "hen", "n": 1}
    assert codes(jinja, [base | {"options": ["fox", "hen"]} | row]) == []


def test_choices_in_prompt_must_be_true_to_the_prompt() -> None:
    rows = [{"text": "yes or no, who knows", "label": 0}]
    hidden = "{{text}} Well? ||| {{answer_choices[label]}}"
    shown = "{{text}} {{answer_choices | join(' or ')}}? ||| {{answer_choices[label]}}"
    assert codes(
        "Well? ||| {{answer_choices[label]}}", rows, "a ||| b", choices_in_prompt=True
    ) == [("warning", "choices-not-shown")]
    assert codes(shown, rows, "yes ||| no", choices_in_prompt=False) == [
        ("warning", "choices-shown")
    ]
    assert codes(shown, rows, "yes ||| no", choices_in_prompt=True) == []
    assert codes(hidden, rows, "yes ||| no", choices_in_prompt=False) == []


def test_a_template_that_applies_to_no_row_is_reported() -> None:
    rows = [{"text": "a", "label": 0}]
    assert codes("{% if label == 7 %}{{text}} ||| b{% endif %}", rows) == [
        ("warning", "never-applies")
    ]


def test_a_template_that_fails_is_an_error_with_its_row() -> None:
    (finding,) = found(
        "{{ 1 // n }} {{text}} ||| b", [{"text": "a", "n": 1}, {"text": "b", "n": 0}]
    )
    assert (finding.code, finding.severity) == ("does-not-render", "error")
    assert "2" in finding.where


def test_errors_come_first() -> None:
    jinja = "Review{{text}}n\n||| {{label}}"
    assert [severity for severity, _ in codes(jinja)] == ["error", "warning"]


def test_the_library_has_no_mistake() -> None:
    for family in families():
        assert lint(load_templates(family), Records(LIBRARY_ROWS / f"{family}.jsonl")) == []
