"""Experts in four bits compute with the values they were rounded to, forwards and backwards."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods import build_method
from brulee.methods.merging import merge
from brulee.methods.storing import save_adapter
from brulee.models.experts import experts_in
from brulee.models.fused_decoder import fused_decoder
from brulee.models.loading import load_base
from brulee.models.quantised_experts import QuantisedExperts
from brulee.models.quantising import held_bytes, parameter_count, unpacked
from brulee.models.skeleton import load_shallow
from brulee.recipe import MethodSpec

pytest.importorskip("bitsandbytes")
make_experts: Callable[..., PreTrainedModel] = runpy.run_path(
    str(Path(__file__).parents[2] / "experts.py")
)["make_experts"]
CPU = torch.device("cpu")


@pytest.fixture
def stored(make_tokenizer: Callable[..., Any], tmp_path: Path) -> Callable[[str], Path]:
    """`stored("qwen3")`: a folder with a model of that family."""

    def made(name: str) -> Path:
        make_experts(name, hidden_size=64).save_pretrained(tmp_path)
        make_tokenizer().save_pretrained(tmp_path)
        return tmp_path

    return made


def _loaded(folder: Path, quantise: str | None = None) -> PreTrainedModel:
    return load_base(str(folder), torch.float32, CPU, quantise=quantise).model


def _with_rounded_values(folder: Path, quantised: PreTrainedModel) -> PreTrainedModel:
    """The same model in fp32, with the values that four bits stand for."""
    model = _loaded(folder)
    with torch.no_grad():
        for path, module in quantised.named_modules():
            own = model.get_submodule(path) if ".experts." not in path else None
            if own is not None and isinstance(module, QuantisedExperts):
                for name in module.packed:
                    weight = own.get_parameter(name)
                    values = [module.matrix(name, at) for at in range(len(weight))]
                    rounded = torch.stack(values)
                    assert 0.05 < (rounded - weight).norm() / weight.norm() < 0.11
                    weight.copy_(rounded)
            elif own is not None and type(module).__name__ == "Linear4bit":
                own.get_parameter("weight").copy_(unpacked(module.weight, torch.float32))
    return model


@pytest.mark.parametrize("name", ["qwen3", "mixtral", "gpt-oss", "deepseek3", "hunyuan"])
@pytest.mark.parametrize("target", [["all-linear"], ["experts", "router"]])
def test_losses_and_gradients_are_those_of_the_rounded_values(
    stored: Callable[[str], Path], name: str, target: list[str]
) -> None:
    folder = stored(name)
    model = _loaded(folder, "nf4")
    both, ids = (model, _with_rounded_values(folder, model)), torch.arange(3, 20)[None]
    assert not [n for n, p in model.named_parameters() if p.ndim == 3]
    found = []
    for each in both:
        attached = build_method(MethodSpec(name="lora", target=target)).attach(each)
        draw = torch.Generator().manual_seed(0)
        parameters = [p for group in attached.groups() for p in group.parameters]
        for parameter in parameters:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=draw)
        logits = each(ids).logits
        logits.square().mean().backward()
        found.append((logits, [p.grad for p in parameters], attached.config()))
    (logits, ours, config), (expected, theirs, plain) = found
    assert config == plain, "the file would not be read on an unquantised base"
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_they_are_counted_and_take_the_fast_path(stored: Callable[[str], Path]) -> None:
    folder = stored("qwen3")
    model, plain = _loaded(folder, "nf4"), _loaded(folder)
    assert parameter_count(model) == parameter_count(plain)
    assert experts_in(model) == experts_in(plain)
    found = experts_in(plain)
    assert found is not None
    saved = held_bytes(plain) - held_bytes(model)
    assert saved > 0.85 * 4 * found.values, "of 32 bits 4 and a scale should be left"
    assert fused_decoder(model) is not None


def test_a_model_to_try_is_held_the_same_way(stored: Callable[[str], Path]) -> None:
    shallow = load_shallow(str(stored("qwen3")), 1, torch.float32, CPU, "nf4")
    assert any(isinstance(module, QuantisedExperts) for module in shallow.modules())


def test_they_cannot_be_merged_into(stored: Callable[[str], Path]) -> None:
    model = _loaded(stored("qwen3"), "nf4")
    attached = build_method(MethodSpec(name="lora", target="experts")).attach(model)
    with pytest.raises(InputError, match="this base is quantised"):
        attached.merge()


@pytest.mark.parametrize("name", ["qwen3", "gpt-oss"])
def test_an_adapter_is_merged_into_what_four_bits_stand_for(
    stored: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    folder = stored(name)
    base = load_base(str(folder), torch.float32, CPU, quantise="nf4")
    attached = build_method(MethodSpec(name="lora", target="experts")).attach(base.model)
    for group in attached.groups():
        for parameter in group.parameters:
            parameter.data = 0.1 * torch.randn(parameter.shape)
    ids = torch.arange(3, 20)[None]
    expected = base.model(ids).logits
    save_adapter(tmp_path / "adapter", attached, base, str(folder), "", {})
    merge(tmp_path / "adapter", tmp_path / "merged", "float32")
    torch.testing.assert_close(
        _loaded(tmp_path / "merged")(ids).logits, expected, atol=1e-4, rtol=1e-4
    )


def test_experts_that_compute_in_a_way_of_their_own_are_refused(
    stored: Callable[[str], Path],
) -> None:
    with pytest.raises(InputError, match=r"Llama4TextExperts.*cannot be held in four bits"):
        _loaded(stored("llama4"), "nf4")
