"""The fused decoder gives the model's own hidden states, losses and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from brulee.data.batching import common_start, pack
from brulee.data.encoding import Encoded
from brulee.methods import build_method
from brulee.models.fused_decoder import fused_decoder
from brulee.models.head import CompletionLoss
from brulee.recipe import MethodSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]
FUSED = ["llama", "qwen3"]
METHODS: list[dict[str, Any]] = [
    {"name": "lora"},
    {"name": "lora", "target": ["q_proj", "v_proj", "down_proj"]},
    {"name": "lora", "dora": True},
    {"name": "lora", "init": "pissa"},
    {"name": "full"},
    {"name": "ia3"},
]
# A common beginning; one whose learned tokens are two stretches, one that is nearly all learned.
DOCUMENTS = [
    Encoded.ending((7, 8, 9, 10, 11, 12, 13, 14), 3),
    Encoded((7, 8, 9, 21, 22, 23, 24, 25, 26), ((4, 6), (7, 8))),
    Encoded.ending((7, 8, 9, 30, 31), 1),
    Encoded.ending((7, 8, 9, 41, 42, 43, 44, 45, 46, 47), 6),
]


def _tuned(make_model: Make, name: str, method: dict[str, Any]) -> PreTrainedModel:
    """With values of the method that change what the model computes."""
    model = make_model(name)
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
    loss = CompletionLoss(model)
    assert loss.decoder is not None
    total = loss(pack(documents, shared))
    total.backward()
    return total.item(), _gradients(model)


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


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("name", FUSED)
def test_losses_and_gradients_are_those_of_the_model_itself(
    make_model: Make, name: str, method: dict[str, Any]
) -> None:
    model = _tuned(make_model, name, method)
    expected_loss, expected = _naive(model, DOCUMENTS)
    for shared in (0, common_start(DOCUMENTS)):
        loss, found = _fused(model, DOCUMENTS, shared)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert found.keys() == expected.keys()
        for key, gradient in expected.items():
            torch.testing.assert_close(
                found[key], gradient, rtol=1e-4, atol=1e-4, msg=lambda m, k=key: f"{k}: {m}"
            )


def test_documents_of_a_pack_are_kept_apart(make_model: Make) -> None:
    model = make_model("llama")
    together, _ = _fused(model.requires_grad_(True), DOCUMENTS, 3)
    for at in range(len(DOCUMENTS)):
        rest = DOCUMENTS[:at] + DOCUMENTS[at + 1 :]
        alone, _ = _fused(model, DOCUMENTS[at : at + 1], 0)
        assert together - _fused(model, rest, 3)[0] == pytest.approx(alone, abs=1e-3)


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


@pytest.mark.parametrize("name", ["gemma", "mistral", "phi", "gpt2", "gpt-neox"])
def test_what_is_not_known_to_be_the_same_is_left_alone(make_model: Make, name: str) -> None:
    assert fused_decoder(make_model(name)) is None


def test_a_hook_on_any_module_is_left_alone(make_model: Make) -> None:
    model = make_model("llama")
    model.model.layers[1].mlp.register_forward_hook(lambda *_: None)
    assert fused_decoder(model) is None


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


def test_dropout_of_the_method_is_drawn_by_its_own_modules(make_model: Make) -> None:
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
