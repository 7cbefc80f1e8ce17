"""The page of a sweep in a browser."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from brulee.reporting.sweep_page import write_page

HERE = Path(__file__).parent
REPORT: dict[str, Any] = runpy.run_path(str(HERE / "test_report_page.py"))
MADE: dict[str, Any] = runpy.run_path(str(HERE.parent / "unit/reporting/test_sweep.py"))
browse, pytestmark = REPORT["browse"], REPORT["pytestmark"]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["lora", "x" * 200])
def test_the_page_never_scrolls_sideways_and_loads_nothing(
    tmp_path: Path, width: int, name: str
) -> None:
    trial, pair = MADE["trial"], MADE["pair"]
    trials = [trial(i, 1.0 + i / 10, settings={"method.target": name}) for i in range(5)]
    trials.append(trial(5, state="failed", reason=f"step 3: {name} is nan."))
    before = MADE["BeforeAfter"](run="trial-001", comparisons=(pair(0.2, 0.34),))
    found = MADE["sweep"](
        *trials, name=name, command=f"brulee run {name}", test=(pair(0.3, 0.34),), tested=(before,)
    )
    page = write_page(found, tmp_path)
    page.rename(tmp_path / "report.html")
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(REPORT["WRAPPER"].format(width=width))
    options = ("--hide-scrollbars", "--allow-file-access-from-files", "--virtual-time-budget=5000")
    seen = browse(wrapper, tmp_path / "profile", *options)
    measured = re.search(r'id="measured">([^<]*)<', seen.stdout)
    assert measured is not None
    assert measured[1] == f"width={width} charts=2 outside=0 requests=0"
    assert not re.findall(r".*CONSOLE.*", seen.stderr)
