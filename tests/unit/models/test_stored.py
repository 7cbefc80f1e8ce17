"""Checkpoints that are stored quantised stand for the values that they stand for."""

from __future__ import annotations

import importlib.util
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from brulee.errors import InputError
from brulee.methods import build_method
from brulee.methods.merging import merge
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base, load_base
from brulee.models.quantising import in_four_bits, unpacked
from brulee.models.skeleton import held_as, load_shallow
from brulee.recipe import MethodSpec

HAS = importlib.util.find_spec("bitsandbytes") is not None
needs = pytest.mark.skipif(not HAS, reason="bitsandbytes is not installed")
CPU = torch.device("cpu")
make_experts = runpy.run_path(str(Path(__file__).parents[2] / "experts.py"))["make_experts"]
_SIZES = {"hidden_size": 128, "intermediate_size": 256}
_EDGE = 32  # of a block of FP8
# The sixteen values of four bits in MXFP4: a sign, two bits of exponent and one of mantissa.
_E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
Stored = Callable[[str], tuple[Path, dict[str, torch.Tensor]]]


@pytest.fixture(scope="module")
def stored(make_base: Callable[..., Base], tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A folder with a model stored in a way, and the values its linear layers stand for."""
    made: dict[str, tuple[Path, dict[str, torch.Tensor]]] = {}
    root = tmp_path_factory.mktemp("stored")

    def of(kind: str) -> tuple[Path, dict[str, torch.Tensor]]:
        if kind not in made:
            base = make_base("llama", **_SIZES)
            base.model.to(torch.bfloat16).save_pretrained(root / "plain")
            values = _BY[kind](root / "plain", root / kind)
            base.tokenizer.save_pretrained(root / kind)
            made[kind] = root / kind, values
        return made[kind]

    return of


def _fp8(plain: Path, folder: Path) -> dict[str, torch.Tensor]:
    """Blocks of a scale and values of eight bits, as DeepSeek V3's and Qwen 3's are."""
    values, held = {}, {}
    for name, weight in load_file(plain / "model.safetensors").items():
        held[name] = weight
        if "_proj" in name:
            rows, columns = (side // _EDGE for side in weight.shape)
            blocks = weight.float().view(rows, _EDGE, columns, _EDGE)
            scales = blocks.abs().amax((1, 3)) / 448
            eighths = (blocks / scales[:, None, :, None]).to(torch.float8_e4m3fn)
            held[name] = eighths.reshape(weight.shape)
            held[f"{name}_scale_inv"] = scales
            values[name] = (eighths.float() * scales[:, None, :, None]).reshape(weight.shape)
    said = {"quant_method": "fp8", "weight_block_size": [_EDGE, _EDGE]}
    _write(plain, folder, held, {**said, "fmt": "e4m3", "activation_scheme": "dynamic"})
    return values


def _write(plain: Path, folder: Path, held: dict[str, torch.Tensor], said: dict[str, Any]) -> None:
    folder.mkdir()
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((plain / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": said}))


def _bitsandbytes(**how: Any) -> Callable[[Path, Path], dict[str, torch.Tensor]]:
    def make(plain: Path, folder: Path) -> dict[str, torch.Tensor]:
        from transformers import BitsAndBytesConfig

        model = AutoModelForCausalLM.from_pretrained(
            plain, quantization_config=BitsAndBytesConfig(**how), dtype=torch.bfloat16
        )
        model.save_pretrained(folder)
        return {
            f"{name}.weight": _value(module.weight)
            for name, module in model.named_modules()
            if name.endswith("_proj")
        }

    return make


def _value(weight: Any) -> torch.Tensor:
    if in_four_bits(weight):
        weight.quant_state.dtype = torch.float32
        return unpacked(weight, torch.float32)
    return weight.CB.float() * weight.SCB[:, None] / 127


_BY: dict[str, Callable[[Path, Path], dict[str, torch.Tensor]]] = {
    "fp8": _fp8,
    "nf4": _bitsandbytes(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    ),
    "fp4": _bitsandbytes(load_in_4bit=True, bnb_4bit_quant_type="fp4"),
    "int8": _bitsandbytes(load_in_8bit=True),
}
KINDS = ["fp8", *(pytest.param(kind, marks=needs) for kind in ("nf4", "fp4", "int8"))]
STAYS = ("nf4", "fp4")


def _load(folder: Path, quantise: str | None = None, dtype: torch.dtype = torch.float32) -> Base:
    return load_base(str(folder), dtype, CPU, quantise=quantise)


def _logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(5, 40)[None]).logits
    return logits


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_with_the_values_that_are_stored(stored: Stored, kind: str) -> None:
    """In the precision that is asked for, whichever the checkpoint has."""
    folder, values = stored(kind)
    base = _load(folder)
    assert base.quantised == (kind if kind in STAYS else None)
    assert {p.dtype for p in base.model.parameters() if not in_four_bits(p)} == {torch.float32}
    expected = AutoModelForCausalLM.from_pretrained(folder.parent / "plain", dtype=torch.float32)
    with torch.no_grad():
        assert {name for name, _ in expected.named_parameters() if "_proj" in name} == {*values}
        moved = [(expected.get_parameter(n) - v).abs().max() for n, v in values.items()]
        assert min(moved) > 0, "nothing was quantised"
        for name, value in values.items():
            expected.get_parameter(name).copy_(value)
    torch.testing.assert_close(_logits(base.model), _logits(expected), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_trained_over_it_stored_and_merged(
    stored: Stored, kind: str, tmp_path: Path
) -> None:
    folder, _ = stored(kind)
    base = _load(folder)
    method = build_method(MethodSpec(name="lora", rank=2))
    attached = method.attach(base.model)
    _logits(base.model)
    base.model(input_ids=torch.arange(5, 40)[None]).logits.square().mean().backward()
    parameters = [p for group in attached.groups() for p in group.parameters]
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in parameters)
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.1 * torch.randn(parameter.shape)
    beside = _logits(base.model)
    save_adapter(
        tmp_path / "adapter", attached, base, str(folder), "", {"method": {"name": "lora"}}
    )
    made = merge(tmp_path / "adapter", tmp_path / "merged", "float32")
    assert made.held == (kind if kind in STAYS else None)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not hasattr(merged.config, "quantization_config")
    torch.testing.assert_close(_logits(merged), beside, atol=1e-4, rtol=1e-4)


@needs
def test_four_bits_may_be_asked_for_by_name(stored: Stored) -> None:
    """As an adapter that was trained on them does."""
    assert _load(stored("nf4")[0], "nf4").quantised == "nf4"


@pytest.mark.parametrize(
    ("kind", "called"), [("fp8", "FP8"), pytest.param("fp4", "FP4", marks=needs)]
)
def test_what_is_quantised_is_not_quantised_again(stored: Stored, kind: str, called: str) -> None:
    with pytest.raises(InputError, match=f"its weights are stored in {called} already; leave"):
        _load(stored(kind)[0], "nf4")


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_is_of_what_is_held(stored: Stored, kind: str) -> None:
    folder = str(stored(kind)[0])
    held = held_as(folder, None)
    assert held == (kind if kind in STAYS else None)
    shallow = load_shallow(folder, 1, torch.float32, CPU, held)
    assert any(map(in_four_bits, shallow.parameters())) == (kind in STAYS)


@pytest.mark.parametrize("method", ["gptq", "awq", "compressed-tensors"])
def test_what_is_not_read_says_what_is(stored: Stored, method: str, tmp_path: Path) -> None:
    plain = stored("fp8")[0].parent / "plain"
    weights = load_file(plain / "model.safetensors")
    _write(plain, tmp_path / "other", weights, {"quant_method": method, "bits": 4})
    said = rf"other'?: its weights are stored quantised by '{method}'.*Valid: weights that are not"
    with pytest.raises(InputError, match=said):
        _load(tmp_path / "other")
    with pytest.raises(InputError, match=said):
        held_as(str(tmp_path / "other"), None)


def test_experts_in_mxfp4_are_unpacked(make_base: Callable[..., Base], tmp_path: Path) -> None:
    """As gpt-oss has them: 32 values share a power of two, the first of a pair in the low bits."""
    model = make_experts("gpt-oss", intermediate_size=32)
    model.save_pretrained(tmp_path / "plain")
    values, held = {}, {}
    draw = torch.Generator().manual_seed(0)
    for name, weight in load_file(tmp_path / "plain" / "model.safetensors").items():
        held[name] = weight
        if name.endswith(("gate_up_proj", "down_proj")):
            experts, inputs, outputs = weight.shape
            shape = (experts, outputs, inputs // 32, 32)
            codes = torch.randint(0, 16, shape, generator=draw, dtype=torch.uint8)
            exponents = torch.randint(-4, 0, shape[:3], generator=draw)
            signed = torch.cat([_E2M1, -_E2M1])[codes.long()]
            value = (signed * 2.0 ** exponents[..., None]).view(experts, outputs, inputs)
            values[name] = value.transpose(1, 2)
            del held[name]
            held[f"{name}_blocks"] = codes[..., 0::2] | (codes[..., 1::2] << 4)
            held[f"{name}_scales"] = (exponents + 127).to(torch.uint8)
    said = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}
    _write(tmp_path / "plain", tmp_path / "mxfp4", held, said)
    make_base("llama").tokenizer.save_pretrained(tmp_path / "mxfp4")
    base = _load(tmp_path / "mxfp4")
    assert base.quantised is None
    with torch.no_grad():
        for name, value in values.items():
            model.get_parameter(name).copy_(value)
    torch.testing.assert_close(_logits(base.model), _logits(model), atol=1e-5, rtol=1e-4)
