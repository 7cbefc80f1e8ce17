"""Documents packed end to end train as they would alone; without their boundaries they do not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from brulee.data.batching import Batch, pack, pack_arguments, pad
from brulee.data.encoding import Encoded
from brulee.inference.padding_trial import way_of
from brulee.models import attention
from brulee.models.attention import NAME, packed, packed_attention, packs_exactly
from brulee.models.fused_decoder import fused_decoder
from brulee.models.head import CompletionLoss

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CAUSAL = ["llama", "gpt2", "mistral", "qwen3"]
Make = Callable[..., "PreTrainedModel"]
Found = tuple[float, dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def documents() -> list[Encoded]:
    """Unequal lengths, most of them longer than Mistral's window of 6, one with a single prompt
    token."""
    draw = random.Random(0)
    shapes = [(11, 5), (1, 3), (20, 1), (2, 9), (7, 7)]
    return [
        Encoded.ending(tuple(draw.randrange(5, 300) for _ in range(prompt + learned)), learned)
        for prompt, learned in shapes
    ]


def _gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def _together(model: PreTrainedModel, batch: Batch, fused: bool) -> Found:
    loss = CompletionLoss(model)
    loss.fused, loss.decoder = fused, None  # the model's own layers
    with packed(model):
        total = loss(batch) / batch.learned
        total.backward()
    return total.item(), _gradients(model)


def _one_at_a_time(model: PreTrainedModel, documents: Sequence[Encoded]) -> Found:
    """Transformers' own forward and attention, and PyTorch's own cross-entropy."""
    learned = sum(d.learned for d in documents)
    total = 0.0
    for document in documents:
        logits = model(input_ids=torch.tensor([document.ids])).logits[0]
        before = logits[len(document.ids) - document.learned - 1 : -1]
        loss = F.cross_entropy(before, torch.tensor(document.completion), reduction="sum")
        (loss / learned).backward()
        total += loss.item() / learned
    return total, _gradients(model)


def _assert_same(found: Found, expected: Found) -> None:
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", CAUSAL)
def test_packed_loss_and_gradients_are_those_of_documents_alone(
    make_model: Make, documents: list[Encoded], name: str, fused: bool
) -> None:
    model = make_model(name)
    _assert_same(_together(model, pack(documents), fused), _one_at_a_time(model, documents))


@pytest.mark.parametrize("name", CAUSAL)
def test_without_boundaries_the_same_comparison_fails(
    make_model: Make, documents: list[Encoded], name: str
) -> None:
    model = make_model(name)
    batch = pack(documents)
    one = pack_arguments([batch.tokens], torch.device("cpu"))
    one["position_ids"] = batch.inputs["position_ids"]  # only the attention boundary is gone
    blind = replace(batch, inputs={**batch.inputs, **one})
    with pytest.raises(AssertionError):
        _assert_same(_together(model, blind, fused=True), _one_at_a_time(model, documents))


@pytest.mark.parametrize("name", CAUSAL)
def test_padded_loss_and_gradients_are_those_of_documents_alone(
    make_model: Make, documents: list[Encoded], name: str
) -> None:
    model = make_model(name)
    batch = pad(documents, pad_id=0)
    total = CompletionLoss(model)(batch) / batch.learned
    total.backward()
    found = total.item(), _gradients(model)
    _assert_same(found, _one_at_a_time(model, documents))


def test_a_window_shorter_than_the_document_changes_what_is_computed(make_model: Make) -> None:
    # Else the Mistral cases above would hold for a window that is never applied.
    ids = torch.arange(5, 25).unsqueeze(0)
    narrow = make_model("mistral", sliding_window=6)(input_ids=ids).logits
    wide = make_model("mistral", sliding_window=64)(input_ids=ids).logits
    assert (narrow - wide).abs().max() > 0.1


@pytest.mark.parametrize("name", CAUSAL)
def test_models_that_pack_are_found_by_trying(make_model: Make, name: str) -> None:
    assert packs_exactly(make_model(name))


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_encoder_decoders_do_not_pack(make_model: Make, name: str) -> None:
    assert not packs_exactly(make_model(name))


def test_dropout_of_a_model_in_training_does_not_hide_that_it_packs(make_model: Make) -> None:
    model = make_model("gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5).train()
    assert packs_exactly(model)
    assert model.training


def test_memory_that_runs_out_in_a_trial_is_no_answer(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's allocator for CPUs raises a RuntimeError, as sizes that do not fit do."""

    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    model = make_model("llama", intermediate_size=72)  # tried nowhere else
    monkeypatch.setattr("brulee.models.fused_trial._error", failing)
    monkeypatch.setattr("brulee.inference.padding_trial._logits", failing)
    for trial in (fused_decoder, lambda model: way_of(model, 0)):
        with pytest.raises(RuntimeError, match="can't allocate memory"):
            trial(model)
    model.model.layers[0].mlp.register_forward_pre_hook(failing)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        packs_exactly(model)


def test_a_model_with_chunked_attention_does_not_pack() -> None:
    # Its chunks are longer than the documents of the trial, and reach attention only as a mask.
    from transformers import Llama4ForCausalLM, Llama4TextConfig

    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    more = {"intermediate_size_mlp": 8, "num_local_experts": 2, "pad_token_id": 0}
    config = Llama4TextConfig(**sizes, **heads, **more, attention_chunk_size=16, eos_token_id=2)
    assert not packs_exactly(Llama4ForCausalLM(config))


def test_a_model_whose_attention_ignores_the_boundaries_does_not_pack(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def nothing(_: object) -> Iterator[None]:
        yield

    def one_document(lengths: Any, device: torch.device) -> dict[str, Any]:
        return {"position_ids": torch.arange(sum(lengths)).unsqueeze(0)}

    monkeypatch.setattr("brulee.models.attention.packed", nothing)
    monkeypatch.setattr("brulee.models.attention.pack_arguments", one_document)
    assert not packs_exactly(make_model("llama"))


def test_the_models_own_attention_is_back_after_the_block_even_on_an_error(
    make_model: Make,
) -> None:
    model = make_model("llama")
    before = model.config._attn_implementation
    inside = []

    def fail() -> None:
        inside.append(model.config._attn_implementation)
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"), packed(model):
        fail()
    assert inside == [NAME]
    assert model.config._attn_implementation == before


def test_a_tower_that_takes_only_its_own_attention_keeps_it(make_model: Make) -> None:
    """As VibeVoice ASR's, for which transformers refuses that of the model that it is in."""
    model = make_model("gemma3")
    tower: Any = model.get_submodule("model.vision_tower")
    tower._supports_sdpa = False
    tower.config._attn_implementation = "eager"
    with packed(model):
        assert model.config._attn_implementation == NAME
    assert model.config._attn_implementation == "sdpa"
    assert model.config.text_config._attn_implementation == "sdpa"
    assert tower.config._attn_implementation == "eager"


@pytest.mark.parametrize("option", ["softcap", "s_aux", "position_bias"])
def test_what_packed_attention_cannot_compute_is_refused_by_name(option: str) -> None:
    query = torch.zeros(1, 2, 3, 4)
    bounds = torch.tensor([0, 3], dtype=torch.int32)
    with pytest.raises(ValueError, match=option):
        packed_attention(
            torch.nn.Identity(),
            query,
            query,
            query,
            None,
            cu_seq_lens_q=bounds,
            **{option: torch.ones(1)},
        )


def test_a_pack_without_boundaries_is_refused() -> None:
    query = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match="no document boundaries"):
        packed_attention(torch.nn.Identity(), query, query, query, None)


def test_heads_that_share_a_key_head_go_to_the_kernel_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keys repeated for every query head would be copies, and their gradients a sum more."""
    seen: list[tuple[Any, ...]] = []

    def kernel(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: Any, **how: Any) -> Any:
        seen.append((tuple(k.shape), tuple(v.shape), rest[2:], how))
        return q, None

    monkeypatch.setattr(attention, "_flash", kernel)
    q, k = torch.zeros(5, 6, 8), torch.zeros(5, 2, 8)
    bounds = torch.tensor([0, 2, 5], dtype=torch.int32)
    attention.varlen(q, k, k, (bounds, bounds), (3, 4), 0.5)
    attention.varlen(q, q, q, (bounds, bounds), (3, 4), None, window=2)
    sizes = {"window_size_left": -1, "window_size_right": 0}
    assert seen[0] == ((5, 2, 8), (5, 2, 8), (3, 4, 0.0, True, False), {"scale": 0.5, **sizes})
    sizes["window_size_left"] = 1
    assert seen[1] == ((5, 6, 8), (5, 6, 8), (3, 4, 0.0, False, False), {"scale": None, **sizes})


def test_narrower_values_go_to_the_kernel_with_zeros_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes one width alone; what comes of the zeros is cut off."""
    given: list[torch.Tensor] = []

    def kernel(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: Any, **__: Any) -> Any:
        assert q.shape[2] == k.shape[2] == v.shape[2], "the kernel would refuse"
        given.append(v)
        return v, None

    monkeypatch.setattr(attention, "_flash", kernel)
    q, v = torch.zeros(5, 2, 8), torch.randn(5, 2, 6).requires_grad_()
    bounds = torch.tensor([0, 2, 5], dtype=torch.int32)
    out = attention.varlen(q, q, v, (bounds, bounds), (3, 3), 0.5)
    assert torch.equal(out, v)
    assert not given[0][..., 6:].any()
    (gradient,) = torch.autograd.grad(out.sum(), v)
    assert torch.equal(gradient, torch.ones_like(v))


def test_wider_values_are_not_for_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "by_kernel", lambda _: True)
    monkeypatch.setattr(attention, "_varlen_is_right", lambda *_: True)
    query = torch.zeros(5, 2, 8, dtype=torch.bfloat16)
    found = [attention.takes_all_documents(query, values) for values in (0, 6, 8, 16)]
    assert found == [True, True, True, False]


def test_the_kernel_takes_what_it_is_given() -> None:
    """Its arguments are those of torch's own function for documents end to end; no GPU is asked."""
    schema = torch.ops.aten._flash_attention_forward.default._schema
    names = [argument.name for argument in schema.arguments]
    assert names[:10] == [
        "query", "key", "value", "cum_seq_q", "cum_seq_k", "max_q", "max_k", "dropout_p",
        "is_causal", "return_debug_mask",
    ]  # fmt: skip
    assert {"scale", "window_size_left", "window_size_right"} <= set(names[10:])
    q = torch.zeros(5, 6, 8, dtype=torch.bfloat16, device="meta").requires_grad_()
    k = torch.zeros(5, 2, 8, dtype=torch.bfloat16, device="meta").requires_grad_()
    bounds = torch.tensor([0, 2, 5], dtype=torch.int32, device="meta")
    found = attention.varlen(q, k, k, (bounds, bounds), (3, 3), 0.5)
    d_q, d_k = torch.autograd.grad(found, (q, k), torch.zeros_like(found))
    assert (d_q.shape, d_k.shape) == (q.shape, k.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_a_gpu_gets_a_key_head_for_each_query_head_where_its_kernels_share_none(
    masked: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = []

    def noted(query: torch.Tensor, key: torch.Tensor, *_: Any, **more: Any) -> torch.Tensor:
        heads.append((key.shape[1], more["enable_gqa"]))
        return query

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    shared = not masked and dtype == torch.bfloat16
    for device in ("meta", "cpu"):  # no kernel for CPUs needs it
        query, key = (torch.empty(1, n, 3, 8, dtype=dtype, device=device) for n in (6, 2))
        mask = torch.ones(3, 3, dtype=torch.bool, device=device) if masked else None
        attention.by_torch(query, key, key, mask, None)
    assert heads == [(2, True) if shared else (6, False), (2, True)]


def test_query_heads_share_key_heads_in_order() -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, 5, 8, generator=draw) for n in (6, 2, 2))
    wide_k, wide_v = (x.repeat_interleave(3, dim=1) for x in (k, v))
    expected = attention.by_torch(q, wide_k, wide_v, None, None)
    torch.testing.assert_close(attention.by_torch(q, k, v, None, None), expected)
