import json
from pathlib import Path

import pytest

from brulee.cli.main import GROUPS


@pytest.fixture
def recipe(tmp_path: Path, tiny_model_folder: Path) -> Path:
    lines = [f"the guest in room {i} asked {i % 7} times,l{i % 2}" for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    file = tmp_path / "it.yaml"
    file.write_text(
        f"model: {tiny_model_folder}\n"
        "data:\n"
        "  source: rows.csv\n"
        "  templates: {prompt: 'Is it so? {{text}}', completion: '{{label}}'}\n"
        "train: {max_length: 128}\n"
    )
    return file


def test_inspect_prints_and_writes_the_same_findings(brulee, recipe: Path) -> None:
    page = recipe.with_name("data.html")
    done = brulee("data", "inspect", recipe, "--html", page, "--quiet")
    assert done.code == 0
    assert "training rows; training reads" in done.out
    assert str(page) in done.out
    assert "training rows; training reads" in page.read_text()


def test_inspect_gives_json_and_takes_settings_and_rows(brulee, recipe: Path) -> None:
    arguments = ("--set", "train.max_length=64", "--rows", 2, "--json", "--quiet")
    found = brulee("data", "inspect", recipe, *arguments).json
    assert found["max_length"] == 64
    assert len(found["rows"]) == 2


def test_inspect_reads_no_weights(brulee, recipe: Path, tiny_model_folder: Path) -> None:
    import shutil

    bare = recipe.with_name("bare")
    shutil.copytree(tiny_model_folder, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    done = brulee("data", "inspect", recipe, "--set", f"model={bare}", "--json", "--quiet")
    assert done.code == 0


def test_inspect_into_a_folder_that_is_not_there_is_one_sentence(brulee, recipe: Path) -> None:
    done = brulee("data", "inspect", recipe, "--html", recipe.with_name("no") / "x.html", "--quiet")
    assert done.code == 2
    assert "no such folder" in done.err
    done = brulee("data", "inspect", recipe, "--html", recipe.parent, "--quiet")
    assert (done.code, "a folder; name a file, such as" in done.err) == (2, True)


def test_lint_exits_0_with_warnings_alone_and_names_each_place(brulee, recipe: Path) -> None:
    with recipe.with_name("rows.csv").open("a") as file:
        file.write("the guest in room 3 asked 3 times,l1\n")
    done = brulee("data", "lint", recipe, "--quiet")
    assert done.code == 0
    assert "rows.csv, line 62: warning: rows: duplicate of an earlier row" in done.out
    assert done.out.splitlines()[-1].startswith("0 errors, ")


def test_lint_exits_2_on_errors(brulee, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("{{text}}", "{{text}}n", 1))
    done = brulee("data", "lint", recipe, "--quiet")
    assert done.code == 2
    assert "[stray-character]" in done.out


def test_lint_gives_a_machine_what_would_stop_the_run(brulee, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("{{text}}", "{{txt}}"))
    done = brulee("data", "lint", recipe, "--json", "--quiet")
    assert done.code == 2
    (finding,) = json.loads(done.out)
    assert (finding["code"], finding["severity"]) == ("unusable", "error")
    assert "no column 'txt'" in finding["message"]


@pytest.mark.parametrize(("command", "function"), GROUPS["data"].items())
def test_every_command_lies_in_its_module(command: str, function) -> None:
    assert function.__module__ == f"brulee.cli.data_{command}"
