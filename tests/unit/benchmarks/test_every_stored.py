"""The try of what is stored of every model type: that each difference is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# It imports PEFT, which warns.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
_RIGHT: dict[str, Any] = {
    "differences": {"lora, PEFT": 1e-6},
    "moved": {"lora": 0.1},
    "resumed": {"lora": True},
}


@pytest.fixture(scope="module")
def stored(script: Callable[[str], ModuleType], one_thread: None) -> ModuleType:
    pytest.importorskip("peft")
    return script("every_stored")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"differences": {"lora, PEFT": 2e-4}}, "lora, PEFT by 0.0002"),
        ({"differences": {"lora, PEFT": float("nan")}}, "lora, PEFT by nan"),
        ({"moved": {"lora": 0.0}}, "lora moved the logits by 0"),
        ({"resumed": {"lora": False}}, "lora, resumed, has other bytes"),
    ],
)
def test_each_difference_is_told(stored: ModuleType, changes: dict[str, Any], said: str) -> None:
    assert not [*stored.differing(_RIGHT)]
    assert [*stored.differing({**_RIGHT, **changes})] == [said]


def test_a_type_is_stored_and_loaded_by_others(
    stored: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # which it changes, in a process of its own
    row = stored.row_of("qwen2", tmp_path)
    assert row["outcome"] == "ok", row
    assert row["resumed"] == {"lora": True, "full": True}
    others = {f"{part}, merged" for part in stored.OTHERS if part != "bottleneck"}
    assert {"lora, PEFT", "full, alone", *others} <= row["differences"].keys()


def test_a_merged_model_that_differs_makes_a_type_wrong(
    stored: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = stored._alone
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stored, "_alone", lambda folder: 1.001 * right(folder))
    row = stored.row_of("qwen2", tmp_path, skip=["lora", "full", *(set(stored.OTHERS) - {"dora"})])
    assert (row["outcome"], row["why"]) == ("wrong", "dora, merged by 0.001")
