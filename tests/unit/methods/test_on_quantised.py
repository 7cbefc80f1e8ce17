"""Every adapter over a base in four bits (QLoRA): trained, stored, found again, taken off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from brulee.data.batching import pack
from brulee.data.encoding import Encoded, Encoder
from brulee.errors import InputError
from brulee.inference.session import open_session
from brulee.methods import METHODS, Attached, build_method
from brulee.methods.alongside import Alongside
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.merging import merge
from brulee.methods.storing import save_adapter
from brulee.models.added_tokens import NewToken, tables_of
from brulee.models.attention import packed
from brulee.models.head import CompletionLoss
from brulee.models.loading import Base, load_base
from brulee.models.quantising import held_bytes
from brulee.recipe import MethodSpec, TrainSpec
from brulee.training.trainer import Document, Trainer

pytest.importorskip("bitsandbytes")

CPU = torch.device("cpu")
NORMS = {"llama": "*norm.weight", "gpt2": "ln_?.weight"}  # of all that stands in a stack

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {"rank": 4}),
    "lora-plus": ("lora", {"rank": 4, "plus_ratio": 4.0, "rslora": True}),
    "ia3": ("ia3", {}),
    "norms": ("selective", {"train": "norms"}),
    "embeddings": ("selective", {"train": "embeddings"}),
    "parameters": ("selective", {"train": "parameters", "parameters": NORMS}),
    "sparse": (
        "selective",
        {"train": "sparse", "mask": "magnitude", "density": 0.1, "parameters": NORMS},
    ),
    "pfeiffer": ("bottleneck", {"kind": "pfeiffer"}),
    "prompt": ("prompt", {"tokens": 4}),
    "prefix": ("prefix", {"tokens": 4}),
}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def folder(
    make_base: Callable[..., Base],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Path:
    """A saved model whose maps have sides that four-bit kernels like; GPT-2 has Conv1D."""
    sizes = {
        "llama": {"hidden_size": 64, "intermediate_size": 128},
        "gpt2": {"n_embd": 64},
    }[request.param]
    base, where = make_base(request.param, **sizes), tmp_path_factory.mktemp("m") / request.param
    base.model.save_pretrained(where)
    base.tokenizer.save_pretrained(where)
    return where


def _base(folder: Path, quantise: str | None = "nf4") -> Base:
    return load_base(str(folder), torch.float32, torch.device("cpu"), quantise=quantise)


def _attach(base: Base, way: str) -> Attached:
    name, options = WAYS[way]
    if "parameters" in options:
        options = {**options, "parameters": [options["parameters"][base.model.config.model_type]]}
    return build_method(MethodSpec(name=name, **options)).attach(base.model)


def _train(base: Base, attached: Attached, folder: Path, steps: int = 2) -> list[float]:
    encoder = Encoder(base.tokenizer).with_prefix(attached.prefix_ids)
    document = encoder.encode("Where is the parcel?", "The agent sent a new one.")
    assert document is not None
    spec = TrainSpec(max_steps=steps, batch_size=2, learning_rate=1e-2, epochs=steps)
    trainer = Trainer(
        base, attached, lambda i: Document(f"row {i}", document), 2, spec,
        learning_rate=1e-2, folder=folder,
    )  # fmt: skip
    trainer.train()
    from brulee.training.events import read_events

    return [e["loss"] for e in read_events(folder / "events.jsonl") if e["event"] == "step"]


def _logits(base: Base, attached: Attached | None = None) -> torch.Tensor:
    ids = [*(attached.prefix_ids if attached else ()), *range(5, 40)]
    with torch.no_grad():
        logits: torch.Tensor = base.model(input_ids=torch.tensor([ids])).logits
    return logits.float()


def _values(base: Base) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in base.model.state_dict().items()}


@pytest.mark.diagonal("way", "folder")
@pytest.mark.parametrize("way", WAYS)
def test_a_step_learns_and_taking_it_off_leaves_the_base_as_it_was(
    folder: Path, tmp_path: Path, way: str
) -> None:
    base = _base(folder)
    before, values = _logits(base), _values(base)
    attached = _attach(base, way)
    losses = _train(base, attached, tmp_path, steps=4)
    assert losses[-1] < losses[0]
    assert all(p.grad is None for p in base.model.parameters() if not p.is_floating_point())
    attached.detach()
    assert torch.equal(_logits(base), before)
    after = _values(base)
    assert values.keys() == after.keys()
    assert all(torch.equal(values[name], after[name]) for name in values)


@pytest.mark.diagonal("way", "folder")
@pytest.mark.parametrize("way", WAYS)
def test_stored_and_loaded_again_it_gives_the_same_logits(
    folder: Path, tmp_path: Path, way: str
) -> None:
    base = _base(folder)
    attached = _attach(base, way)
    _train(base, attached, tmp_path)
    expected = _logits(base, attached)
    save_adapter(tmp_path / "adapter", attached, base, str(folder), "", {})
    adapter = open_adapter(tmp_path / "adapter")
    assert adapter.quantised == "nf4"
    again = _base(folder)
    loaded = attach_adapter(adapter, again)
    torch.testing.assert_close(_logits(again, loaded), expected, atol=1e-6, rtol=0)


def test_it_is_asked_on_the_base_it_was_trained_beside(folder: Path, tmp_path: Path) -> None:
    base = _base(folder)
    attached = _attach(base, "lora")
    _train(base, attached, tmp_path)
    save_adapter(tmp_path / "adapter", attached, base, str(folder), "", {})
    session = open_session(str(tmp_path / "adapter"), "cpu", "float32")
    assert session.base.quantised == "nf4"
    torch.testing.assert_close(_logits(session.base), _logits(base), atol=1e-6, rtol=0)


def test_merged_it_holds_the_values_that_the_four_bits_stand_for(
    folder: Path, tmp_path: Path
) -> None:
    base = _base(folder)
    attached = _attach(base, "lora")
    _train(base, attached, tmp_path)
    save_adapter(tmp_path / "adapter", attached, base, str(folder), "", {})
    made = merge(tmp_path / "adapter", tmp_path / "merged")
    assert made.cost.dequantised
    assert (made.held, made.held_size) == ("nf4", held_bytes(_base(folder).model))
    assert made.held_size < made.base_size == (folder / "model.safetensors").stat().st_size
    assert made.cost.by_merging < 1e-4
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        found = merged(input_ids=torch.arange(5, 40).unsqueeze(0)).logits
    torch.testing.assert_close(found, _logits(base), atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings(
    "error",
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:Model has `tie_word_embeddings=True`",
)
def test_peft_loads_it_over_the_same_four_bits(folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = _base(folder)
    attached = _attach(base, "lora")
    _train(base, attached, tmp_path)
    save_adapter(tmp_path / "adapter", attached, base, str(folder), "", {})
    theirs = peft.PeftModel.from_pretrained(_base(folder).model, tmp_path / "adapter")
    with torch.no_grad():
        found = theirs(input_ids=torch.arange(5, 40).unsqueeze(0)).logits
    torch.testing.assert_close(found, _logits(base), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{"dora": True}, {"init": "pissa"}])
def test_what_needs_the_weights_themselves_is_refused(
    folder: Path, options: dict[str, Any]
) -> None:
    method = build_method(MethodSpec(name="lora", **options))
    (key,) = options
    with pytest.raises(InputError, match=rf"^method\.{key}: .* this base is quantised"):
        method.attach(_base(folder).model)


@pytest.mark.parametrize(
    "options",
    [
        {"train": "layers", "layers": {"last": 1}},
        {"train": "parameters", "parameters": ["*.0.*"]},
        {"train": "parameters", "parameters": ["mlp.*.weight"]},
        {"train": "sparse", "mask": "magnitude"},
        {"train": "sparse", "mask": "magnitude", "parameters": ["*.1.*"]},
    ],
    ids=str,
)
def test_weights_in_four_bits_are_not_left_out_of_what_is_trained_unsaid(
    folder: Path, options: dict[str, Any]
) -> None:
    base = _base(folder)
    method = build_method(MethodSpec(name="selective", **options))
    with pytest.raises(InputError, match=r"is quantised and has no values to train; choose norms"):
        method.attach(base.model)
    assert all(p.requires_grad for p in base.model.parameters() if p.is_floating_point())


def test_a_mask_from_gradients_is_refused_before_documents_are_read(folder: Path) -> None:
    method = build_method(MethodSpec(name="selective", train="sparse", mask="fisher"))
    with pytest.raises(InputError, match=r"without method\.parameters: .* is quantised"):
        method.prepare(_base(folder).model, iter(()))


def test_every_adapter_method_is_tried_here() -> None:
    tried = {name for name, _ in WAYS.values()}
    assert tried == {name for name, method in METHODS.items() if not method.stores_model}


def test_low_rank_corrections_are_computed_together_with_maps_in_four_bits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = _base(folder)
    if base.model.config.model_type != "llama":
        pytest.skip("no fused decoder")
    _assert_computed_together(base, monkeypatch)


@pytest.mark.parametrize("name", ["gemma", "mistral", "phi3"])
def test_so_they_are_in_other_families(
    name: str,
    make_base: Callable[..., Base],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    base = make_base(name, hidden_size=64, intermediate_size=128, num_hidden_layers=2)
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    _assert_computed_together(_base(tmp_path), monkeypatch)


def _assert_computed_together(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and gradients of the model's own forward, without one of its maps being called."""
    attached = _attach(base, "lora")
    for group in attached.groups():
        for parameter in group.parameters:
            torch.nn.init.normal_(parameter, std=0.05)
    documents = [Encoded.ending(tuple(range(5, 5 + n)), 3) for n in (9, 14)]
    loss = CompletionLoss(base.model)
    assert loss.decoder is not None
    own = CompletionLoss(base.model)
    own.decoder = None
    found = {}
    with packed(base.model):
        for name, compute in (("own", own), ("fused", loss)):
            if name == "fused":
                four_bits = type(base.model.model.layers[0].mlp.down_proj.base_layer)
                monkeypatch.setattr(four_bits, "forward", None)
            total = compute(pack(documents, 0))
            total.backward()
            grads = [p.grad for group in attached.groups() for p in group.parameters]
            found[name] = [total.detach(), *(g.clone() for g in grads if g is not None)]
            base.model.zero_grad(set_to_none=True)
    assert len(found["own"]) == len(found["fused"]) > 1
    # One by one they may be 2e-5 apart where they are small (MKL's kernels for AVX2).
    for mine, theirs in zip(found["fused"], found["own"], strict=True):
        assert (mine - theirs).norm() <= 3e-5 * theirs.norm()


def test_new_tokens_get_rows_in_a_quantised_base_and_in_what_it_is_merged_to(
    folder: Path, tmp_path: Path
) -> None:
    tokens = [NewToken("<note>"), NewToken("<end>")]
    base = load_base(str(folder), torch.float32, CPU, quantise="nf4", tokens=tokens)
    whole = load_base(str(folder), torch.float32, CPU, tokens=tokens)
    for quantised, own in zip(
        tables_of(base.model).values(), tables_of(whole.model).values(), strict=True
    ):
        assert torch.equal(quantised.weight, own.weight), "a table is not held as it is"
    method = build_method(MethodSpec(name="lora", rank=4))
    attached = Alongside((300, 301)).attach(method, base.model)
    losses = _train(base, attached, tmp_path, steps=3)
    assert losses[-1] < losses[0]
    save_adapter(tmp_path / "adapter", attached, base, str(folder), "", {})
    merged = merge(tmp_path / "adapter", tmp_path / "merged", "float32")
    assert merged.cost.dequantised
    model = load_base(str(tmp_path / "merged"), torch.float32, CPU).model
    ids = torch.tensor([[5, 300, 9, 301, 7]])
    with torch.no_grad():
        ours, theirs = (each(input_ids=ids).logits for each in (base.model, model))
    torch.testing.assert_close(theirs, ours, atol=1e-3, rtol=1e-3)
