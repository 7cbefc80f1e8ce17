"""A base in four bits: the same files and digest, a quarter of the memory, values that stay."""

from __future__ import annotations

import importlib.util
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.errors import InputError
from brulee.models.attention import packs_exactly
from brulee.models.loading import Base, load_base
from brulee.models.quantising import (
    held_bytes,
    in_four_bits,
    parameter_count,
    quantisation,
    unpacked,
)
from brulee.models.taken_weights import taken_weights

make_family = runpy.run_path(str(Path(__file__).parent / "families.py"))["make_family"]
HAS = importlib.util.find_spec("bitsandbytes") is not None
needs = pytest.mark.skipif(not HAS, reason="bitsandbytes is not installed")
SIZES = {"hidden_size": 128, "intermediate_size": 256}


@pytest.fixture(scope="module")
def folder(make_base: Callable[..., Base], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Llama whose maps have sides that four-bit kernels like."""
    base, where = make_base("llama", **SIZES), tmp_path_factory.mktemp("models") / "llama"
    base.model.save_pretrained(where)
    base.tokenizer.save_pretrained(where)
    return where


def _load(folder: Path, quantise: str | None = "nf4", dtype: torch.dtype = torch.float32) -> Base:
    return load_base(str(folder), dtype, torch.device("cpu"), quantise=quantise)


def _in_four_bits(base: Base) -> bool:
    return any(map(in_four_bits, base.model.parameters()))


def _logits(base: Base, ids: Any = range(5, 40)) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = base.model(input_ids=torch.tensor([list(ids)])).logits
    return logits.float()


@needs
def test_the_files_and_their_digest_are_those_of_the_plain_base(folder: Path) -> None:
    plain, quantised = _load(folder, None), _load(folder)
    assert (quantised.digest, quantised.name) == (plain.digest, plain.name)
    assert (plain.quantised, quantised.quantised) == (None, "nf4")
    assert (_in_four_bits(plain), _in_four_bits(quantised)) == (False, True)
    assert parameter_count(quantised.model) == parameter_count(plain.model)
    assert not quantised.model.training


@needs
def test_the_blocks_take_at_most_35_percent_of_bfloat16(folder: Path) -> None:
    plain = _load(folder, None, torch.bfloat16).model.model.layers
    quantised = _load(folder, dtype=torch.bfloat16).model.model.layers
    assert held_bytes(plain) == sum(p.numel() * 2 for p in plain.parameters())
    assert held_bytes(quantised) <= 0.35 * held_bytes(plain)


@needs
def test_its_values_are_nearly_those_of_the_plain_base(folder: Path) -> None:
    from bitsandbytes.functional import dequantize_4bit

    plain = _load(folder, None).model.model.layers[0].mlp.up_proj.weight
    held = _load(folder).model.model.layers[0].mlp.up_proj.weight
    weight = dequantize_4bit(held.data, held.quant_state)
    error = float((weight - plain).norm().detach() / plain.norm().detach())
    assert 0.02 < error < 0.12  # 16 values for a normal distribution: a tenth of its spread


@needs
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inferring_leaves_every_value_as_it_was(folder: Path, dtype: torch.dtype) -> None:
    base = _load(folder, dtype=dtype)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    _logits(base)
    base.model.train()
    _logits(base)
    base.model.eval()
    _logits(base)
    after = base.model.state_dict()
    assert before.keys() == after.keys()
    assert any("nested_absmax" in name for name in before), "the scales are not quantised too"
    assert all(torch.equal(before[name], after[name]) for name in before)


@needs
def test_documents_are_packed_on_it(folder: Path) -> None:
    assert packs_exactly(_load(folder).model)


@needs
@pytest.mark.parametrize("asked", ["nf4", None])
def test_what_is_stored_quantised_is_not_quantised_again(
    folder: Path, tmp_path: Path, asked: str | None
) -> None:
    base = _load(folder)
    base.model.save_pretrained(tmp_path / "nf4")
    base.tokenizer.save_pretrained(tmp_path / "nf4")
    again = _load(tmp_path / "nf4", asked)
    assert (again.quantised, again.digest == base.digest) == ("nf4", False)
    torch.testing.assert_close(_logits(again), _logits(base))


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(InputError, match=r"quantisation 'nf5'.*nf4"):
        quantisation("nf5", torch.float32)


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"needs bitsandbytes.*pip install 'brulee\[quantised\]'"):
        quantisation("nf4", torch.float32)


def test_nothing_asked_for_is_nothing_done() -> None:
    assert quantisation(None, torch.float32) is None


def test_a_gguf_says_what_can_be_quantised(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("token_embd.weight", torch.zeros(4, 4).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match=r"a\.gguf: model\.quantise: only a transformers folder"):
        _load(tmp_path / "a.gguf")


@needs
def test_an_encoder_decoder_too(make_base: Callable[..., Base], tmp_path: Path) -> None:
    base = make_base("t5", d_model=64, d_ff=128, d_kv=16)
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    quantised = _load(tmp_path)
    assert _in_four_bits(quantised)
    assert quantised.kind == "seq2seq"
    assert json.loads((tmp_path / "config.json").read_text()).get("quantization_config") is None


@needs
@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("mamba", {"x_proj", "dt_proj", "out_proj"}),
        pytest.param("bamba", {"out_proj"}, marks=pytest.mark.slow),
        ("gemma3n", {"prediction_coefs", "correction_coefs"}),
    ],
)
def test_what_is_taken_as_it_is_stored_is_not_packed(
    make_base: Callable[..., Base], tmp_path: Path, name: str, taken: set[str]
) -> None:
    base = make_base("mamba" if name == "mamba" else "llama")
    (base.model if name == "mamba" else make_family(name)).save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    model = _load(tmp_path).model.train()
    packed = {n.removesuffix(".weight") for n, p in model.named_parameters() if in_four_bits(p)}
    assert {path.rpartition(".")[2] for path in taken_weights(model)} == taken
    assert packed
    assert not packed & {*taken_weights(model)}
    assert not any("lm_head" in path for path in packed)
    ids = torch.tensor([[5, 6, 7, 8]])
    assert model(input_ids=ids, labels=ids).loss.isfinite()


@needs
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_that_are_no_multiple_of_a_block_stand_for_what_was_packed(
    make_base: Callable[..., Base], tmp_path: Path, dtype: torch.dtype
) -> None:
    """NF4 is off by a tenth of normal weights; what bitsandbytes reads of these by a quarter."""
    base = make_base("llama", hidden_size=80, intermediate_size=144)
    with torch.no_grad():
        for parameter in base.model.parameters():
            parameter.normal_(0, 0.1)
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    plain, quantised = _load(tmp_path, None, dtype), _load(tmp_path, dtype=dtype)
    packed = [
        n for n, m in quantised.model.named_modules() if in_four_bits(m._parameters.get("weight"))
    ]
    assert len(packed) == 14
    for name in packed:
        module, exact = quantised.model.get_submodule(name), plain.model.get_submodule(name).weight
        found = unpacked(module.weight, torch.float32)
        assert (found - exact.float()).norm() < 0.11 * exact.float().norm(), name
        x = torch.randn(3, exact.shape[1], generator=torch.Generator().manual_seed(0)).to(dtype)
        ours, expected = module(x).float(), x.float() @ found.T
        assert (ours - expected).norm() < 0.01 * expected.norm(), name
