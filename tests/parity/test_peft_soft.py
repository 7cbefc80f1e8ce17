"""Soft prompts and prefixes go both ways between PEFT and here, and train to the same numbers.

PEFT's logits of a causal soft prompt are P longer than the input. An encoder-decoder's prompt is
stored twice by default, and PEFT reads the first P rows; its prefix is stored once, and layer i
reads the block of layer 2 i modulo L.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import MptConfig, MptForCausalLM

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods.adapter_files import CONFIG, OURS, WEIGHTS
from brulee.methods.base import Attached, Method
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.prefix import Prefix, PrefixOptions
from brulee.methods.prompt import Prompt, PromptOptions
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base
from brulee.recipe import TrainSpec
from brulee.training.documents import Document
from brulee.training.trainer import Trainer

if TYPE_CHECKING:
    from peft import PeftModel

peft = pytest.importorskip("peft")
# PEFT only warns of keys that it cannot place, so anything it says is an error; except that it
# reads a property of the model that this transformers renames, and that position ids are its own.
pytestmark = pytest.mark.filterwarnings(
    "error",
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:`past_key_values` is deprecated:FutureWarning",
)

MakeBase = Callable[..., Base]
TOKENS = 5
# qwen3 and gemma have heads of a width of their own, mistral a window, t5 with three layers an odd
# number of them.
MODELS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("qwen3", {}),
    ("gemma", {}),
    ("mistral", {}),
    ("gpt2", {}),
    ("gpt-neox", {}),
    ("t5", {}),
    ("t5", {"num_layers": 3}),
    ("bart", {}),
]
METHODS: dict[str, tuple[Method, Any]] = {
    "prompt": (Prompt(PromptOptions(tokens=TOKENS)), peft.PromptTuningConfig),
    "prefix": (Prefix(PrefixOptions(tokens=TOKENS)), peft.PrefixTuningConfig),
}
each_model = pytest.mark.parametrize(("name", "changes"), MODELS, ids=str)
each_method = pytest.mark.parametrize("kind", METHODS)


def _inputs(base: Base, masked: bool = False) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    found = {"input_ids": ids}
    if base.kind == "seq2seq":
        found["decoder_input_ids"] = ids.flip(0)
    if masked:
        mask = torch.ones_like(ids)
        mask[0, 9:] = 0
        found["attention_mask"] = mask
    return found


@torch.no_grad()
def _our_logits(base: Base, attached: Attached, masked: bool = False) -> torch.Tensor:
    inputs = _inputs(base, masked)
    prefix = torch.tensor([attached.prefix_ids] * 2, dtype=torch.long)
    inputs["input_ids"] = torch.cat([prefix, inputs["input_ids"]], dim=1)
    if masked:
        inputs["attention_mask"] = torch.cat(
            [torch.ones_like(prefix), inputs["attention_mask"]], dim=1
        )
    logits: torch.Tensor = base.model(**inputs).logits
    return logits


@torch.no_grad()
def _their_logits(model: Any, base: Base, masked: bool = False) -> torch.Tensor:
    logits: torch.Tensor = model(**_inputs(base, masked)).logits
    return logits


def _in_peft(base: Base, kind: str, **options: Any) -> PeftModel:
    task = "SEQ_2_SEQ_LM" if base.kind == "seq2seq" else "CAUSAL_LM"
    config = METHODS[kind][1](task_type=task, num_virtual_tokens=TOKENS, **options)
    return peft.get_peft_model(base.model, config).eval()


@pytest.mark.diagonal("name,changes", "kind")
@each_method
@each_model
def test_ours_gives_the_same_logits_in_peft(
    make_base: MakeBase, tmp_path: Path, name: str, changes: dict[str, Any], kind: str
) -> None:
    base = make_base(name, **changes)
    with torch.no_grad():
        plain = base.model(**_inputs(base)).logits
    attached = METHODS[kind][0].attach(base.model)
    save_adapter(tmp_path, attached, base, "tiny", "a card", {})
    theirs = peft.PeftModel.from_pretrained(make_base(name, **changes).model, tmp_path)
    assert theirs.active_peft_config.num_virtual_tokens == TOKENS
    for masked in (False, True):
        ours = _our_logits(base, attached, masked)
        expected = _their_logits(theirs, base, masked)
        rows = 1 if masked and base.kind == "causal" else 0  # what follows padding means nothing
        torch.testing.assert_close(ours[rows:], expected[rows:], atol=1e-5, rtol=1e-5)
    assert (ours[:, -12:] - plain).abs().max() > 0.05, "nothing is changed: nothing is tested"


@pytest.mark.diagonal("name,changes", "kind")
@each_method
@each_model
def test_pefts_gives_the_same_logits_here(
    make_base: MakeBase, tmp_path: Path, name: str, changes: dict[str, Any], kind: str
) -> None:
    theirs = _in_peft(make_base(name, **changes), kind)
    theirs.save_pretrained(tmp_path)
    base = make_base(name, **changes)
    attached = attach_adapter(open_adapter(tmp_path), base)
    expected = _their_logits(theirs, base)
    torch.testing.assert_close(_our_logits(base, attached), expected, atol=1e-5, rtol=1e-5)


@each_method
def test_the_file_holds_what_peft_would_have_written(
    make_base: MakeBase, tmp_path: Path, kind: str
) -> None:
    base = make_base("llama")
    save_adapter(tmp_path / "ours", METHODS[kind][0].attach(base.model), base, "tiny", "", {})
    _in_peft(make_base("llama"), kind).save_pretrained(tmp_path / "theirs")
    ours, theirs = (load_file(tmp_path / who / WEIGHTS) for who in ("ours", "theirs"))
    assert {k: (t.shape, t.dtype) for k, t in ours.items()} == {
        k: (t.shape, t.dtype) for k, t in theirs.items()
    }
    written, expected = (
        json.loads((tmp_path / who / "adapter_config.json").read_text())
        for who in ("ours", "theirs")
    )
    # PEFT looks these up in the model where a file has none, as a soft prompt of ours mostly has.
    looked_up = {"num_layers", "num_attention_heads"}
    for key in written.keys() - {"base_model_name_or_path", *looked_up}:
        assert written[key] == expected[key], key


def test_a_prefix_that_peft_made_through_its_net_is_read_as_what_the_net_makes(
    make_base: MakeBase, tmp_path: Path
) -> None:
    theirs = _in_peft(make_base("llama"), "prefix", prefix_projection=True, encoder_hidden_size=7)
    theirs.save_pretrained(tmp_path)
    base = make_base("llama")
    attached = attach_adapter(open_adapter(tmp_path), base)
    expected = _their_logits(theirs, base)
    torch.testing.assert_close(_our_logits(base, attached), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("net", ["MLP", "LSTM"])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_prompt_that_peft_p_tuned_is_read_as_the_prompt_that_its_net_makes(
    make_base: MakeBase, tmp_path: Path, name: str, net: str
) -> None:
    base = make_base(name)
    task = "SEQ_2_SEQ_LM" if base.kind == "seq2seq" else "CAUSAL_LM"
    config = peft.PromptEncoderConfig(
        task_type=task,
        num_virtual_tokens=TOKENS,
        encoder_hidden_size=7,
        encoder_reparameterization_type=net,
    )
    theirs = peft.get_peft_model(make_base(name).model, config).eval()
    theirs.save_pretrained(tmp_path)
    adapter = open_adapter(tmp_path)
    assert adapter.label() == f"prompt {TOKENS}"
    attached = attach_adapter(adapter, base)
    expected = _their_logits(theirs, base)
    torch.testing.assert_close(_our_logits(base, attached), expected, atol=1e-5, rtol=1e-5)


def test_peft_loads_a_prompt_of_a_model_whose_heads_it_does_not_find(
    make_base: MakeBase, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    sizes = MptConfig(vocab_size=300, d_model=32, n_heads=4, n_layers=2)
    base = replace(make_base("llama"), model=MptForCausalLM(sizes).eval())
    fresh = copy.deepcopy(base.model)
    attached = METHODS["prompt"][0].attach(base.model)
    save_adapter(tmp_path, attached, base, "tiny", "", {})
    theirs = peft.PeftModel.from_pretrained(fresh, tmp_path)
    expected = _their_logits(theirs, base)
    torch.testing.assert_close(_our_logits(base, attached), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "name", "key", "value"),
    [
        ("prompt", "llama", "num_transformer_submodules", 2),
        ("prompt", "t5", "num_transformer_submodules", 3),
        ("prefix", "llama", "num_transformer_submodules", 2),
        ("prefix", "t5", "num_transformer_submodules", 1),
        ("prefix", "llama", "num_attention_heads", 4),
        ("prefix", "llama", "num_layers", 4),
        ("prefix", "llama", "token_dim", 8),
    ],
)
def test_a_layout_that_peft_computes_otherwise_is_refused(
    make_base: MakeBase, tmp_path: Path, kind: str, name: str, key: str, value: int
) -> None:
    _edited(make_base(name), kind, tmp_path, **{key: value})
    fresh = make_base(name)
    with pytest.raises(InputError, match=f"{key} = {value}"):
        attach_adapter(open_adapter(tmp_path), fresh)
    assert all(p.requires_grad for p in fresh.model.parameters())
    assert not any("prompt" in n or "prefix" in n for n, _ in fresh.model.named_parameters())


def _edited(base: Base, kind: str, folder: Path, **changes: Any) -> None:
    """An adapter with other settings, and without our seal of them."""
    save_adapter(folder, METHODS[kind][0].attach(base.model), base, "tiny", "", {})
    (folder / OURS).unlink()
    file = folder / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@each_method
def test_a_setting_that_is_not_computed_here_is_refused(
    make_base: MakeBase, tmp_path: Path, kind: str
) -> None:
    _edited(make_base("llama"), kind, tmp_path, soft_dropout=0.5)
    with pytest.raises(InputError, match="soft_dropout"):
        attach_adapter(open_adapter(tmp_path), make_base("llama"))


def _documents(count: int, prefix: tuple[int, ...]) -> list[Encoded]:
    draw = random.Random(3)
    shapes = [(draw.randrange(2, 12), draw.randrange(1, 8)) for _ in range(count)]
    return [
        Encoded.ending((*prefix, *(draw.randrange(5, 300) for _ in range(p + c))), c)
        for p, c in shapes
    ]


def _their_loss(model: Any, documents: list[Encoded], prefix: int) -> torch.Tensor:
    """One document at a time, with PEFT's forward and PyTorch's cross-entropy."""
    seq2seq = model.config.is_encoder_decoder
    learned = sum(d.learned for d in documents)
    total = torch.zeros(())
    for d in documents:
        if seq2seq:
            start = (model.config.decoder_start_token_id, *d.completion[:-1])
            ids, more = d.prompt, {"decoder_input_ids": torch.tensor([start])}
        else:
            ids, more = d.ids, {}
        logits = model(input_ids=torch.tensor([ids[prefix:]]), **more).logits[0]
        before = logits if seq2seq else logits[-d.learned - 1 : -1]
        total = total + F.cross_entropy(before, torch.tensor(d.completion), reduction="sum")
    return total / learned


@pytest.mark.diagonal("name", "kind")
@each_method
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_twenty_steps_give_pefts_losses_and_gradients(
    make_base: MakeBase, tmp_path: Path, name: str, kind: str
) -> None:
    base = make_base(name)
    attached = METHODS[kind][0].attach(base.model)
    # PEFT does not go on training a stored prompt.
    once = {"num_transformer_submodules": 1} if kind == "prompt" else {}
    theirs = _in_peft(make_base(name), kind, **once)
    (parameter,) = (p for p in theirs.parameters() if p.requires_grad)
    with torch.no_grad():
        parameter.copy_(attached.tensors()["prompt_embeddings"])
    _compare_training(base, attached, theirs, [parameter], tmp_path)
    stored = peft.get_peft_model_state_dict(theirs, save_embedding_layers=False)
    for key, tensor in attached.tensors().items():
        # Adam makes a step of the rounding of a gradient that is nothing but that.
        torch.testing.assert_close(tensor, stored[key], atol=1e-3, rtol=1e-4)


def test_twenty_steps_through_the_net_give_pefts_losses_and_gradients(
    make_base: MakeBase, tmp_path: Path
) -> None:
    base = make_base("llama")
    options = PrefixOptions(tokens=TOKENS, init="random", projection=True, hidden=7)
    attached = Prefix(options).attach(base.model)
    theirs = _in_peft(make_base("llama"), "prefix", prefix_projection=True, encoder_hidden_size=7)
    parameters = [p for p in theirs.parameters() if p.requires_grad]
    ours = [p for group in attached.groups() for p in group.parameters]
    with torch.no_grad():
        for own, parameter in zip(ours, parameters, strict=True):
            own.copy_(parameter)
    _compare_training(base, attached, theirs, parameters, tmp_path)


def _compare_training(
    base: Base, attached: Attached, theirs: PeftModel, parameters: list[Any], folder: Path
) -> None:
    steps, per_step, rate = 20, 4, 1e-2
    documents = _documents(steps * per_step, attached.prefix_ids)
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    trainer = Trainer(
        base,
        attached,
        lambda i: Document(str(i), documents[i]),
        len(documents),
        TrainSpec(batch_size=2, accumulation=2, schedule="constant", warmup=0.0),
        learning_rate=rate,
        folder=folder,
    )
    assert trainer.passes.packs
    losses = []
    for step in range(steps):
        part = documents[step * per_step : (step + 1) * per_step]
        with trainer.passes.boundary():
            loss, _ = trainer.passes.backward(part)
        expected = _their_loss(theirs, part, len(attached.prefix_ids))
        torch.autograd.backward(expected)
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
        for own, parameter in zip(trainer.parameters, parameters, strict=True):
            torch.testing.assert_close(own.grad, parameter.grad, atol=1e-5, rtol=1e-4)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] != pytest.approx(losses[-1], abs=1e-3), "nothing was trained"
