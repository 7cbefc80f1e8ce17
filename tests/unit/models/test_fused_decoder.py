"""The fused decoder gives the model's own hidden states, losses and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch.profiler import ProfilerActivity, profile

from brulee.data.batching import common_start, pack
from brulee.data.encoding import Encoded
from brulee.methods import build_method
from brulee.methods.bottleneck_places import after
from brulee.models.attention import packed
from brulee.models.fused_decoder import fused_decoder
from brulee.models.head import CompletionLoss
from brulee.recipe import MethodSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]
FUSED = ["llama", "qwen3", "gemma", "mistral", "gpt2"]
KINDS = ("houlsby", "pfeiffer", "parallel")
METHODS: list[dict[str, Any]] = [
    {"name": "lora"},
    {"name": "lora", "target": "re:.*(q_proj|v_proj|down_proj|c_attn)"},
    {"name": "lora", "dora": True},
    {"name": "lora", "init": "pissa"},
    {"name": "full"},
    {"name": "ia3"},
    *({"name": "bottleneck", "kind": kind, "reduction": 4} for kind in KINDS),
    {"name": "selective", "train": "norms"},
    {"name": "selective", "train": "layers", "layers": {"last": 1}},
    {"name": "selective", "train": "embeddings"},
    {"name": "prefix", "tokens": 5, "init": "random"},
    {"name": "prefix", "tokens": 5, "init": "random", "projection": True},
]
# A common beginning; one whose learned tokens are two stretches, one that is nearly all learned.
DOCUMENTS = [
    Encoded.ending((7, 8, 9, 10, 11, 12, 13, 14), 3),
    Encoded((7, 8, 9, 21, 22, 23, 24, 25, 26), ((4, 6), (7, 8))),
    Encoded.ending((7, 8, 9, 30, 31), 1),
    Encoded.ending((7, 8, 9, 41, 42, 43, 44, 45, 46, 47), 6),
]


def _tuned(make_model: Make, name: str, method: dict[str, Any], **sizes: int) -> PreTrainedModel:
    """With values of the method that change what the model computes."""
    model = make_model(name, **sizes)
    attached = build_method(MethodSpec(**method)).attach(model)
    draw = torch.Generator().manual_seed(1)
    for group in attached.groups():
        for parameter in group.parameters:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=draw)
    return model


def _gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def _fused(model: PreTrainedModel, documents: Sequence[Encoded], shared: int) -> Any:
    return _of(CompletionLoss(model), documents, shared)


def _of(loss: CompletionLoss, documents: Sequence[Encoded], shared: int) -> Any:
    assert loss.decoder is not None
    total = loss(pack(documents, shared))
    total.backward()
    return total.item(), _gradients(loss.model)


def _naive(model: PreTrainedModel, documents: Sequence[Encoded]) -> Any:
    """Transformers' own forward, one document at a time, and PyTorch's cross-entropy."""
    total = 0.0
    for document in documents:
        logits = model(input_ids=torch.tensor([document.ids])).logits[0]
        for start, end in document.spans:
            wanted = torch.tensor(document.ids[start:end])
            loss = F.cross_entropy(logits[start - 1 : end - 1], wanted, reduction="sum")
            loss.backward(retain_graph=True)
            total += loss.item()
    return total, _gradients(model)


@pytest.mark.diagonal("method", "name", lines=2)
@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("name", FUSED)
def test_losses_and_gradients_are_those_of_the_model_itself(
    make_model: Make, name: str, method: dict[str, Any]
) -> None:
    model = _tuned(make_model, name, method)
    expected_loss, expected = _naive(model, DOCUMENTS)
    ours = CompletionLoss(model)
    for shared in (0, common_start(DOCUMENTS)):
        loss, found = _of(ours, DOCUMENTS, shared)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert found.keys() == expected.keys()
        for key, gradient in expected.items():
            torch.testing.assert_close(
                found[key], gradient, rtol=1e-4, atol=1e-4, msg=lambda m, k=key: f"{k}: {m}"
            )


def test_documents_of_a_pack_are_kept_apart(make_model: Make) -> None:
    loss = CompletionLoss(make_model("llama").requires_grad_(True))
    together, _ = _of(loss, DOCUMENTS, 3)
    for at in range(len(DOCUMENTS)):
        rest = DOCUMENTS[:at] + DOCUMENTS[at + 1 :]
        alone, _ = _of(loss, DOCUMENTS[at : at + 1], 0)
        assert together - _of(loss, rest, 3)[0] == pytest.approx(alone, abs=1e-3)


def test_a_common_beginning_is_never_one_that_predicts_a_learned_token() -> None:
    assert common_start(DOCUMENTS) == 3
    same = [Encoded.ending((1, 2, 3, 4), 2)] * 3
    assert common_start(same) == 1, "token 1 predicts the first learned one"
    assert common_start(same[:1]) == 0


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_the_rows_of_an_attention_product_change_nothing(
    make_model: Make, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    model = _tuned(make_model, "llama", {"name": "lora"})
    expected_loss, expected = _naive(model, DOCUMENTS)
    monkeypatch.setattr("brulee.models.fused_attention.ROWS", rows)
    loss, found = _fused(model, DOCUMENTS, 3)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-4)


def test_long_documents_go_to_the_kernels_for_them(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _tuned(make_model, "llama", {"name": "lora"})
    expected = _fused(model, DOCUMENTS, 3)
    monkeypatch.setattr("brulee.models.fused_attention.LONGEST", 4)
    loss, found = _fused(model, DOCUMENTS, 3)
    assert loss == pytest.approx(expected[0], rel=1e-5)
    for key, gradient in expected[1].items():
        torch.testing.assert_close(
            found[key], gradient, rtol=1e-4, atol=1e-4, msg=lambda m, k=key: f"{k}: {m}"
        )


@pytest.mark.parametrize("kind", ["Mamba", "XGLM"])
def test_what_is_not_known_to_be_the_same_is_left_alone(kind: str) -> None:
    sizes = {"vocab_size": 300, "num_attention_heads": 4, "num_hidden_layers": 2}
    own = {"XGLM": {"d_model": 32}}
    sizes |= own.get(kind, {"hidden_size": 32})
    config = getattr(transformers, f"{kind}Config")(**sizes)
    assert fused_decoder(transformers.AutoModelForCausalLM.from_config(config).eval()) is None


def test_a_hook_on_any_module_is_left_alone(make_model: Make) -> None:
    model = make_model("llama")
    model.model.layers[1].mlp.register_forward_hook(lambda *_: None)
    assert fused_decoder(model) is None


def test_an_addition_where_none_is_asked_for_is_left_alone(make_model: Make) -> None:
    model = make_model("llama")
    after(model.model.layers[1].self_attn.q_proj, torch.nn.Identity())
    assert fused_decoder(model) is None


def test_a_layer_with_a_module_that_no_addition_tells_of_is_left_alone(make_model: Make) -> None:
    """It may do nothing yet, as adapters do before they are trained."""
    model = make_model("llama")
    model.model.layers[1].add_module("adapter", torch.nn.Linear(32, 32))
    assert fused_decoder(model) is None


@pytest.mark.parametrize("train", ["norms", "layers", "embeddings", "sparse"])
def test_values_chosen_of_a_base_in_bfloat16_are_written_before_each_pass(
    make_model: Make, train: str
) -> None:
    """They are trained in fp32, beside what modules read."""
    options: dict[str, Any] = {"layers": {"last": 1}} if train == "layers" else {}
    options |= {"mask": "magnitude", "density": 0.5} if train == "sparse" else {}
    model = make_model("llama").to(torch.bfloat16)
    attached = build_method(MethodSpec(name="selective", train=train, **options)).attach(model)
    trained = [p for group in attached.groups() for p in group.parameters]
    loss = CompletionLoss(model)
    assert loss.decoder is not None
    assert loss.decoder.held.refreshes
    batch = pack(DOCUMENTS, 3)
    losses = []
    for _ in range(12):
        loss.decoder.held.renew()
        total = loss(batch) / batch.learned
        total.backward()
        losses.append(float(total.detach()))
        with torch.no_grad():
            for parameter in trained:
                assert parameter.grad is not None
                assert parameter.grad.abs().sum() > 0
                parameter -= 0.05 * parameter.grad / parameter.grad.abs().max()
                parameter.grad = None
    assert losses[-1] < losses[0] - 0.05
    loss.decoder.held.renew()
    decoder, loss.decoder = loss.decoder, None
    with packed(model), torch.no_grad():
        own = float(loss(pack(DOCUMENTS)) / batch.learned)
        loss.decoder = decoder
        ours = float(loss(batch) / batch.learned)
    assert ours == pytest.approx(own, rel=1e-2)


def test_a_prefix_that_is_switched_off_is_not_read(make_model: Make) -> None:
    model = make_model("llama")
    plain = _fused(model.requires_grad_(True), DOCUMENTS, 3)[0]
    method = build_method(MethodSpec(name="prefix", tokens=5, init="random"))
    attached = method.attach(model)
    loss = CompletionLoss(model)
    assert loss.decoder is not None
    batch = pack(DOCUMENTS, 3)
    assert loss(batch).item() != pytest.approx(plain, rel=1e-4)
    with attached.disabled():
        assert loss(batch).item() == pytest.approx(plain, rel=1e-6)


def test_a_norm_that_computes_something_else_is_found_by_trying(make_model: Make) -> None:
    class Shifted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.variance_epsilon = torch.nn.Parameter(torch.ones(32)), 1e-6

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (1 + self.weight)

    model = make_model("llama")
    model.model.layers[0].input_layernorm = Shifted()
    assert fused_decoder(model) is None


def test_dropout_of_the_method_is_drawn_anew_in_every_pass(make_model: Make) -> None:
    model = _tuned(make_model, "llama", {"name": "lora", "dropout": 0.5}).train()
    decoder = fused_decoder(model)
    assert decoder is not None
    batch = pack(DOCUMENTS)
    assert not torch.equal(decoder(batch), decoder(batch))
    model.eval()
    torch.testing.assert_close(decoder(batch), decoder(batch))


def test_a_frozen_embedding_gets_no_gradient_and_the_first_layer_gives_none(
    make_model: Make,
) -> None:
    model = _tuned(make_model, "llama", {"name": "lora", "target": ["o_proj"]})
    _, found = _fused(model, DOCUMENTS, 3)
    assert all("o_proj.lora_" in key for key in found)


def test_a_prompt_over_a_base_in_bfloat16_is_not_held_to_fp32(make_model: Make) -> None:
    """Its trained vectors are in fp32, and so is then what the model calls its format."""
    model = make_model("llama").to(torch.bfloat16)
    build_method(MethodSpec(name="prompt", tokens=4, init="random")).attach(model)
    assert {p.dtype for p in model.parameters()} == {torch.float32, torch.bfloat16}
    assert fused_decoder(model) is not None


@pytest.mark.parametrize("method", [METHODS[0], METHODS[4]], ids=str)
def test_what_is_computed_again_gives_the_same_to_the_bit(
    make_model: Make, method: dict[str, Any]
) -> None:
    loss = CompletionLoss(_tuned(make_model, "qwen3", method))
    assert loss.decoder is not None
    outcomes = []
    for loss.decoder.recomputes in (False, True):
        total = loss(pack(DOCUMENTS, 3))
        total.backward()
        outcomes.append((total.item(), _gradients(loss.model)))
    assert outcomes[0][0] == outcomes[1][0]
    assert outcomes[0][1].keys() == outcomes[1][1].keys()
    for key, gradient in outcomes[0][1].items():
        assert torch.equal(gradient, outcomes[1][1][key]), key


def test_what_is_computed_again_is_not_kept(make_model: Make) -> None:
    """What a forward pass leaves in memory, of 16 layers and 1,000 tokens."""
    model = _tuned(make_model, "llama", {"name": "lora"}, num_hidden_layers=16)
    loss = CompletionLoss(model)
    assert loss.decoder is not None
    loss(pack(DOCUMENTS)).backward()  # what is allocated once is there
    batch = pack([Encoded.ending((7,) * 250, 2)] * 4, 0)
    grown, totals = [], []
    for loss.decoder.recomputes in (True, False):
        with profile(
            activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
        ) as seen:
            totals.append(loss(batch))
        # Taken less given back: the allocator's own count, not what the process happens to hold.
        grown.append(sum(event.self_cpu_memory_usage for event in seen.key_averages()))
    inputs = 16 * 1000 * model.config.hidden_size * 4  # bytes of what each layer reads
    assert grown[1] > 4 * inputs, grown
    assert inputs <= grown[0] < 0.5 * grown[1], grown
