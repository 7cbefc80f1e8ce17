"""Tables of a terminal lose nothing and break neither words nor numbers."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from brulee.reporting.tables import TableRows


def shown(table: TableRows, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    table.show(console)
    return console.export_text()


def test_a_row_may_lack_its_last_cells() -> None:
    table = TableRows(("Task", "Rows", "Epochs"))
    table.add("a", "1,000", "2.50")
    table.add("... and 7 more")
    assert shown(table, 80).splitlines()[-1].strip() == "... and 7 more"


def test_a_table_without_rows_is_not_there() -> None:
    assert shown(TableRows(("Task", "Rows")), 80) == ""


@pytest.mark.parametrize("width", [24, 40, 60, 200])
def test_every_width_shows_every_number_whole(width: int) -> None:
    table = TableRows(("Tokens", "Mean", "Interval", "Of a long heading", "Spread"), "title")
    for name in ("whole", "prompt [bold]"):
        table.add(name, "318.2", "+0.12 to +0.21", Text("7%"), " ▁▃ ▇")
    text = shown(table, width)
    assert max(map(len, text.splitlines())) <= width
    for part in ("318.2", "+0.12 to +0.21", " ▁▃ ▇"):
        assert text.count(part) == 2
    assert "[bold]" in text
    assert "heading" in text.split()


def test_bins_of_small_histograms_stand_under_each_other() -> None:
    table = TableRows(("Tokens", "Spread"))
    for name, bins in (("whole", "  ▁▃"), ("prompt", "▁▃  ")):
        table.add(name, bins)
    *_, whole, prompt = shown(table, 80).splitlines()
    assert whole.index("▁") == prompt.index("▁") + 2
