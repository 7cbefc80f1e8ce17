"""Commands that messages suggest can be pasted into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from brulee.cli.init import init
from brulee.errors import InputError
from brulee.methods import shelf
from brulee.recipe import load_recipe
from brulee.shell import word

ODD = ["my chats", "it's", 'a "b"', "größe", "$HOME;x", "a*"]


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_one_word(name: str) -> None:
    assert shlex.split(f"brulee run {word(Path(name))}") == ["brulee", "run", name]


def test_a_plain_name_is_not_quoted() -> None:
    assert word(Path("runs/one/")) == "runs/one"


def test_a_leading_dash_is_not_an_option() -> None:
    assert word(Path("./-run")) == "./-run"


@pytest.mark.parametrize("name", ODD)
def test_suggested_commands_name_the_file_as_one_word(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run, rows, recipe = Path(name), Path(f"{name}.jsonl"), Path(f"{name}.yaml")
    run.mkdir()
    (run / "recipe.yaml").write_text("{}")
    rows.write_text("".join(f'{{"question": "Q{i}", "answer": "A{i}"}}\n' for i in range(12)))
    init(source=str(rows), theirs=None, model=None, out=recipe, as_json=False, quiet=True)
    said = capsys.readouterr().out
    assert f"brulee data inspect {word(recipe)}, then brulee run {word(recipe)}\n" in said
    assert f"#   brulee plan {word(recipe)} " in recipe.read_text(encoding="utf-8")
    with pytest.raises(InputError) as caught:
        shelf.locate(name)
    assert str(caught.value).endswith(f"brulee resume {word(name)}")
    with pytest.raises(InputError) as caught:
        load_recipe(run)
    assert f"`brulee resume {word(name)}` continues it" in str(caught.value)
