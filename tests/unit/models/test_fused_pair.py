"""Encoder-decoders of T5's family compute in packs what transformers' own layers compute.

The reference is transformers' forward of one document at a time.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from transformers import PreTrainedModel

from brulee.data.batching import pack_pairs, pad_pairs
from brulee.data.encoding import Encoded
from brulee.methods import build_method, prefix_cache
from brulee.models import biased_attention, fused_pair, pair_form
from brulee.models.attention_kind import settle_attention
from brulee.models.fused_pair import FusedPair
from brulee.models.head import CompletionLoss
from brulee.models.pair_form import read_pair_form
from brulee.models.pair_parts import PairForm
from brulee.models.twin import pair_twin_of
from brulee.recipe import MethodSpec

_FOUND = runpy.run_path(str(Path(__file__).parent / "families.py"))
perturbed: Callable[..., PreTrainedModel] = _FOUND["perturbed"]
_PAIRS = runpy.run_path(str(Path(__file__).parent / "pairs.py"))
METHODS: list[dict[str, Any]] = _PAIRS["METHODS"]
DOCUMENTS: list[Encoded] = _PAIRS["DOCUMENTS"]
PREFIX: dict[str, Any] = _PAIRS["PREFIX"]
_packed, _alone = _PAIRS["packed"], _PAIRS["alone"]
_assert_same, _scales_instead = _PAIRS["assert_same"], _PAIRS["scales_instead"]

SIZES: dict[str, Any] = {
    "vocab_size": 200, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 3,
    "num_decoder_layers": 2, "num_heads": 4, "dropout_rate": 0.0, "pad_token_id": 0,
    "decoder_start_token_id": 0, "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16, "initializer_factor": 0.8,
}  # fmt: skip
GATED = {"feed_forward_proj": "gated-gelu"}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("T5", {}),
    "flan-t5": ("T5", {**GATED, "tie_word_embeddings": False}),
    "gated-silu": ("T5", {"feed_forward_proj": "gated-silu"}),
    "mt5": ("MT5", GATED),
    "umt5": ("UMT5", GATED),
}


def _model(name: str, **changes: Any) -> PreTrainedModel:
    kind, own = FAMILIES[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **own, **changes})
    model: PreTrainedModel = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=draw)
    settle_attention(model)
    return model.eval()


def _tuned(name: str, method: dict[str, Any], **changes: Any) -> PreTrainedModel:
    """With values of the method that change what the model computes."""
    return perturbed(_model(name, **changes), method)


def test_after_a_token_that_is_forced() -> None:
    """Relative positions count it."""
    model, start = _model("t5"), (0, 7)
    _assert_same(_packed(CompletionLoss(model), start), _alone(model, start))


@pytest.mark.diagonal("method", "name")
@pytest.mark.parametrize("method", METHODS, ids=lambda m: "-".join(map(str, m.values())))
@pytest.mark.parametrize("name", ["flan-t5", "umt5"])
def test_losses_and_gradients_are_the_models_own(name: str, method: dict[str, Any]) -> None:
    model = _tuned(name, method)
    _assert_same(_packed(CompletionLoss(model)), _alone(model))


@pytest.mark.parametrize("name", ["t5", "gated-silu", "mt5"])
def test_of_every_family(name: str) -> None:
    """Plain and gated MLPs; a head that is the embedding, and one that is not."""
    model = _model(name)
    _assert_same(_packed(CompletionLoss(model)), _alone(model))


@pytest.mark.diagonal("method", "name")
@pytest.mark.parametrize(
    "method",
    [METHODS[0], *({**PREFIX, "tokens": tokens} for tokens in (3, 6, 10, 12, 16))],
    ids=lambda m: f"{m['name']}{m.get('tokens', '')}",
)
@pytest.mark.parametrize("name", ["flan-t5", "umt5"])
def test_padded_for_a_kernel_they_are_the_same(
    name: str, method: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU computes: documents side by side, through torch's own attention."""
    monkeypatch.setattr(fused_pair, "by_kernel", lambda _: True)
    model = _tuned(name, method)
    loss, expected = CompletionLoss(model), _alone(model)
    attend, masks = F.scaled_dot_product_attention, []

    def noted(*given: torch.Tensor, **more: Any) -> torch.Tensor:
        masks.append(more["attn_mask"])
        return attend(*given, **more)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    _assert_same(_packed(loss), expected)
    biases = {id(mask): mask for mask in masks if mask.dtype != torch.bool}
    if name == "flan-t5":
        assert len(biases) == 2, "one for all layers of a stack"
    assert all(mask.shape[-1] % 16 == 0 for mask in masks)


def test_a_kernels_bias_is_never_all_that_has_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch 2.11's kernel for GPUs then reads memory that it does not have."""
    monkeypatch.setattr(fused_pair, "by_kernel", lambda _: True)
    biases = {"name": "selective", "train": "parameters", "parameters": ["*relative_att*"]}
    model = _tuned("flan-t5", biases)
    loss, expected = CompletionLoss(model), _alone(model)
    attend, seen = F.scaled_dot_product_attention, []

    def noted(*given: torch.Tensor, **more: Any) -> torch.Tensor:
        if more["attn_mask"].requires_grad:
            seen.append(any(one.requires_grad for one in given))
        return attend(*given, **more)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    _assert_same(_packed(loss), expected)
    assert seen
    assert all(seen)


@pytest.mark.parametrize(
    ("kernels", "method"), [("", METHODS[1]), ("torch", METHODS[1]), ("", PREFIX)]
)
def test_in_bfloat16_they_are_close(
    kernels: str, method: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRULEE_KERNELS", kernels)
    expected = _alone(_tuned("flan-t5", method))
    model = perturbed(_model("flan-t5").to(torch.bfloat16), method)
    found = _packed(CompletionLoss(model))
    assert found[0] == pytest.approx(expected[0], rel=2e-2)
    for key, gradient in expected[1].items():
        assert (found[1][key] - gradient).norm() <= 0.1 * gradient.norm() + 1e-2, key


@pytest.mark.parametrize(
    ("name", "method"),
    [("t5", METHODS[0]), ("flan-t5", METHODS[0]), ("umt5", METHODS[0]), ("flan-t5", PREFIX)],
)
def test_dropout_is_where_the_model_has_it(
    name: str, method: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _tuned(name, method, dropout_rate=0.1)
    model.set_attn_implementation("eager")
    loss = CompletionLoss(model)
    assert _packed(loss)[0] == pytest.approx(_alone(model)[0], rel=1e-5), "none in evaluation"
    model.train()
    _scales_instead(monkeypatch)
    _assert_same(_packed(loss), _alone(model))


@pytest.mark.parametrize(("share", "method"), [(0.0, METHODS[1]), (0.1, METHODS[1]), (0.1, PREFIX)])
def test_computed_again_they_are_the_same(share: float, method: dict[str, Any]) -> None:
    """With the same values dropped the second time."""
    model = _tuned("flan-t5", method, dropout_rate=share).train()
    loss, found = CompletionLoss(model), []
    assert isinstance(loss.decoder, FusedPair)
    for again in (False, True):
        loss.decoder.recomputes = again
        torch.manual_seed(3)
        found.append(_packed(loss))
    _assert_same(*found)


def test_a_gradient_is_that_of_the_values_that_were_kept() -> None:
    """By a difference in one direction, in float64, the same values dropped in every pass."""
    model = _model("flan-t5", dropout_rate=0.3).double().train()
    loss = CompletionLoss(model)
    torch.manual_seed(5)
    value, gradients = _packed(loss)
    name, step = "encoder.block.1.layer.0.SelfAttention.k.weight", 1e-6
    parameter = model.get_parameter(name)
    direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)).double()
    parameter.data += step * direction
    assert loss.decoder is not None
    loss.decoder.held.renew()
    torch.manual_seed(5)
    moved, _ = _packed(loss)
    torch.manual_seed(6)
    other, _ = _packed(loss)
    along = float((gradients[name] * direction).sum())
    assert (moved - value) / step == pytest.approx(along, rel=1e-3, abs=1e-5)
    assert abs(other - value) > 1e-3, "nothing was dropped"


@pytest.mark.parametrize(
    "broken",
    [
        lambda b, causal, dtype: biased_attention.by_distance(b.flip(1), causal, dtype),
        lambda b, _, dtype: biased_attention.by_distance(b, False, dtype),
        lambda b, causal, dtype: biased_attention.by_distance(0 * b, causal, dtype),
    ],
    ids=["backwards", "sees-what-comes", "without"],
)
def test_what_computes_something_else_is_not_taken(
    broken: Callable[..., torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model("flan-t5")
    assert fused_pair.fused_pair(model) is not None
    monkeypatch.setattr(fused_pair, "by_distance", broken)
    assert fused_pair.fused_pair(model) is None


def _from_the_first_key(size: int) -> Callable[..., torch.Tensor]:
    def before(bias_HL: torch.Tensor, causal: bool, dtype: torch.dtype) -> torch.Tensor:
        bias_Hnn = biased_attention.by_distance(bias_HL, causal, dtype)
        return bias_Hnn.roll(size, 1) if causal else bias_Hnn

    return before


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("by_distance", _from_the_first_key(PREFIX["tokens"])),
        ("before_layers", lambda _prefixes, layers, _: [None] * layers),
    ],
    ids=["distances-without-it", "not-read"],
)
def test_a_prefix_that_is_read_otherwise_is_not_taken(
    name: str, broken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _tuned("flan-t5", PREFIX)
    assert fused_pair.fused_pair(model) is not None
    monkeypatch.setattr(fused_pair, name, broken)
    assert fused_pair.fused_pair(model) is None


def test_a_prefix_that_is_switched_off_is_not_read() -> None:
    model = _model("flan-t5")
    expected = _alone(model)[0]
    attached = build_method(MethodSpec(**PREFIX)).attach(model)
    loss = CompletionLoss(model)
    assert isinstance(loss.decoder, FusedPair)
    batch = pack_pairs(DOCUMENTS, (0,))
    with torch.no_grad():
        assert abs(loss(batch).item() - expected) > 1e-2 * expected
        with attached.disabled():
            assert loss(batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_of_a_prefix_is_summed_as_it_is_held() -> None:
    """Over documents: in bfloat16, a sum of 300 times the same would stop growing."""
    documents, heads, width = 300, 1, 2
    sizes = [1] * documents
    blocks = biased_attention.blocks_of(sizes, sizes, torch.device("cpu"), False, before=1)
    draw = {"dtype": torch.bfloat16, "requires_grad": True}
    q, k = torch.zeros(documents, heads, width, **draw), torch.zeros(documents + 1, heads, width)
    v = torch.zeros(documents + 1, heads, width, **draw)
    out = biased_attention.attend_biased(q, k.bfloat16(), v, blocks, None, 0.0)
    out.backward(torch.ones_like(out))
    assert v.grad is not None
    assert v.grad[0].tolist() == [[documents / 2] * width]


def test_the_gradient_of_a_distance_is_summed_as_it_is_held() -> None:
    """In bfloat16, a sum of 600 would stop growing."""
    bias_HL = torch.zeros(2, 1199, requires_grad=True)
    bias_Hnn = biased_attention.by_distance(bias_HL, False, torch.bfloat16)
    assert bias_Hnn.dtype == torch.bfloat16
    bias_Hnn.backward(torch.ones_like(bias_Hnn))
    assert bias_HL.grad is not None
    sums = torch.arange(1.0, 601)
    assert torch.equal(bias_HL.grad[1], torch.cat([sums, sums[:-1].flip(0)]))


def _scaled(model: PreTrainedModel) -> None:
    model.encoder.block[1].layer[0].SelfAttention.scaling = 0.5


def _another_share(model: PreTrainedModel) -> None:
    model.decoder.block[0].layer[1].dropout.p = 0.3


def _another_activation(model: PreTrainedModel) -> None:
    model.decoder.block[1].layer[2].DenseReluDense.act = torch.nn.GELU()


def _another_module(model: PreTrainedModel) -> None:
    model.encoder.block[0].layer[1].add_module("more", torch.nn.Identity())


def _hooked(model: PreTrainedModel) -> None:
    model.encoder.block[0].register_forward_hook(lambda _m, _i, out: out)


def _prefix_somewhere_else(model: PreTrainedModel) -> None:
    """What gives the decoder a prefix is a module of the encoder."""
    perturbed(model, PREFIX)
    model.encoder.add_module(prefix_cache.NAME, model.decoder.get_submodule(prefix_cache.NAME))
    delattr(model.decoder, prefix_cache.NAME)


@pytest.mark.parametrize(
    "change",
    [
        _scaled,
        _another_share,
        _another_activation,
        _another_module,
        _hooked,
        _prefix_somewhere_else,
    ],
)
def test_what_is_not_known_is_left_to_the_models_layers(
    change: Callable[[PreTrainedModel], None],
) -> None:
    model = _model("flan-t5")
    change(model)
    loss = CompletionLoss(model)
    assert loss.decoder is None
    total = loss(pad_pairs(DOCUMENTS, 0, (0,)))
    assert total.item() == pytest.approx(_alone(model)[0], rel=1e-5)


def test_a_twin_has_the_models_form() -> None:
    for name in FAMILIES:
        model = _model(name, dropout_rate=0.2)
        twin = pair_twin_of(model)
        assert twin is not None
        assert read_pair_form(twin) == read_pair_form(model)
    expected = PairForm(gate="gelu", dropout=0.2, inner=0.2, weights=0.2, last=0.2)
    assert pair_form.read_pair_form(_model("mt5", dropout_rate=0.2)) == expected


def test_packed_pairs_hold_no_padding() -> None:
    batch = pack_pairs(DOCUMENTS, (99,))
    assert batch.inputs["input_ids"].shape == (1, 19 + 2 + 25)
    assert batch.inputs["decoder_input_ids"][0].tolist()[:2] == [99, DOCUMENTS[0].completion[0]]
    assert (batch.tokens, batch.learned, batch.written) == (63, 17, (11, 1, 5))
    with pytest.raises(ValueError, match="one learned span"):
        pack_pairs([Encoded((1, 2, 3, 4, 5), ((1, 2), (3, 5)))], (0,))
