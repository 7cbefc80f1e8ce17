"""The terminal view reads at 80 columns and never takes data for markup."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from brulee.data.corpus import open_corpus
from brulee.data.encoding import Encoder
from brulee.data.inspection import Inspection, inspect
from brulee.recipe import recipe_from_dict
from brulee.reporting.data_terminal import show

Shown = Callable[..., str]


@pytest.fixture
def inspection(tmp_path: Path, make_tokenizer, chat_templates) -> Inspection:
    tasks = []
    for name, words in (("brief", 2), ("wordy", 40)):
        file = tmp_path / f"{name}.csv"
        lines = [f"[bold]{name}[/]\x1b[2J {'word ' * words}{i},l{i % 2}" for i in range(40)]
        file.write_text("\n".join(["text,label", *lines]) + "\n")
        phrased = {"prompt": "Is it so?\n{{text}}", "completion": "{{label}}"}
        tasks.append({"source": str(file), "templates": phrased})
    train = {"max_length": 64, "epochs": 30.0}
    recipe = recipe_from_dict({"name": "it", "data": tasks, "train": train})
    encoder = Encoder(make_tokenizer(chat_templates["chatml"]), max_length=64)
    return inspect(recipe, open_corpus(recipe), encoder)


@pytest.fixture
def shown(inspection: Inspection) -> Shown:
    def make(rows: int | None = None, page: Path | None = None) -> str:
        text = io.StringIO()
        show(inspection, Console(file=text, width=80), rows, page)
        return text.getvalue()

    return make


def test_every_line_fits_into_80_columns(shown: Shown) -> None:
    paths = ("/", "Page:")
    lines = [line for line in shown().splitlines() if not line.startswith(paths)]
    assert max(map(len, lines)) <= 80


def test_the_cut_line_and_the_odd_epochs_are_there(shown: Shown) -> None:
    text = shown()
    assert "max_length 64" in text
    assert "brief is drawn for 30 epochs" in text


def test_a_table_of_fewer_draws_than_training_reads_says_so(
    tmp_path: Path, make_tokenizer, chat_templates
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\n" + "".join(f"word {i},l{i % 2}\n" for i in range(26)))
    phrased = {"prompt": "Is it so?\n{{text}}", "completion": "{{label}}"}
    data = {"source": str(file), "templates": phrased, "split": {"test": 0, "validation": 0}}
    train = {"max_length": 64, "epochs": 5.0, "max_steps": 4}
    recipe = recipe_from_dict({"name": "it", "data": data, "train": train})
    encoder = Encoder(make_tokenizer(chat_templates["chatml"]), max_length=64)
    on = Console(file=io.StringIO(), width=100, record=True)
    show(inspect(recipe, open_corpus(recipe), encoder), on, None)
    text = " ".join(on.export_text().split())
    assert (
        "26 training rows; training reads 32 documents drawn from them (the first 26 are "
        "measured here): "
    ) in text
    assert "Template of the first 26 Draws" in text


def test_brackets_in_rows_are_text(shown: Shown) -> None:
    assert "[bold]brief[/]" in shown()


def test_a_row_does_not_clear_the_screen(shown: Shown) -> None:
    assert "\x1b" not in shown()


def test_rows_are_one_of_each_task_unless_a_number_is_asked_for(shown: Shown) -> None:
    assert shown().count("tokens, ") == 2
    assert shown(2).count("learned") - shown(0).count("learned") == 4


def test_the_page_is_named_in_one_unbroken_line(shown: Shown) -> None:
    path = Path("/a" * 60) / "data.html"
    assert f"Page: {path}" in shown(page=path)
    assert "--html FILE" in shown()
