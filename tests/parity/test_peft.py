"""Adapters go both ways between PEFT and here, and train to the same numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from brulee.data.encoding import Encoded
from brulee.methods import build_method
from brulee.methods.alongside import Alongside
from brulee.methods.base import Attached
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.continuing import start_of
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base
from brulee.recipe import MethodSpec, TrainSpec, recipe_from_dict
from brulee.training.documents import Document
from brulee.training.trainer import Trainer

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

peft = pytest.importorskip("peft")
# PEFT only warns of keys that it cannot place, so anything it says is an error; except that it
# reads a property of the model that this transformers renames.
pytestmark = pytest.mark.filterwarnings(
    "error",
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:`past_key_values` is deprecated:FutureWarning",
    # Told of a head that is trained apart from the embedding, as it is here.
    "ignore:Model has `tie_word_embeddings=True` and a tied layer:UserWarning",
)

MakeBase = Callable[..., Base]
Options = dict[str, Any]
NAMED = ["q_proj", "down_proj"]
TOKENS = [299, *range(9, 200, 10)]
# Leaves that one model has more than once (c_proj) need whole paths in PEFT's target_modules.
LORA: list[tuple[str, str, Options]] = [
    ("llama", "lora", {"target": "all-linear"}),
    ("llama", "lora", {"target": "attention"}),
    ("llama", "lora", {"target": "mlp"}),
    ("llama", "lora", {"target": NAMED}),
    ("llama", "lora", {"target": ["model.layers.1.self_attn.v_proj"]}),
    ("llama", "lora", {"target": NAMED, "ranks": {r"layers\.1\..*": 5, "down_proj": 2}}),
    ("llama", "lora", {"target": NAMED, "ranks": {"q_proj": 5}, "alphas": {"layers.0.*": 1.5}}),
    ("llama", "lora", {"target": NAMED, "ranks": {"q_proj": 5}, "rslora": True}),
    ("qwen3", "lora", {"target": "all-linear"}),
    ("gpt2", "lora", {"target": "attention"}),
    ("gpt2", "lora", {"target": ["c_attn", "c_fc"]}),
    ("t5", "lora", {"target": "attention"}),
    ("t5", "lora", {"target": ["q", "v"]}),
    ("t5-gated", "lora", {"target": "all-linear"}),
    ("bart", "lora", {"target": "all-linear"}),
    ("bart", "lora", {"target": "all-linear", "dora": True}),
    ("phi", "lora", {"target": ["fc1", "v_proj"], "dora": True, "rslora": True}),
    ("qwen3", "lora", {"target": NAMED, "train_tokens": TOKENS}),
    ("gemma", "lora", {"target": NAMED, "train_tokens": TOKENS}),
    ("bart", "lora", {"target": "attention", "train_tokens": TOKENS}),
    ("llama", "lora", {"target": NAMED, "train_whole": ["embed_tokens", "lm_head"]}),
    ("llama", "lora", {"target": NAMED, "train_whole": ["lm_head", "model.norm"]}),
    ("llama", "lora", {"target": NAMED, "train_tokens": TOKENS, "train_whole": ["embed_tokens"]}),
    ("qwen3", "lora", {"target": NAMED, "train_whole": ["embed_tokens"]}),
    ("qwen3", "lora", {"target": NAMED, "train_whole": ["lm_head"]}),
    ("phi", "lora", {"target": NAMED[:1], "train_whole": ["lm_head", "mlp.fc2"]}),
    ("llama", "ia3", {"train_whole": ["lm_head"]}),
]
# What PEFT has too, in full: both ways and twenty steps.
WAYS: list[tuple[str, Options]] = [
    ("lora", {"target": "all-linear"}),
    ("lora", {"target": "all-linear", "rslora": True}),
    ("lora", {"target": "all-linear", "dora": True}),
    ("lora", {"target": "attention", "train_tokens": sorted(TOKENS)}),
    ("lora", {"target": "attention", "train_whole": ["lm_head"]}),
    ("ia3", {}),
]
BOTH_WAYS = ("llama", "gpt2", "t5")
IA3: list[tuple[str, str, Options]] = [
    (name, "ia3", {}) for name in ("qwen3", "phi", "gpt-neox", "t5-gated", "bart")
]
CASES = [*((name, *way) for name in BOTH_WAYS for way in WAYS), *LORA, *IA3]


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
        # Of the four kinds only magnitudes and scales are vectors, and far from zero.
        moved = 0.1 * torch.randn(parameter.shape, generator=draw)
        matrix = parameter.ndim == 2 and 1 not in parameter.shape
        parameter.data = moved if matrix else parameter.data + moved


def _attach(base: Base, method: str, options: Options) -> Attached:
    small = {"rank": 3, "alpha": 7.0} if method == "lora" else {}
    spec = MethodSpec(name=method, **{**small, **options})
    ids = tuple(i for i in spec.train_tokens if isinstance(i, int))
    alongside = Alongside(ids, whole=tuple(spec.train_whole))
    return alongside.attach(build_method(spec), base.model)


def _in_peft(base: Base, method: str, options: Options) -> PeftModel:
    """PEFT's method on the modules that ours would choose."""
    chosen = _attach(base, method, options)
    config = chosen.config()
    chosen.detach()
    theirs = {"lora": peft.LoraConfig, "ia3": peft.IA3Config}[method]
    kept = {k: v for k, v in config.items() if k in theirs.__dataclass_fields__}
    return peft.get_peft_model(base.model, theirs(**{**kept, "inference_mode": False})).eval()


@pytest.mark.parametrize(("name", "method", "options"), CASES, ids=str)
def test_our_adapter_gives_the_same_logits_in_peft(
    make_base: MakeBase, tmp_path: Path, name: str, method: str, options: Options
) -> None:
    base = make_base(name)
    before = _logits(base.model)
    attached = _attach(base, method, options)
    _randomise((n, p) for n, p in base.model.named_parameters() if p.requires_grad)
    save_adapter(tmp_path, attached, base, "tiny", "a card", {})
    ours = _logits(base.model)
    assert (ours - before).abs().max() > 0.05, "the adapter changes nothing: nothing is tested"

    theirs = peft.PeftModel.from_pretrained(make_base(name).model, tmp_path)
    torch.testing.assert_close(_logits(theirs), ours, atol=1e-5, rtol=1e-5)
    assert len(_stored(theirs)) == len(attached.tensors())


@pytest.mark.parametrize(("name", "method", "options"), CASES, ids=str)
def test_pefts_adapter_gives_the_same_logits_here(
    make_base: MakeBase, tmp_path: Path, name: str, method: str, options: Options
) -> None:
    theirs = _in_peft(make_base(name), method, options)
    _randomise((n, p) for n, p in theirs.named_parameters() if p.requires_grad)
    theirs.save_pretrained(tmp_path)
    expected = _logits(theirs)

    base = make_base(name)
    attached = attach_adapter(open_adapter(tmp_path), base)
    torch.testing.assert_close(_logits(base.model), expected, atol=1e-5, rtol=1e-5)
    assert attached.trainable() == sum(p.numel() for p in theirs.parameters() if p.requires_grad)


@pytest.mark.parametrize(("method", "options"), WAYS, ids=str)
def test_peft_goes_on_training_from_our_adapter(
    make_base: MakeBase, tmp_path: Path, method: str, options: Options
) -> None:
    base = make_base("llama")
    attached = _attach(base, method, options)
    save_adapter(tmp_path, attached, base, "tiny", "a card", {})
    theirs = peft.PeftModel.from_pretrained(make_base("llama").model, tmp_path, is_trainable=True)
    names = {n for n, p in theirs.named_parameters() if p.requires_grad}
    assert len(names) == len(attached.tensors())


def _documents(count: int) -> list[Encoded]:
    draw = random.Random(3)
    shapes = [(draw.randrange(2, 12), draw.randrange(1, 8)) for _ in range(count)]
    return [
        Encoded.ending(tuple(draw.randrange(5, 300) for _ in range(p + c)), c) for p, c in shapes
    ]


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


@pytest.mark.fast_cases(3)
@pytest.mark.diagonal("name", "method,options")
@pytest.mark.parametrize(("method", "options"), WAYS, ids=str)
@pytest.mark.parametrize("name", BOTH_WAYS)
def test_twenty_steps_give_pefts_losses_and_gradients(
    make_base: MakeBase, tmp_path: Path, name: str, method: str, options: Options
) -> None:
    base = make_base(name)
    attached = _attach(base, method, options)
    save_adapter(tmp_path / "adapter", attached, base, "tiny", "", {})
    _twenty_steps(base, attached, _trainable(make_base(name), tmp_path / "adapter"), tmp_path)


@pytest.mark.fast_cases(3)
@pytest.mark.diagonal("name", "method,options")
@pytest.mark.parametrize(("method", "options"), WAYS, ids=str)
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5-gated"])  # at a kink of ReLU, bits decide
def test_twenty_steps_from_pefts_adapter_are_those_of_peft(
    make_base: MakeBase, tmp_path: Path, name: str, method: str, options: Options
) -> None:
    first = _in_peft(make_base(name), method, options)
    _randomise((n, p) for n, p in first.named_parameters() if p.requires_grad)
    first.save_pretrained(tmp_path / "first")
    values = {"data": {"source": "unread"}, "method": {"start": str(tmp_path / "first")}}
    start, base = start_of(recipe_from_dict(values)), make_base(name)
    assert start is not None
    attached = start.attach(base)
    torch.testing.assert_close(_logits(base.model), _logits(first), atol=1e-5, rtol=1e-5)
    theirs = _trainable(make_base(name), tmp_path / "first")
    _twenty_steps(base, attached, theirs, tmp_path, within=1e-4)  # gradients of up to 8
    save_adapter(tmp_path / "second", attached, base, "tiny", "", {})
    second = peft.PeftModel.from_pretrained(make_base(name).model, tmp_path / "second")
    torch.testing.assert_close(_logits(second), _logits(base.model.eval()), atol=1e-4, rtol=1e-5)


def _trainable(base: Base, folder: Path) -> PeftModel:
    return peft.PeftModel.from_pretrained(base.model, folder, is_trainable=True).eval()


def _twenty_steps(
    base: Base, attached: Attached, theirs: PeftModel, folder: Path, within: float = 1e-5
) -> None:
    """Train both and compare each step."""
    steps, per_step, rate = 20, 2, 1e-3
    documents = _documents(steps * per_step)
    their_parameters = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(their_parameters.values(), lr=rate, weight_decay=0.0)
    spec = TrainSpec(batch_size=1, accumulation=2, schedule="constant", warmup=0.0)
    trainer = Trainer(
        base,
        attached,
        lambda i: Document(str(i), documents[i]),
        len(documents),
        spec,
        learning_rate=rate,
        folder=folder,
    )
    # With Adam's own a gradient of the size of a rounding error takes a whole step either way.
    for group in (*optimizer.param_groups, *trainer.optimizer.param_groups):
        group["eps"] = 1e-5
    losses = []
    for step in range(steps):
        part = documents[step * per_step : (step + 1) * per_step]
        loss, _ = trainer.passes.backward(part)
        expected = _their_loss(theirs, part)
        expected.backward()  # type: ignore[no-untyped-call]
        assert loss.item() == pytest.approx(expected.item(), abs=within)
        _assert_same_gradients(attached, base.model, their_parameters, within)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] != pytest.approx(losses[-1], abs=1e-3), "nothing was trained"
    stored = _stored(theirs)
    for key, tensor in attached.tensors().items():
        torch.testing.assert_close(tensor, stored[key], atol=within, rtol=1e-4)


def _assert_same_gradients(
    attached: Attached,
    model: PreTrainedModel,
    theirs: dict[str, torch.nn.Parameter],
    within: float,
) -> None:
    ours = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert len(ours) == len(theirs)
    for name, parameter in ours.items():
        called = name.replace(".rows", ".token_adapter.trainable_tokens_delta")
        their_name = f"base_model.model.{called}.default"
        if name.endswith("_tuned"):
            where, _, leaf = name.removesuffix("_tuned").rpartition(".")
            their_name = f"base_model.model.{where}.modules_to_save.default.{leaf}"
        their_name += "" if their_name in theirs else ".weight"
        expected = theirs[their_name].grad
        torch.testing.assert_close(parameter.grad, expected, atol=within, rtol=1e-4, msg=name)
