"""What every method promises: off again without a trace, merged without a change, stored whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods import METHODS, build_method
from brulee.methods.base import Attached
from brulee.methods.checkpoint import attach_adapter, open_adapter, save_adapter
from brulee.models.loading import Base
from brulee.recipe import MethodSpec, TrainSpec
from brulee.training.trainer import Document, Trainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MakeBase = Callable[..., Base]
MODELS = ["llama", "gpt2", "t5"]
# Every method under options that let it detach; a method without an entry fails the first test.
OPTIONS: dict[str, dict[str, Any]] = {
    "full": {"keep_base": True},
    "lora": {"rank": 4, "alpha": 8.0},
}
ADAPTERS = [name for name, method in METHODS.items() if not method.stores_model]


def test_every_method_is_held_to_the_contract() -> None:
    assert OPTIONS.keys() == METHODS.keys()


def _attach(base: Base, name: str) -> Attached:
    method = build_method(MethodSpec(name=name, **OPTIONS[name]))
    return method.attach(base.model, seed=0)


def _trained(base: Base, name: str) -> Attached:
    """Attached, with every trained value moved: no correction is left at its neutral start."""
    attached = _attach(base, name)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    return attached


def _logits(model: PreTrainedModel) -> torch.Tensor:
    ids = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    more = {"decoder_input_ids": ids.flip(0)} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, **more).logits
    return logits


def _state(model: PreTrainedModel) -> dict[str, tuple[torch.Tensor, bool]]:
    return {n: (p.detach().clone(), p.requires_grad) for n, p in model.named_parameters()}


def _assert_as_before(model: PreTrainedModel, before: dict[str, tuple[torch.Tensor, bool]]) -> None:
    after = _state(model)
    assert after.keys() == before.keys()
    for name, (tensor, trained) in before.items():
        assert torch.equal(after[name][0], tensor), name
        assert after[name][1] == trained, name


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", METHODS)
def test_detaching_leaves_the_base_bit_for_bit(make_base: MakeBase, name: str, model: str) -> None:
    base = make_base(model)
    # Some of the base was frozen by somebody else, and stays so.
    next(base.model.parameters()).requires_grad_(False)
    before, modules = _state(base.model), [type(m) for m in base.model.modules()]
    logits = _logits(base.model)
    attached = _trained(base, name)
    assert not torch.allclose(_logits(base.model), logits, atol=1e-2), "the method does nothing"
    attached.detach()
    _assert_as_before(base.model, before)
    assert [type(m) for m in base.model.modules()] == modules
    assert torch.equal(_logits(base.model), logits)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", METHODS)
def test_merging_changes_no_logit_and_leaves_no_module(
    make_base: MakeBase, name: str, model: str
) -> None:
    base = make_base(model)
    modules = [type(m) for m in base.model.modules()]
    attached = _trained(base, name)
    tuned = _logits(base.model)
    attached.merge()
    torch.testing.assert_close(_logits(base.model), tuned, atol=1e-5, rtol=1e-5)
    assert [type(m) for m in base.model.modules()] == modules


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", METHODS)
def test_disabled_computes_the_base_exactly_and_only_inside_the_block(
    make_base: MakeBase, name: str, model: str
) -> None:
    base = make_base(model)
    plain = _logits(base.model)
    attached = _trained(base, name)
    tuned = _logits(base.model)
    with attached.disabled():
        assert torch.equal(_logits(base.model), plain)
    assert torch.equal(_logits(base.model), tuned)
    with pytest.raises(RuntimeError), attached.disabled():
        raise RuntimeError
    assert torch.equal(_logits(base.model), tuned), "an error inside left it switched off"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ADAPTERS)
def test_a_fresh_adapter_changes_nothing(make_base: MakeBase, name: str, model: str) -> None:
    base = make_base(model)
    plain = _logits(base.model)
    _attach(base, name)
    torch.testing.assert_close(_logits(base.model), plain, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", METHODS)
def test_a_step_changes_what_is_trained_and_nothing_else(
    make_base: MakeBase, tmp_path: Path, name: str, model: str
) -> None:
    base = make_base(model)
    attached = _trained(base, name)
    groups = attached.groups()
    trained = {id(p) for group in groups for p in group.parameters}
    assert sum(len(group.parameters) for group in groups) == len(trained), "in two groups at once"
    before = _state(base.model)
    draw = random.Random(0)
    document = Encoded.ending(tuple(draw.sample(range(5, 300), 60)), 30)
    trainer = Trainer(
        base,
        attached,
        lambda i: Document(str(i), document),
        1,
        TrainSpec(batch_size=1, epochs=1.0),
        learning_rate=1e-2,
        folder=tmp_path,
    )
    trainer.train()
    for parameter_name, parameter in base.model.named_parameters():
        old, requires_grad = before[parameter_name]
        assert requires_grad == (id(parameter) in trained), parameter_name
        assert torch.equal(parameter, old) != (id(parameter) in trained), parameter_name


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", METHODS)
def test_the_trained_share_is_counted(make_base: MakeBase, name: str, model: str) -> None:
    base = make_base(model)
    attached = _attach(base, name)
    counted = sum(p.numel() for p in base.model.parameters() if p.requires_grad)
    assert attached.trainable() == counted > 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ADAPTERS)
def test_a_stored_adapter_gives_the_same_logits_on_a_fresh_base(
    make_base: MakeBase, tmp_path: Path, name: str, model: str
) -> None:
    base = make_base(model)
    attached = _trained(base, name)
    size = save_adapter(tmp_path, attached, base, "tiny", "a card", {"chat_template": "auto"})
    tuned = _logits(base.model)
    assert size == (tmp_path / "adapter_model.safetensors").stat().st_size

    fresh = make_base(model)
    plain, modules = _state(fresh.model), [type(m) for m in fresh.model.modules()]
    adapter = open_adapter(tmp_path)
    assert adapter.base_name == "tiny"
    assert adapter.method().name == name
    again = attach_adapter(adapter, fresh)
    torch.testing.assert_close(_logits(fresh.model), tuned, atol=1e-6, rtol=1e-6)
    for key, tensor in attached.tensors().items():
        assert torch.equal(again.tensors()[key], tensor), key
    again.detach()
    assert [type(m) for m in fresh.model.modules()] == modules
    _assert_as_before(fresh.model, plain)


@pytest.mark.parametrize("name", METHODS)
def test_tensors_can_be_taken_back(make_base: MakeBase, name: str) -> None:
    base = make_base("llama")
    attached = _trained(base, name)
    kept, tuned = attached.tensors(), _logits(base.model)
    assert all(t.dtype == torch.float32 and t.device.type == "cpu" for t in kept.values())
    kept = {key: tensor.clone() for key, tensor in kept.items()}
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.zero_()
    attached.load(kept)
    assert torch.equal(_logits(base.model), tuned)


@pytest.mark.parametrize("name", METHODS)
def test_the_seed_decides_the_start(make_base: MakeBase, name: str) -> None:
    method = build_method(MethodSpec(name=name, **OPTIONS[name]))
    starts = [method.attach(make_base("llama").model, seed).tensors() for seed in (0, 0, 1)]
    assert all(torch.equal(starts[0][k], starts[1][k]) for k in starts[0])
    if not METHODS[name].stores_model:
        assert any(not torch.equal(starts[0][k], starts[2][k]) for k in starts[0])


def test_full_without_a_copy_of_the_base_says_why_it_cannot_detach(make_base: MakeBase) -> None:
    attached = build_method(MethodSpec(name="full")).attach(make_base("llama").model)
    with pytest.raises(InputError, match=r"method\.keep_base=true"):
        attached.detach()


def test_lora_dropout_is_off_outside_training(make_base: MakeBase) -> None:
    base = make_base("llama")
    method = build_method(MethodSpec(name="lora", dropout=0.5))
    attached = method.attach(base.model)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.fill_(0.05)
    assert torch.equal(_logits(base.model), _logits(base.model))
    base.model.train()
    assert not torch.equal(_logits(base.model), _logits(base.model))
