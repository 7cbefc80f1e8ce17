"""Adapters go both ways between PEFT and here, and train to the same numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods.base import Attached
from brulee.methods.checkpoint import WEIGHTS, attach_adapter, open_adapter, save_adapter
from brulee.methods.lora import LoRA, LoRAOptions
from brulee.models.loading import Base
from brulee.recipe import TrainSpec
from brulee.training.trainer import Document, Trainer

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

peft = pytest.importorskip("peft")
# PEFT only warns of keys that it cannot place, so anything it says is an error; except that it
# reads a property of the model that this transformers renames.
pytestmark = pytest.mark.filterwarnings(
    "error", "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

MakeBase = Callable[..., Base]
# Leaves that one model has more than once (c_proj) need whole paths in PEFT's target_modules.
CASES = [
    ("llama", "all-linear"),
    ("llama", "attention"),
    ("llama", "mlp"),
    ("llama", ["q_proj", "down_proj"]),
    ("llama", ["model.layers.1.self_attn.v_proj"]),
    ("qwen3", "all-linear"),
    ("gpt2", "all-linear"),
    ("gpt2", "attention"),
    ("gpt2", ["c_attn", "c_fc"]),
    ("t5", "all-linear"),
    ("t5", "attention"),
    ("t5", ["q", "v"]),
    ("t5-gated", "all-linear"),
    ("bart", "all-linear"),
]


def _logits(model: Any, seed: int = 0) -> torch.Tensor:
    """Of any model, PEFT's wrappers included, on a fixed batch of two rows."""
    ids = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(seed))
    more = {"decoder_input_ids": ids.flip(0)} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, **more).logits
    return logits


def _stored(model: PeftModel) -> dict[str, torch.Tensor]:
    # Without this flag PEFT asks the Hub about the base model's vocabulary.
    found: dict[str, torch.Tensor] = peft.get_peft_model_state_dict(
        model, save_embedding_layers=False
    )
    return found


def _randomise(parameters: Iterator[tuple[str, torch.nn.Parameter]]) -> None:
    """Every adapter weight away from its start, B from zero above all."""
    draw = torch.Generator().manual_seed(7)
    for _, parameter in parameters:
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=draw)


def _attach(base: Base, target: str | list[str], **options: Any) -> Attached:
    return LoRA(LoRAOptions(rank=3, alpha=7.0, target=target, **options)).attach(base.model)


@pytest.mark.parametrize(("name", "target"), CASES, ids=str)
def test_our_adapter_gives_the_same_logits_in_peft(
    make_base: MakeBase, tmp_path: Path, name: str, target: str | list[str]
) -> None:
    base = make_base(name)
    before = _logits(base.model)
    attached = _attach(base, target)
    _randomise((n, p) for n, p in base.model.named_parameters() if p.requires_grad)
    save_adapter(tmp_path, attached, base, "tiny", "a card", {})
    ours = _logits(base.model)
    assert (ours - before).abs().max() > 0.05, "the adapter changes nothing: nothing is tested"

    theirs = peft.PeftModel.from_pretrained(make_base(name).model, tmp_path)
    torch.testing.assert_close(_logits(theirs), ours, atol=1e-5, rtol=1e-5)
    assert len(_stored(theirs)) == len(attached.tensors())


@pytest.mark.parametrize(("name", "target"), CASES, ids=str)
def test_pefts_adapter_gives_the_same_logits_here(
    make_base: MakeBase, tmp_path: Path, name: str, target: str | list[str]
) -> None:
    theirs = _in_peft(make_base(name), target)
    _randomise((n, p) for n, p in theirs.named_parameters() if p.requires_grad)
    theirs.save_pretrained(tmp_path)
    expected = _logits(theirs)

    base = make_base(name)
    attached = attach_adapter(open_adapter(tmp_path), base)
    torch.testing.assert_close(_logits(base.model), expected, atol=1e-5, rtol=1e-5)
    assert attached.trainable() == sum(p.numel() for p in theirs.parameters() if p.requires_grad)


def test_peft_goes_on_training_from_our_adapter(make_base: MakeBase, tmp_path: Path) -> None:
    base = make_base("llama")
    attached = _attach(base, "all-linear")
    save_adapter(tmp_path, attached, base, "tiny", "a card", {})
    theirs = peft.PeftModel.from_pretrained(make_base("llama").model, tmp_path, is_trainable=True)
    names = {n for n, p in theirs.named_parameters() if p.requires_grad}
    assert len(names) == len(attached.tensors())


def _in_peft(base: Base, target: str | list[str]) -> PeftModel:
    """PEFT's LoRA on the modules that our method would choose."""
    chosen = _attach(base, target)
    config = chosen.config()
    chosen.detach()
    known = peft.LoraConfig.__dataclass_fields__
    kept = {k: v for k, v in config.items() if k in known and k != "inference_mode"}
    return peft.get_peft_model(base.model, peft.LoraConfig(**kept)).eval()


def test_all_linear_means_what_it_means_in_peft(make_base: MakeBase) -> None:
    for name in ("llama", "qwen3", "gpt2", "t5", "t5-gated", "bart"):
        base = make_base(name)
        ours = set(_attach(base, "all-linear").tensors())
        seq2seq = base.kind == "seq2seq"
        config = peft.LoraConfig(
            r=3,
            target_modules="all-linear",
            task_type="SEQ_2_SEQ_LM" if seq2seq else "CAUSAL_LM",
            fan_in_fan_out=name == "gpt2",
        )
        theirs = peft.get_peft_model(make_base(name).model, config)
        assert ours == set(_stored(theirs)), name


def _documents(count: int) -> list[Encoded]:
    draw = random.Random(3)
    shapes = [(draw.randrange(2, 12), draw.randrange(1, 8)) for _ in range(count)]
    return [Encoded.ending(tuple(draw.randrange(5, 300) for _ in range(p + c)), c) for p, c in shapes]


def _their_loss(model: Any, documents: list[Encoded]) -> torch.Tensor:
    """One document at a time, with transformers' forward and PyTorch's cross-entropy."""
    seq2seq = model.config.is_encoder_decoder
    learned = sum(d.learned for d in documents)
    total = torch.zeros(())
    for d in documents:
        if seq2seq:
            start = (model.config.decoder_start_token_id, *d.completion[:-1])
            ids, more = d.prompt, {"decoder_input_ids": torch.tensor([start])}
        else:
            ids, more = d.ids, {}
        logits = model(input_ids=torch.tensor([ids]), **more).logits[0]
        before = logits if seq2seq else logits[len(d.prompt) - 1 : -1]
        total = total + F.cross_entropy(before, torch.tensor(d.completion), reduction="sum")
    return total / learned


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_twenty_steps_give_pefts_losses_and_gradients(
    make_base: MakeBase, tmp_path: Path, name: str
) -> None:
    steps, per_step, rate = 20, 4, 1e-3
    documents = _documents(steps * per_step)
    base = make_base(name)
    attached = _attach(base, "all-linear")
    (tmp_path / "adapter").mkdir()
    save_adapter(tmp_path / "adapter", attached, base, "tiny", "", {})
    theirs = peft.PeftModel.from_pretrained(
        make_base(name).model, tmp_path / "adapter", is_trainable=True
    ).eval()
    their_parameters = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(their_parameters.values(), lr=rate, weight_decay=0.0)
    spec = TrainSpec(batch_size=2, accumulation=2, schedule="constant", warmup=0.0)
    trainer = Trainer(
        base,
        attached,
        lambda i: Document(str(i), documents[i]),
        len(documents),
        spec,
        learning_rate=rate,
        folder=tmp_path,
    )
    losses = []
    for step in range(steps):
        part = documents[step * per_step : (step + 1) * per_step]
        loss, _ = trainer.backward(part)
        expected = _their_loss(theirs, part)
        expected.backward()
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
        _assert_same_gradients(attached, base.model, their_parameters)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] != pytest.approx(losses[-1], abs=1e-3), "nothing was trained"
    stored = _stored(theirs)
    for key, tensor in attached.tensors().items():
        torch.testing.assert_close(tensor, stored[key], atol=1e-5, rtol=1e-4)


def _assert_same_gradients(
    attached: Attached, model: PreTrainedModel, theirs: dict[str, torch.nn.Parameter]
) -> None:
    ours = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert len(ours) == len(theirs)
    for name, parameter in ours.items():
        their_name = f"base_model.model.{name}.default.weight"
        expected = theirs[their_name].grad
        torch.testing.assert_close(parameter.grad, expected, atol=1e-5, rtol=1e-4, msg=name)


def test_initial_values_are_spread_as_pefts(make_base: MakeBase) -> None:
    # Kaiming-uniform with a = sqrt(5): uniform within 1 / sqrt(inputs), and B at zero.
    for key, tensor in _attach(make_base("llama"), "all-linear").tensors().items():
        bound = tensor.shape[1] ** -0.5
        if "lora_B" in key:
            assert not tensor.any()
        else:
            assert 0.8 * bound < tensor.abs().max() <= bound


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"use_rslora": True}, "use_rslora"),
        ({"bias": "lora_only"}, "bias"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern"),
        ({"layers_to_transform": [1]}, "layers_to_transform"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
    ],
    ids=str,
)
def test_pefts_adapters_that_compute_something_else_are_refused_by_name(
    make_base: MakeBase, tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", **options)
    peft.get_peft_model(make_base("llama").model, config).save_pretrained(tmp_path)
    base = make_base("llama")
    with pytest.raises(InputError, match=named):
        attach_adapter(open_adapter(tmp_path), base)
    assert not any("lora" in n for n, _ in base.model.named_modules())


def test_a_setting_of_a_later_peft_is_refused_rather_than_passed_over(
    make_base: MakeBase, tmp_path: Path
) -> None:
    save_adapter(tmp_path, _attach(make_base(), "all-linear"), make_base(), "tiny", "", {})
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "use_newlora": True}))
    with pytest.raises(InputError, match="use_newlora"):
        attach_adapter(open_adapter(tmp_path), make_base())


def test_the_file_holds_what_peft_would_have_written(make_base: MakeBase, tmp_path: Path) -> None:
    from safetensors import safe_open

    base = make_base("gpt2")
    save_adapter(tmp_path / "ours", _attach(base, "all-linear"), base, "tiny", "", {})
    _in_peft(make_base("gpt2"), "all-linear").save_pretrained(tmp_path / "theirs")
    with (
        safe_open(tmp_path / "ours" / WEIGHTS, "pt") as ours,
        safe_open(tmp_path / "theirs" / WEIGHTS, "pt") as theirs,
    ):
        assert set(ours.keys()) == set(theirs.keys())
        assert ours.metadata() == theirs.metadata()
        for key in ours.keys():  # noqa: SIM118 (not a mapping)
            assert ours.get_slice(key).get_shape() == theirs.get_slice(key).get_shape()
            assert ours.get_slice(key).get_dtype() == theirs.get_slice(key).get_dtype()
