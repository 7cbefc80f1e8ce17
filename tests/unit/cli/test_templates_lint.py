import json
from pathlib import Path

import pytest

STRAY = """\
templates:
  a:
    name: a
    jinja: "{{text}}n\\nWell? ||| {{label}}"
  b:
    name: b
    jinja: "Read{{text}} ||| {{label}}"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "chats.yaml"
    path.write_text(STRAY)
    return path


def test_errors_exit_2_with_file_and_line(brulee, file: Path) -> None:
    done = brulee("templates", "lint", file)
    assert done.code == 2
    first, second, last = done.out.splitlines()
    assert first.startswith(f"{file}, line 2: error: chats/a: the letter 'n' stands right after")
    assert first.endswith("[stray-character]")
    assert second.endswith("[missing-space]")
    assert last == "1 error, 1 warning"


def test_warnings_alone_exit_0(brulee, file: Path) -> None:
    file.write_text(STRAY.replace("}}n", "}}"))
    done = brulee("templates", "lint", file)
    assert (done.code, done.out.splitlines()[-1]) == (0, "0 errors, 1 warning")


def test_json_lists_the_findings(brulee, file: Path) -> None:
    done = brulee("templates", "lint", file, "--json")
    assert done.code == 2
    keys = {"code", "severity", "message", "where", "family", "template"}
    assert [set(finding) for finding in done.json] == [keys, keys]
    assert done.json[0]["code"] == "stray-character"


def test_rows_come_from_a_file_or_from_one_per_family(brulee, file: Path) -> None:
    rows = file.with_name("chats.jsonl")
    rows.write_text(json.dumps({"txt": "a", "label": "b"}) + "\n")
    for place in (rows, rows.parent):
        done = brulee("templates", "lint", file, "--rows", place, "--json")
        assert "missing-column" in {finding["code"] for finding in done.json}


def test_an_unknown_family_names_the_nearest(brulee) -> None:
    done = brulee("templates", "lint", "dialogue-sumary")
    assert done.code == 2
    assert "did you mean 'dialogue-summary'" in done.err


def test_the_library_is_clean_without_rows(brulee) -> None:
    done = brulee("templates", "lint", "rte", "dialogue-summary", "banking77")
    assert (done.code, done.out) == (0, "0 errors, 0 warnings\n")


def test_of_many_warnings_of_a_kind_the_first_are_printed(brulee, file: Path) -> None:
    many = (
        f'  t{i}:\n    name: t{i}\n    jinja: "Item {i}: read{{{{text}}}} ||| {{{{label}}}}"\n'
        for i in range(30)
    )
    file.write_text("templates:\n" + "".join(many))
    listed = len(brulee("templates", "lint", file, "--json").json)
    *printed, rest, counts = brulee("templates", "lint", file).out.splitlines()
    assert len(printed) == 20
    assert rest == f"and {listed - 20} more warnings of [missing-space], which --json lists"
    assert counts == f"0 errors, {listed} warnings"


def test_templates_that_cannot_be_read_do_not_hide_the_rest(brulee, file: Path) -> None:
    file.write_text(STRAY + '  c: {name: c, jinja: "{{text}}"}\n  d: {jinj: "a ||| b"}\n')
    done = brulee("templates", "lint", file)
    assert done.code == 2
    assert done.err == ""
    lines = done.out.splitlines()
    bar, key = (line for line in lines if line.endswith("[malformed]"))
    assert bar.startswith(f"{file}, line 8: error: chats: template 'c': put ||| between")
    assert key.startswith(f"{file}, line 9: error: chats: unknown key 'jinj'; did you mean 'jinja'")
    assert any(line.endswith("[stray-character]") for line in lines)
    assert lines[-1] == "3 errors, 1 warning"


def test_a_file_of_malformed_templates_alone_is_linted(brulee, file: Path) -> None:
    file.write_text('templates:\n  a: {jinja: "no bar"}\n')
    done = brulee("templates", "lint", file, "--json")
    assert done.code == 2
    assert [(one["code"], one["where"]) for one in done.json] == [("malformed", f"{file}, line 2")]
