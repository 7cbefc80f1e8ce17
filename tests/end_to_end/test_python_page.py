"""docs/python.md: its code runs as it stands, but for a smaller model."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import brulee
from brulee.models.loading import Base

ROWS = runpy.run_path(str(Path(__file__).parents[1] / "bad_inputs.py"))["ROWS"]
PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_code_runs_and_the_names_are_there(
    at: Any,
    make_base: Callable[..., Base],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one_thread: None,
) -> None:
    monkeypatch.setenv("BRULEE_CACHE", str(tmp_path / "cache"))
    base = make_base("llama")
    names: dict[str, Any] = {
        "model": base.model,
        "tokenizer": base.tokenizer,
        "rows": [
            {"question": f"{row['dialogue']} What happened?", "answer": row["summary"]}
            for row in ROWS
        ],
    }
    smaller = '"train": {"max_length": 256, "batch_size": 4, "precision": "float32",'
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        code = block.replace('"bundled"', repr(str(at.model))).replace('"train": {', smaller)
        limit = '"evaluate": {"limit": 2, "generation": {"max_new_tokens": 4}},\n})'
        exec(code.replace("\n})", f"\n    {limit}"), names)  # the page is ours
    assert names["run"].folder == Path("runs/own-model")
    first = brulee.Run(Path("runs/questions"))
    for expression in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE):
        for text in re.findall(r"`(.*?)`", expression):
            assert eval(text, {**names, "run": first, "prompts": ["Hi"]}) is not None, text
