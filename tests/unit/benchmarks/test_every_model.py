"""The try of every model type: what it builds, and that each outcome is told."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import transformers
from transformers.models.auto import modeling_auto

from brulee.errors import InputError

_RIGHT: dict[str, Any] = {
    **{"model": "m", "outcome": "ok", "training": "fast", "writing": "streams"},
    **{"loss": 1e-6, "loss, one by one": 1e-6, "likelihood": 1e-6, "gradient": 1e-5},
    **{"texts": 5, "texts, one by one": 5, "reads ahead": False},
}


@pytest.fixture(scope="module")
def every(script: Callable[[str], ModuleType], one_thread: None) -> ModuleType:
    return script("every_model")


@pytest.fixture(scope="module")
def tiny(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("tiny_models")


def test_every_type_that_writes_text_is_listed(tiny: ModuleType) -> None:
    keys = tiny.keys()
    assert len(set(keys)) == len(keys)
    for kind in ("CAUSAL_LM", "SEQ_TO_SEQ_CAUSAL_LM", "MULTIMODAL_LM"):
        assert {*getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING_NAMES")} <= {*keys}
    assert {"bert:decoder", "xlm:decoder", "bart:decoder"} < {*keys}
    assert not {"llama:decoder", "t5:decoder", "gpt_neox:decoder"} & {*keys}


def test_exceptions_are_of_types_that_there_are(tiny: ModuleType) -> None:
    """Of transformers 5.24, for which they were written."""
    if not transformers.__version__.startswith("5.24"):
        pytest.skip("other releases have other types")
    assert {*tiny.EXCEPTIONS} <= {*tiny.CONFIG_MAPPING}


def test_parts_of_a_configuration_are_made_small(tiny: ModuleType) -> None:
    config = tiny.config_of("gemma3")
    assert (config.text_config.hidden_size, config.vision_config.hidden_size) == (32, 32)
    assert config.text_config.vocab_size == tiny.VOCABULARY
    decoder = tiny.config_of("bart:decoder")
    assert decoder.is_decoder
    assert not decoder.is_encoder_decoder


@pytest.mark.parametrize(
    ("name", "outcome", "said"),
    [
        ("llama", "ok", "fast"),
        ("bert", "refused", "is_decoder"),
        ("reformer", "not built", "is_decoder=True"),
        ("bart", "ok", "fast"),
        ("bert:decoder", "ok", "packed"),
        ("mamba", "ok", "padded"),
    ],
)
@pytest.mark.fast_cases(3)
def test_a_type_is_compared_with_transformers(
    every: ModuleType, tmp_path: Path, name: str, outcome: str, said: str
) -> None:
    row = every.row_of(name, tmp_path)
    assert (row["model"], row["outcome"]) == (name, outcome)
    assert said in every.line(row)


def test_a_model_refused_without_reason_is_wrong(
    every: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: str, *_: Any) -> None:
        raise InputError(f"{folder}: it is Tuesday")

    monkeypatch.setattr(every, "load_base", refuse)
    row = every.row_of("llama", tmp_path / "right")
    assert (row["outcome"], row["why"]) == ("wrong", "it is Tuesday")
    assert every.row_of("bert", tmp_path / "ahead")["outcome"] == "refused"


def test_losses_that_differ_make_a_type_wrong(
    every: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = every.Passes.total_loss

    def more(self: Any, documents: Any) -> tuple[float, float]:
        total, weight = right(self, documents)
        return total * (1.001 if len(documents) > 1 else 1.0), weight

    monkeypatch.setattr(every.Passes, "total_loss", more)
    row = every.row_of("llama", tmp_path)
    assert (row["outcome"], row["why"]) == ("wrong", "loss by 0.001")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("loss", float("nan"), "loss by nan"),
        ("loss, one by one", 2e-4, "loss, one by one by 0.0002"),
        ("likelihood", 2e-4, "likelihood by 0.0002"),
        ("gradient", 2e-3, "gradient by 0.002"),
        ("texts", 3, "2 texts"),
        ("texts, one by one", 4, "1 texts, one by one"),
        ("reads ahead", True, "taken, though it reads ahead"),
    ],
)
def test_each_difference_is_told(every: ModuleType, name: str, value: Any, said: str) -> None:
    assert not [*every.differing(_RIGHT)]
    assert [*every.differing({**_RIGHT, name: value})] == [said]


def test_a_token_that_rounding_decides_ends_the_comparison(every: ModuleType) -> None:
    assert every._same([1, 2, 3], [1, 2, 3], [1.0, 1.0, 1.0])
    assert every._same([1, 5, 6], [1, 2, 3], [1.0, 1e-6, 1.0])
    assert not every._same([1, 5, 6], [1, 2, 3], [1.0, 1e-2, 1.0])
    assert not every._same([1, 2], [1, 2, 3], [1.0, 1.0, 1.0])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_ends_or_does_not_is_told(
    every: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row_of(name: str, _: Path) -> dict[str, Any]:
        if name == "dies":
            os._exit(3)
        if name == "stays":
            time.sleep(60)
        return {"model": name, "outcome": "ok"}

    monkeypatch.setattr(every, "row_of", row_of)
    rows = [every.apart(name, 1) for name in ("ends", "dies", "stays")]
    assert [row["outcome"] for row in rows] == ["ok", "traceback", "too slow"]
    assert "code 3" in rows[1]["why"]


def test_rows_are_stored_with_what_made_them(every: ModuleType, tmp_path: Path) -> None:
    refused = {"model": "bert", "outcome": "refused", "why": "it reads both sides"}
    every.write(tmp_path / "results" / "every-model.json", [_RIGHT, refused])
    stored = json.loads((tmp_path / "results" / "every-model.json").read_text())
    assert stored["outcomes"] == {"ok": 1, "refused": 1}
    assert stored["training"] == {"fast": 1}
    assert stored["largest differences"]["gradient"] == 1e-5
    assert {"date", "command", "machine", "versions"} < {*stored}
    assert stored["models"] == [_RIGHT, refused]
