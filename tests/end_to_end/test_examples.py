"""Every script under examples/ runs, and prints what it says it prints."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
Play = Callable[..., list[str]]


@pytest.fixture
def play(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> Play:
    def run(name: str, *arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def test_run_a_recipe_then_swap_its_adapter(at: Any, play: Play) -> None:
    recipe = at.run()[1]
    printed = play("run_a_recipe.py", recipe, "train.max_steps=2")
    assert [line.split()[0] for line in printed[1:]] == [
        "rouge1", "rouge2", "rougeL", "bleu", "cost:"
    ]  # fmt: skip
    answers = play("swap_adapters.py", at.model, "Who called?", "runs/recipe")
    # An untrained model's answers hold anything, line breaks too.
    text = "\n".join(answers)
    assert text.startswith("the base: ")
    assert "\nruns/recipe: " in text
    assert answers[-1].startswith("2 answers in ")


def test_compare_texts(tmp_path: Path, play: Play) -> None:
    texts = {"before": ["no", "nothing at all"], "after": ["a cat sat", "the dog ran"]}
    texts["references"] = texts["after"]
    for name, lines in texts.items():
        (tmp_path / name).write_text("\n".join(lines))
    printed = play("compare_texts.py", *(tmp_path / name for name in texts))
    assert printed[0].startswith("rouge1: 0.000 -> 1.000, difference +1.000")
    assert printed[0].endswith("2 better, 0 worse, 0 equal")


def test_review_rows(tmp_path: Path, play: Play) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("1_1\t4\tGreat.\n1_2\t2\tStill works.\n2_1\t-4\tBroke.\n")
    (row,) = play("review_rows.py", table)
    assert '"stars": 5' in row


def test_tune_on_rows(at: Any, tmp_path: Path, play: Play) -> None:
    things = ("kettle", "lamp", "chair", "router", "sock", "parcel", "coat", "desk")
    rows = [
        {"question": f"What did {who} say of the {thing}?", "answer": f"{who}: {thing} is late."}
        for who in ("Ana", "Ben", "Cleo", "Dov", "Eve")
        for thing in things
    ]
    (tmp_path / "rows.json").write_text(json.dumps([*rows, {"question": "?", "answer": " "}]))
    printed = play("tune_on_rows.py", at.model, "rows.json")
    assert any(line.startswith("ROUGE-1") for line in printed)
    assert "Report: runs/questions/report.html" in printed
    assert any(line.startswith("What did ") for line in printed)
    assert printed[-1] == "in PEFT's format: runs/questions/adapter"


def test_every_example_is_short_and_is_run_here() -> None:
    here = Path(__file__).read_text()
    for script in EXAMPLES.glob("*.py"):
        assert len(script.read_text().splitlines()) <= 60, script
        assert f'"{script.name}"' in here, f"{script.name} is not run by any test"


@pytest.mark.parametrize("name", sorted(file.name for file in EXAMPLES.glob("*.py")))
def test_an_example_without_arguments_says_how_it_is_called(name: str, play: Play) -> None:
    with pytest.raises(SystemExit, match=f"python examples/{name}"):
        play(name)
