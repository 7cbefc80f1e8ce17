"""Families of the fast path, and experts: two processes as one, and resumed to the same bits."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.models.fused_decoder import fused_decoder
from brulee.models.loading import load_base

HERE = Path(__file__).parent
NAMES = ["gemma3", "qwen3.5", "phi3", "olmo2", "lfm2", "experts"]
SEVERAL: dict[str, Any] = runpy.run_path(str(HERE / "test_several.py"))
TRAIN: Callable[..., list[int]] = SEVERAL["ONE"]["train"]
make_family = runpy.run_path(str(HERE.parent / "models" / "families.py"))["make_family"]
make_experts = runpy.run_path(str(HERE.parents[1] / "experts.py"))["make_experts"]
CASES = [
    "lora:model=gemma3",
    "lora:model=qwen3.5",
    "full:model=olmo2",
    "lora:model=phi3",
    "full:model=lfm2",
    "lora:model=experts:target=experts",
    "full:model=experts",
]
# Which values are dropped is a matter of the process, so that two are not as one.
DROPPING = ["lora:model=gpt2", "full:model=opt"]
DROPPED = {
    "gpt2": {"attn_pdrop": 0.1, "resid_pdrop": 0.1, "embd_pdrop": 0.1},
    "opt": {"dropout": 0.1, "attention_dropout": 0.1},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Callable[..., Any]) -> Path:
    """A folder of tiny models by family."""
    root = tmp_path_factory.mktemp("models")
    for name in (*NAMES, *DROPPED):
        own = DROPPED.get(name, {})
        model = make_experts("qwen3") if name == "experts" else make_family(name, **own)
        model.save_pretrained(root / name)
        make_tokenizer().save_pretrained(root / name)
    return root


@pytest.mark.fast_cases(4)  # those whose trainings below are fast
@pytest.mark.parametrize("name", [*NAMES, *DROPPED])
def test_they_take_the_fast_path(models: Path, name: str) -> None:
    base = load_base(str(models / name), torch.float32, torch.device("cpu"))
    assert fused_decoder(base.model) is not None


@pytest.mark.slow  # test_several.py has it of one family
def test_two_processes_give_the_losses_of_one(
    models: Path, tmp_path: Path, one_thread: None
) -> None:
    SEVERAL["launch"](models, tmp_path, *CASES)
    for case in CASES:
        SEVERAL["assert_same_curve"](tmp_path / case, SEVERAL["alone"](models, tmp_path, case))


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize("case", [*CASES, *DROPPING])
def test_a_resumed_training_ends_in_the_same_bits(
    models: Path, tmp_path: Path, one_thread: None, case: str
) -> None:
    (tmp_path / "straight").mkdir()
    (tmp_path / "halted").mkdir()
    TRAIN(case, models, tmp_path / "straight")
    TRAIN(f"{case}:halt=3", models, tmp_path / "halted")
    assert _last(tmp_path / "halted").name == "step-3"
    TRAIN(case, models, tmp_path / "halted")
    found, expected = (_last(tmp_path / name) for name in ("halted", "straight"))
    assert found.name == expected.name
    for file in sorted(expected.glob("*.safetensors")):
        assert (found / file.name).read_bytes() == file.read_bytes(), file.name
    curve = SEVERAL["curve"]
    assert curve(tmp_path / "halted") == curve(tmp_path / "straight")


def _last(folder: Path) -> Path:
    path = max((folder / "checkpoints").iterdir(), key=lambda p: int(p.name.split("-")[1]))
    assert list(path.glob("*.safetensors"))
    return path
