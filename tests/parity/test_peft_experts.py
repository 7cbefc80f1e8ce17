"""LoRA on experts and routers is PEFT's: adapters go both ways, gradients are the same."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brulee.errors import InputError
from brulee.methods import build_method
from brulee.methods.base import Attached
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.lora_experts import LoRAParameters
from brulee.methods.storing import save_adapter
from brulee.recipe import MethodSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings(
    "error",
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:`past_key_values` is deprecated:FutureWarning",
    # Those that match parameters are used, and are said not to be.
    "ignore:The following (rank|alpha)_pattern keys did not match:RuntimeWarning",
)

_FOUND = runpy.run_path(str(Path(__file__).parent.parent / "experts.py"))
FAMILIES: list[str] = list(_FOUND["EXPERTS"])
make_experts: Callable[..., PreTrainedModel] = _FOUND["make_experts"]
as_base: Callable[..., Any] = _FOUND["as_base"]

EVERYTHING = {"target": ["all-linear", "experts", "router"]}
TARGETS: list[dict[str, Any]] = [
    {"target": "all-linear"},
    {"target": "experts"},
    {"target": "router"},
    {"target": ["parameter:experts.down_proj"]},
    EVERYTHING,
    {**EVERYTHING, "rslora": True, "ranks": {"gate_up_proj": 5, "down_proj": 2}},
]


def _attach(model: PreTrainedModel, options: dict[str, Any]) -> Attached:
    spec = {"name": "lora", "rank": 3, "alpha": 7.0, **options}
    return build_method(MethodSpec.model_validate(spec)).attach(model)


def _drawn(model: Any) -> None:
    draw = torch.Generator().manual_seed(7)
    for parameter in (p for p in model.parameters() if p.requires_grad):
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=draw)


def _logits(model: Any) -> torch.Tensor:
    ids = torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    logits: torch.Tensor = model(input_ids=ids).logits
    return logits


@pytest.mark.diagonal("name", "options")
@pytest.mark.parametrize("options", TARGETS, ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_our_adapter_gives_the_same_logits_and_gradients_in_peft(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    model = make_experts(name)
    before = _logits(model).detach()
    attached = _attach(model, options)
    _drawn(model)
    save_adapter(tmp_path, attached, as_base(model, name), "tiny", "", {})
    ours = _logits(model)
    assert (ours - before).abs().max() > 0.05, "the adapter changes nothing: nothing is tested"

    theirs = peft.PeftModel.from_pretrained(make_experts(name), tmp_path, is_trainable=True).eval()
    expected = _logits(theirs)
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-5)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    (ours * weights).sum().backward()
    (expected * weights).sum().backward()
    assert _lengths(attached) == pytest.approx(_their_lengths(theirs), rel=1e-4)


def _lengths(attached: Attached) -> list[float]:
    """Of the gradients, in no order: the two hold a pair's values in different shapes."""
    parameters = [p for group in attached.groups() for p in group.parameters]
    return sorted(float(p.grad.norm()) for p in parameters if p.grad is not None)


def _their_lengths(model: Any) -> list[float]:
    return sorted(float(p.grad.norm()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_stand_where_pefts_stand(tmp_path: Path, name: str) -> None:
    """A step against the gradient, stored, is the same file."""
    model = make_experts(name)
    attached = _attach(model, EVERYTHING)
    _drawn(model)
    save_adapter(tmp_path, attached, as_base(model, name), "tiny", "", {})
    theirs = peft.PeftModel.from_pretrained(make_experts(name), tmp_path, is_trainable=True).eval()
    for each in (model, theirs):
        _logits(each).square().mean().backward()
        for parameter in (p for p in each.parameters() if p.grad is not None):
            parameter.data -= parameter.grad
    stored = peft.get_peft_model_state_dict(theirs, save_embedding_layers=False)
    ours = attached.tensors()
    assert stored.keys() == ours.keys()
    for key, tensor in ours.items():
        torch.testing.assert_close(tensor, stored[key], atol=1e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", FAMILIES)
def test_pefts_adapter_gives_the_same_logits_here(tmp_path: Path, name: str) -> None:
    parts = ["experts.gate_up_proj", "experts.down_proj"]
    config = peft.LoraConfig(r=3, target_modules=["o_proj"], target_parameters=parts)
    theirs = peft.get_peft_model(make_experts(name), config).eval()
    _drawn(theirs)
    theirs.save_pretrained(tmp_path)
    base = as_base(make_experts(name), name)
    attached = attach_adapter(open_adapter(tmp_path), base)
    torch.testing.assert_close(_logits(base.model), _logits(theirs), atol=2e-5, rtol=1e-5)
    assert attached.trainable() == sum(p.numel() for p in theirs.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", ["qwen3", "glm4", "deepseek3"])
def test_what_peft_takes_all_linear_for_is_read_here(tmp_path: Path, name: str) -> None:
    """Of families whose experts were linear maps once PEFT makes experts and routers of it."""
    theirs = peft.get_peft_model(
        make_experts(name), peft.LoraConfig(r=3, target_modules="all-linear")
    ).eval()
    assert "down_proj" in theirs.peft_config["default"].target_parameters
    _drawn(theirs)
    theirs.save_pretrained(tmp_path)
    base = as_base(make_experts(name), name)
    attach_adapter(open_adapter(tmp_path), base)
    torch.testing.assert_close(_logits(base.model), _logits(theirs), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_merged_and_taken_off(name: str) -> None:
    model = make_experts(name)
    before = _logits(model)
    for folds in (False, True):
        attached = _attach(model, EVERYTHING)
        _drawn(model)
        tuned = _logits(model)
        with attached.disabled():
            assert torch.equal(_logits(model), before)
        (attached.merge if folds else attached.detach)()
        expected = tuned if folds else before
        torch.testing.assert_close(_logits(model), expected, atol=2e-5, rtol=1e-5)
    assert not any(isinstance(module, LoRAParameters) for module in model.modules())


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "qwen3",
            {"target": "experts", "dropout": 0.1},
            "method.dropout: not available for experts",
        ),
        ("qwen3", {"target": "experts", "dora": True}, "method.dora: not available for an expert"),
        (
            "qwen3",
            {"target": "router", "init": "pissa"},
            "method.init: not available for an expert",
        ),
        ("qwen3", {"target": "parameter:norm.weight"}, "Valid: experts.down_proj, experts.gate_"),
        ("qwen3", {"target": "gate_up_proj"}, "parameter:gate_up_proj"),
        ("qwen3", {"target": "mlp"}, "experts, router"),
        ("qwen3", {"target": "experts", "rank": 200}, "valid: 1 to 128"),
        ("qwen3", {"target": "experts", "ranks": {"up_proj": 2}}, "matches none of the 4 targets"),
    ],
    ids=str,
)
def test_what_experts_cannot_have_is_said(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        _attach(make_experts(name), options)
    assert said in str(caught.value)


def test_a_model_without_experts_says_so(make_model: Callable[..., PreTrainedModel]) -> None:
    with pytest.raises(InputError, match="LlamaForCausalLM has no experts"):
        _attach(make_model("llama"), {"target": ["all-linear", "experts"]})


@pytest.mark.parametrize("name", FAMILIES)
def test_all_linear_leaves_experts_and_routers_alone(name: str) -> None:
    model = make_experts(name)
    _attach(model, {})
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert not [n for n in trained if ".experts." in n or ".router." in n or ".gate." in n]
