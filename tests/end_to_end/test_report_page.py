import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from brulee.reporting.html import write_report

EXAMPLE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "example_run.py"))
BROWSING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "browsing.py"))
browse, pytestmark = BROWSING["browse"], BROWSING["needs_browser"]

# Loads the page at a width and writes what a reader would see of it into the wrapper's own DOM.
WRAPPER = """<!doctype html><body><iframe id="page" src="report.html"
style="width:{width}px;height:900px;border:0"></iframe><output id="measured"></output><script>
document.getElementById("page").addEventListener("load", (event) => {{
  const page = event.target.contentDocument;
  const shown = [...page.querySelectorAll("svg")].filter((s) => s.getBoundingClientRect().width);
  const outside = [...page.querySelectorAll("main *")].filter((element) =>
    !element.closest(".scroll, pre, svg, details:not([open])") &&
    element.getBoundingClientRect().right > {width} + 0.5);
  document.getElementById("measured").textContent = [
    "width=" + page.documentElement.scrollWidth, "charts=" + shown.length,
    "outside=" + outside.length, "requests=" +
    event.target.contentWindow.performance.getEntriesByType("resource").length].join(" ");
}});
</script></body>"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return write_report(EXAMPLE["make"](tmp_path / "run"))


def test_the_page_opens_from_disk_without_network_or_console_message(
    page: Path, tmp_path: Path
) -> None:
    seen = browse(page, tmp_path / "profile", "--host-resolver-rules=MAP * ~NOTFOUND")
    assert "LoRA r8 raised ROUGE-1" in seen.stdout
    assert "How training went" in seen.stdout
    assert not re.findall(r".*CONSOLE.*", seen.stderr)
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page.read_text())


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("long_name", [False, True])
def test_the_page_never_scrolls_sideways(
    page: Path, tmp_path: Path, width: int, long_name: bool
) -> None:
    stored = page.with_name("results.json")
    found = json.loads(stored.read_text())
    found["phrasings"] = [EXAMPLE["phrasings"]().model_dump(mode="json")]
    text = json.dumps(found)
    for name in ("SmolLM2", "arithmetic", "wording-3") if long_name else ():
        text = text.replace(name, name[:1] * 200)
    stored.write_text(text)
    write_report(page.parent)
    wrapper = page.with_name("wrapper.html")
    wrapper.write_text(WRAPPER.format(width=width))
    options = ("--hide-scrollbars", "--allow-file-access-from-files", "--virtual-time-budget=5000")
    seen = browse(wrapper, tmp_path / "profile", *options).stdout
    measured = re.search(r'id="measured">([^<]*)<', seen)
    assert measured is not None
    assert measured[1] == f"width={width} charts=4 outside=0 requests=0"
