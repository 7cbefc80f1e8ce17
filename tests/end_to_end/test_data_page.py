import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from brulee.data.corpus import open_corpus
from brulee.data.inspection import inspect
from brulee.models.tokenizers import load_encoder
from brulee.recipe import recipe_from_dict
from brulee.reporting.data_page import write_data_page

BROWSING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "browsing.py"))
browse, pytestmark = BROWSING["browse"], BROWSING["needs_browser"]

# Loads the page at a width with everything unfolded, and writes what a reader would see of it.
WRAPPER = """<!doctype html><body><iframe id="page" src="data.html"
style="width:{width}px;height:900px;border:0"></iframe><output id="measured"></output><script>
document.getElementById("page").addEventListener("load", (event) => {{
  const page = event.target.contentDocument;
  page.querySelectorAll("details").forEach((folded) => {{ folded.open = true; }});
  const shown = [...page.querySelectorAll("svg")].filter((s) => s.getBoundingClientRect().width);
  const outside = [...page.querySelectorAll("main *")].filter((element) =>
    !element.closest(".scroll, pre, svg") &&
    element.getBoundingClientRect().right > {width} + 0.5);
  document.getElementById("measured").textContent = [
    "width=" + page.documentElement.scrollWidth, "charts=" + shown.length,
    "rows=" + page.querySelectorAll("article.item").length, "outside=" + outside.length,
    "requests=" + event.target.contentWindow.performance.getEntriesByType("resource").length,
  ].join(" ");
}});
</script></body>"""


@pytest.fixture
def page(tmp_path: Path, tiny_model_folder: Path) -> Path:
    tasks = []
    for name in ("brief", "x" * 100):
        rows = [{"text": f"{name} \u05d0\u05d1 {'word ' * i} {'y' * 300} {i}", "label": f"l{i % 2}"}
                for i in range(30)]  # fmt: skip
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        phrased = {"prompt": "Is it so?\n{{text}}", "completion": "{{label}}"}
        tasks.append({"source": str(file), "templates": phrased})
    values = {"name": "it", "model": str(tiny_model_folder), "data": tasks}
    recipe = recipe_from_dict({**values, "train": {"max_length": 256}})
    found = inspect(recipe, open_corpus(recipe), load_encoder(recipe), rows=2)
    return write_data_page(found, tmp_path / "data.html")


def test_the_page_opens_from_disk_without_network_or_console_message(
    page: Path, tmp_path: Path
) -> None:
    seen = browse(page, tmp_path / "profile", "--host-resolver-rules=MAP * ~NOTFOUND")
    assert "How long documents are" in seen.stdout
    assert not re.findall(r".*CONSOLE.*", seen.stderr)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_never_scrolls_sideways_whatever_is_unfolded(
    page: Path, tmp_path: Path, width: int
) -> None:
    wrapper = page.with_name("wrapper.html")
    wrapper.write_text(WRAPPER.format(width=width))
    options = ("--hide-scrollbars", "--allow-file-access-from-files", "--virtual-time-budget=5000")
    seen = browse(wrapper, tmp_path / "profile", *options).stdout
    measured = re.search(r'id="measured">([^<]*)<', seen)
    assert measured is not None
    assert measured[1] == f"width={width} charts=3 rows=4 outside=0 requests=0"
