"""Where PEFT loads a damaged or foreign adapter, with a warning or without one, this refuses."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file

from brulee.errors import InputError
from brulee.methods.adapter_files import CONFIG, WEIGHTS
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.models.loading import Base

# It reads a property of the model that this transformers renames.
pytestmark = pytest.mark.filterwarnings(
    "error",
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:`past_key_values` is deprecated:FutureWarning",
)

MakeBase = Callable[..., Base]
CONFIGS: dict[str, PeftConfig] = {
    "lora": LoraConfig(r=3, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    "dora": LoraConfig(r=3, use_dora=True, target_modules=["v_proj"], task_type="CAUSAL_LM"),
    "ia3": IA3Config(
        target_modules=["k_proj", "down_proj"],
        feedforward_modules=["down_proj"],
        task_type="CAUSAL_LM",
    ),
    "prompt": PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
    "prefix": PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
}


@pytest.fixture(params=CONFIGS)
def folder(request: pytest.FixtureRequest, make_base: MakeBase, tmp_path: Path) -> Path:
    """An adapter as PEFT writes it, every value of it away from its start."""
    model = get_peft_model(make_base("llama").model, CONFIGS[request.param])
    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)
    model.save_pretrained(tmp_path)
    return tmp_path


def _in_peft(folder: Path, make_base: MakeBase, seed: int = 0) -> tuple[torch.Tensor, list[str]]:
    """Its logits, and what was said while it was loaded."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(make_base("llama", seed=seed).model, folder).eval()
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(5, 20).unsqueeze(0)).logits
    kept = [str(w.message) for w in said if "deprecated" not in str(w.message)]
    return logits, kept


def _refusal(folder: Path, base: Base) -> str:
    with pytest.raises(InputError) as refusal:
        attach_adapter(open_adapter(folder), base)
    return str(refusal.value)


def test_undamaged_both_load_it(folder: Path, make_base: MakeBase) -> None:
    _, said = _in_peft(folder, make_base)
    assert said == []
    attach_adapter(open_adapter(folder), make_base("llama"))


def test_wrong_keys(folder: Path, make_base: MakeBase) -> None:
    tensors = {f"{key}x": tensor for key, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    if "prompt_embeddingsx" in tensors:
        with pytest.raises(KeyError):
            _in_peft(folder, make_base)
    else:
        _, said = _in_peft(folder, make_base)
        assert len(said) == 1, "PEFT has come to refuse it, or to say nothing"
        assert "missing adapter keys" in said[0]
    assert "lacks tensor" in _refusal(folder, make_base("llama"))


def test_a_missing_tensor(folder: Path, make_base: MakeBase) -> None:
    tensors = load_file(folder / WEIGHTS)
    key = max(tensors)
    del tensors[key]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    if tensors:
        _, said = _in_peft(folder, make_base)
        assert any("missing adapter keys" in each for each in said)
    assert f"lacks tensor {key!r}" in _refusal(folder, make_base("llama"))


def test_a_tensor_too_many_of_which_peft_says_nothing(folder: Path, make_base: MakeBase) -> None:
    expected, _ = _in_peft(folder, make_base)
    tensors = {**load_file(folder / WEIGHTS), "base_model.model.more": torch.ones(2)}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    logits, said = _in_peft(folder, make_base)
    assert said == []
    assert torch.equal(logits, expected)
    assert "unknown tensor 'base_model.model.more'" in _refusal(folder, make_base("llama"))


def test_values_that_are_not_finite_of_which_peft_says_nothing(
    folder: Path, make_base: MakeBase
) -> None:
    tensors = load_file(folder / WEIGHTS)
    # Not a key's: attention on a CPU with AVX-512 may give a NaN among the scores no weight.
    key = max(name for name in tensors if "k_proj" not in name)
    tensors[key].view(-1)[0] = float("nan")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    logits, said = _in_peft(folder, make_base)
    assert said == []
    assert logits.isnan().any()
    assert f"tensor {key!r} holds NaN" in _refusal(folder, make_base("llama"))


def test_another_base_of_the_same_sizes_which_peft_cannot_know(
    folder: Path, make_base: MakeBase
) -> None:
    """Nor can this where PEFT wrote the adapter: only a record of our own has a digest."""
    from brulee.methods.storing import save_adapter

    _, said = _in_peft(folder, make_base, seed=1)
    assert said == []
    base, other = make_base("llama"), make_base("llama", seed=1)
    attach_adapter(open_adapter(folder), other).detach()
    attached = attach_adapter(open_adapter(folder), base)
    save_adapter(folder, attached, base, "tiny", "", {})
    _in_peft(folder, make_base, seed=1)
    assert "made for the base 'tiny' with digest llama-0" in _refusal(folder, other)


@pytest.mark.parametrize("bit", [30, 29, 22, 0])
def test_a_flipped_bit_shows_where_it_makes_a_value_enormous(
    folder: Path, make_base: MakeBase, bit: int
) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    values = np.frombuffer(content[8 + length :], "<f4")
    at = 8 + length + 4 * int(np.flatnonzero((abs(values) > 1e-3) & (abs(values) < 1.5))[0])
    content[at + bit // 8] ^= 1 << bit % 8
    (folder / WEIGHTS).write_bytes(content)
    if bit == 30:
        assert "no training gives" in _refusal(folder, make_base("llama"))
    else:
        attach_adapter(open_adapter(folder), make_base("llama"))


def test_a_configuration_cut_short(folder: Path, make_base: MakeBase) -> None:
    text = (folder / CONFIG).read_text()
    for kept in range(0, len(text) - 1, 37):
        (folder / CONFIG).write_text(text[:kept])
        assert "not valid JSON" in _refusal(folder, make_base("llama"))
    (folder / CONFIG).write_text(json.dumps([1]))
    assert "a JSON object was expected" in _refusal(folder, make_base("llama"))
