import json
from pathlib import Path

import pytest

PROMPTSOURCE = """\
dataset: chats
templates:
  11111111-1111-1111-1111-111111111111: !Template
    answer_choices: null
    id: 11111111-1111-1111-1111-111111111111
    jinja: "{% if text %}Sum up: {{text}} ||| {{summary}}{% endif %}"
    metadata: !TemplateMetadata
      choices_in_prompt: false
      languages: [en]
      metrics: [ROUGE]
      original_task: true
    name: sum up
    reference: ''
  22222222-2222-2222-2222-222222222222: !Template
    answer_choices: null
    id: 22222222-2222-2222-2222-222222222222
    jinja: "{{text}} In short: ||| {{summary}}"
    metadata: !TemplateMetadata {}
    name: in short
    reference: ''
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    templates, rows = tmp_path / "templates.yaml", tmp_path / "rows.jsonl"
    templates.write_text(PROMPTSOURCE)
    values = [{"text": "a é", "summary": "b"}, {"text": "", "summary": "c"}]
    rows.write_text("".join(json.dumps(value) + "\n" for value in values))
    return templates, rows


def test_promptsource_file_renders_one_line_per_row(brulee, files: tuple[Path, Path]) -> None:
    templates, rows = files
    done = brulee(
        *["templates", "render", "--promptsource", templates, "--name", "sum up", "--rows", rows]
    )
    assert done.code == 0, done.err
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"prompt": "Sum up: a é", "completion": "b"},
        {"prompt": None, "completion": None},
    ]


def test_json_gives_one_document(brulee, files: tuple[Path, Path]) -> None:
    templates, rows = files
    done = brulee(
        *["templates", "render", "--promptsource", templates, "--name", "in short"],
        *["--rows", rows, "--limit", 1, "--json"],
    )
    assert done.json == [{"prompt": "a é In short:", "completion": "b"}]


def test_choosing_among_several_templates_is_left_to_the_user(
    brulee, files: tuple[Path, Path]
) -> None:
    templates, rows = files
    done = brulee("templates", "render", "--promptsource", templates, "--rows", rows)
    assert done.code == 2
    assert "holds 2 templates; pick one, for instance --name 'sum up'" in done.err


def test_unknown_name_in_a_file_names_the_nearest(brulee, files: tuple[Path, Path]) -> None:
    templates, rows = files
    done = brulee(
        *["templates", "render", "--promptsource", templates, "--name", "sumup", "--rows", rows]
    )
    assert done.code == 2
    assert "did you mean 'sum up'" in done.err


def test_missing_column_names_the_row(brulee, files: tuple[Path, Path]) -> None:
    templates, rows = files
    rows.write_text('{"text": "a"}\n')
    done = brulee(
        *["templates", "render", "--promptsource", templates, "--name", "in short", "--rows", rows]
    )
    assert done.code == 2
    assert "rows.jsonl, line 1" in done.err
    assert "'summary'" in done.err


@pytest.mark.parametrize("arguments", [[], ["x/y", "--promptsource", "z.yaml"]])
def test_template_must_come_from_exactly_one_place(
    brulee, files: tuple[Path, Path], arguments: list[str]
) -> None:
    done = brulee("templates", "render", *arguments, "--rows", files[1])
    assert done.code == 2
    assert "name a template of the library, or give --promptsource FILE, not both" in done.err


def test_show_prints_the_text_of_each_template(brulee, files: tuple[Path, Path]) -> None:
    done = brulee("templates", "show", files[0])
    assert "# in short  (columns: summary, text)" in done.out
    assert "{{text}} In short: ||| {{summary}}" in done.out


def test_list_is_the_library(brulee) -> None:
    from brulee.data.templates import library

    names = [entry["name"] for entry in brulee("templates", "list", "--json").json]
    expected = {f"{family}/{t.name}" for family, found in library().items() for t in found}
    assert set(names) == expected


def test_all_templates_render_each_row_with_their_name(brulee, files: tuple[Path, Path]) -> None:
    templates, rows = files
    done = brulee("templates", "render", "--promptsource", templates, "--all", "--rows", rows)
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [one["template"] for one in found[:2]] == ["sum up", "in short"]
    both = brulee(
        *["templates", "render", "--promptsource", templates, "--all", "--name", "in short"],
        *["--rows", rows],
    )
    assert (both.code, "give only one of these options" in both.err) == (2, True)


def test_columns_are_renamed_on_the_way(brulee, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("1\tHe: hi\tHe greets.\n")
    name = ["templates", "render", "dialogue-summary/plain", "--rows", tmp_path / "a.tsv"]
    done = brulee(*name, "--column", "dialogue=2", "--column", "summary=3")
    assert json.loads(done.out)["completion"] == "He greets."
    assert "write NAME=SOURCE" in brulee(*name, "--column", "dialogue").err
    twice = brulee(*name, "--column", "dialogue=2", "--column", "dialogue=3")
    assert (twice.code, "dialogue is read as 2 already" in twice.err) == (2, True)


def test_a_template_does_not_clear_the_screen(brulee, tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text('templates: {a: {name: "a", jinja: "\\e[2J{{a}} ||| {{b}}"}}\n')
    done = brulee("templates", "show", file)
    assert (done.code, "\x1b" in done.out, "[2J{{a}} ||| {{b}}" in done.out) == (0, False, True)


def test_families_are_listed_with_the_clusters_that_can_be_held_out(brulee) -> None:
    done = brulee("templates", "list")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()]
    assert ["rte", "nli", "11", "label,", "sentence1,", "sentence2"] in rows


def test_a_cluster_or_family_is_listed_phrasing_by_phrasing(brulee) -> None:
    rows = [line.split()[:2] for line in brulee("templates", "list", "review").out.splitlines()]
    assert ["review-writing/stars-of-product", "inverted"] in rows
    listed = brulee("templates", "list", "gsm8k", "rte", "--json").json
    kinds = {one["name"]: (one["cluster"], one["kind"]) for one in listed}
    assert kinds["gsm8k/step-by-step-cot"] == ("chain-of-thought", "rationale")
    assert {name.partition("/")[0] for name in kinds} == {"gsm8k", "rte"}
    done = brulee("templates", "list", "nlii")
    assert done.code == 2
    assert "unknown family or cluster 'nlii'; did you mean 'nli'" in done.err


def test_an_inverted_template_is_shown_as_such(brulee) -> None:
    assert brulee("templates", "show", "gsm8k/problem-with-result").out.startswith(
        "# problem-with-result  (inverted; columns: answer, question)"
    )
