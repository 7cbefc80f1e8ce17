"""The chunked loss is PyTorch's cross-entropy, and the fused path is the model's own forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from brulee.data.batching import pack, pad, pad_pairs
from brulee.data.encoding import Encoded
from brulee.methods import build_method
from brulee.models.attention import packed
from brulee.models.head import CompletionLoss, Head
from brulee.models.head_rows import HeadRows
from brulee.models.linear_cross_entropy import linear_cross_entropy
from brulee.recipe import MethodSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]
N, D, V = 7, 5, 11
DOCUMENTS = [
    Encoded.ending((7, 8, 9, 10, 11), 3),
    Encoded.ending((50, 51), 1),
    Encoded.ending((20, 21, 22, 23, 24, 25), 2),
]


@pytest.fixture(params=[1, 2 * V, 3 * V, 100 * V], ids=["row", "two rows", "uneven", "all rows"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One position a chunk (less than a row asked for), some, a short last chunk, all at once."""
    monkeypatch.setattr("brulee.models.linear_cross_entropy.CHUNK_LOGITS", {"cpu": request.param})


def _case(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(N, D, dtype=dtype, generator=draw)
    weight_VD = torch.randn(V, D, dtype=dtype, generator=draw)
    targets_N = torch.randint(V, (N,), generator=draw)
    return hidden_ND, weight_VD, targets_N


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("frozen", ["neither", "weight", "hidden"])
def test_loss_and_gradients_are_cross_entropys(
    dtype: torch.dtype, tolerance: float, frozen: str
) -> None:
    hidden_ND, weight_VD, targets_N = _case(dtype)
    hidden_ND.requires_grad_(frozen != "hidden")
    weight_VD.requires_grad_(frozen != "weight")
    inputs = [t for t in (hidden_ND, weight_VD) if t.requires_grad]
    ours = linear_cross_entropy(hidden_ND, weight_VD, targets_N)
    theirs = F.cross_entropy(hidden_ND @ weight_VD.T, targets_N, reduction="sum")
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    # Scaled after the fact, as the trainer does: backward must honour the incoming gradient.
    found = torch.autograd.grad(ours / 3, inputs)
    expected = torch.autograd.grad(theirs / 3, inputs)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_positions_count_by_their_weights(dtype: torch.dtype, tolerance: float) -> None:
    hidden_ND, weight_VD, targets_N = _case(dtype)
    bias_V = torch.linspace(-1, 1, V, dtype=dtype)
    weights_N = torch.tensor([1.0, 0.25, 0.0, 1.0, 0.25, 0.5, 1.0])
    inputs = [t.requires_grad_() for t in (hidden_ND, weight_VD, bias_V)]
    ours = linear_cross_entropy(
        hidden_ND, weight_VD, targets_N, cap=1.5, bias_V=bias_V, weights_N=weights_N
    )
    logits_NV = 1.5 * torch.tanh((hidden_ND @ weight_VD.T + bias_V) / 1.5)
    theirs = (F.cross_entropy(logits_NV, targets_N, reduction="none") * weights_N).sum()
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    found, expected = (torch.autograd.grad(loss / 3, inputs) for loss in (ours, theirs))
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("cap", [None, 1.5])
def test_smoothed_losses_and_gradients_are_pytorchs(
    dtype: torch.dtype, tolerance: float, cap: float | None
) -> None:
    hidden_ND, weight_VD, targets_N = _case(dtype)
    targets_N[2] = -100
    weights_N = torch.linspace(0.2, 1, N, dtype=dtype)
    index_R = torch.tensor([1, int(targets_N[0])]).unique()
    rows_RD = torch.randn(len(index_R), D, dtype=dtype, generator=torch.Generator().manual_seed(1))
    inputs = [t.requires_grad_() for t in (hidden_ND, weight_VD, rows_RD)]
    ours = linear_cross_entropy(
        *(hidden_ND, weight_VD, targets_N),
        cap=cap,
        weights_N=weights_N,
        rows=HeadRows(index_R, rows_RD),
        smoothing=0.1,
    )
    logits_NV = hidden_ND @ weight_VD.index_copy(0, index_R, rows_RD).T
    logits_NV = logits_NV if cap is None else cap * torch.tanh(logits_NV / cap)
    each_N = F.cross_entropy(logits_NV, targets_N, reduction="none", label_smoothing=0.1)
    theirs = (each_N * weights_N).sum()
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    found, expected = (torch.autograd.grad(loss / 3, inputs) for loss in (ours, theirs))
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("head", [Head(4.0), Head(cap=1.5), Head(0.5, 2.0)], ids=str)
def test_scaled_and_capped_logits_have_their_own_gradients(
    dtype: torch.dtype, tolerance: float, head: Head
) -> None:
    hidden_ND, weight_VD, targets_N = _case(dtype)
    inputs = [hidden_ND.requires_grad_(), weight_VD.requires_grad_()]
    ours = head.loss(hidden_ND, weight_VD, targets_N)
    logits_NV = hidden_ND @ weight_VD.T / head.over
    if head.cap is not None:
        logits_NV = head.cap * torch.tanh(logits_NV / head.cap)
    theirs = F.cross_entropy(logits_NV, targets_N, reduction="sum")
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    found, expected = (torch.autograd.grad(loss / 3, inputs) for loss in (ours, theirs))
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("frozen", ["weight", "hidden", "rows", "nothing"])
def test_trained_rows_stand_in_the_weight_instead_of_its_own(
    dtype: torch.dtype, tolerance: float, frozen: str
) -> None:
    hidden_ND, weight_VD, targets_N = _case(dtype)
    index_R = torch.tensor([1, int(targets_N[0]), V - 1]).unique()
    rows_RD = torch.randn(len(index_R), D, dtype=dtype, generator=torch.Generator().manual_seed(1))
    bias_V = torch.linspace(-1, 1, V, dtype=dtype)
    named = {"hidden": hidden_ND, "weight": weight_VD, "rows": rows_RD}
    inputs = [tensor.requires_grad_() for name, tensor in named.items() if name != frozen]
    ours = linear_cross_entropy(
        *(hidden_ND, weight_VD, targets_N),
        cap=1.5,
        bias_V=bias_V,
        weights_N=torch.linspace(0, 1, N, dtype=dtype),
        rows=HeadRows(index_R, rows_RD),
    )
    whole_VD = weight_VD.index_copy(0, index_R, rows_RD)
    logits_NV = 1.5 * torch.tanh((hidden_ND @ whole_VD.T + bias_V) / 1.5)
    each_N = F.cross_entropy(logits_NV, targets_N, reduction="none")
    theirs = (each_N * torch.linspace(0, 1, N, dtype=dtype)).sum()
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    found, expected = (torch.autograd.grad(loss / 3, inputs) for loss in (ours, theirs))
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_a_weight_used_twice_gets_both_gradients() -> None:
    _, weight_VD, targets_N = _case(torch.float64)
    weight_VD.requires_grad_(True)
    ids_N = torch.arange(N) % V
    ours = linear_cross_entropy(F.embedding(ids_N, weight_VD).tanh(), weight_VD, targets_N)
    hidden_ND = F.embedding(ids_N, weight_VD).tanh()
    theirs = F.cross_entropy(hidden_ND @ weight_VD.T, targets_N, reduction="sum")
    found = torch.autograd.grad(ours, weight_VD)
    torch.testing.assert_close(found, torch.autograd.grad(theirs, weight_VD))


def test_no_gradient_is_computed_where_none_is_wanted() -> None:
    hidden_ND, weight_VD, targets_N = _case(torch.float32)
    weight_VD.requires_grad_(True)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        linear_cross_entropy(hidden_ND, weight_VD, targets_N)
    assert counter.get_total_flops() == 2 * N * D * V


def test_large_logits_do_not_overflow() -> None:
    hidden_ND, weight_VD, targets_N = _case(torch.float32)
    ours = linear_cross_entropy(1e4 * hidden_ND, weight_VD, targets_N)
    theirs = F.cross_entropy(1e4 * hidden_ND @ weight_VD.T, targets_N, reduction="sum")
    torch.testing.assert_close(ours, theirs)


def test_the_loss_of_a_bfloat16_model_is_summed_in_float32() -> None:
    hidden_ND, weight_VD, targets_N = _case(torch.bfloat16)
    hidden_ND.requires_grad_(True)
    ours = linear_cross_entropy(hidden_ND, weight_VD, targets_N)
    assert ours.dtype == torch.float32
    (found,) = torch.autograd.grad(ours, hidden_ND)
    assert found.dtype == torch.bfloat16
    logits_NV = (hidden_ND @ weight_VD.T).float()
    torch.testing.assert_close(ours, F.cross_entropy(logits_NV, targets_N, reduction="sum"))


def test_a_bfloat16_head_may_read_residuals_in_float32(make_model: Make) -> None:
    model = make_model("mamba").to(torch.bfloat16)
    batch = pad(DOCUMENTS, 0)
    loss = CompletionLoss(model)
    assert loss.fused
    logits_BTV = model(**batch.inputs).logits
    logits_NV = logits_BTV.flatten(0, 1)[batch.positions].float()
    expected = F.cross_entropy(logits_NV, batch.targets, reduction="sum")
    torch.testing.assert_close(loss(batch), expected, rtol=1e-2, atol=0)


def test_nothing_is_learned_from_no_targets() -> None:
    hidden_ND, weight_VD, targets_N = _case(torch.float32)
    hidden_ND.requires_grad_(True)
    loss = linear_cross_entropy(hidden_ND[:0], weight_VD, targets_N[:0])
    assert loss.item() == 0.0


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "mistral"])
@pytest.mark.parametrize("packs", [True, False], ids=["packed", "padded"])
def test_the_fused_path_is_the_models_own_forward(make_model: Make, name: str, packs: bool) -> None:
    model = make_model(name)
    batch = pack(DOCUMENTS) if packs else pad(DOCUMENTS, 0)
    loss = CompletionLoss(model)
    assert loss.fused

    def run() -> tuple[torch.Tensor, ...]:
        if not packs:
            total = loss(batch)
        else:
            with packed(model):
                total = loss(batch)
        return total, *torch.autograd.grad(total, list(model.parameters()))

    fused = run()
    loss.fused = False
    torch.testing.assert_close(fused, run(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", ["t5", "t5-gated", "bart"])
def test_an_encoder_decoders_loss_is_transformers_own(make_model: Make, name: str) -> None:
    model = make_model(name)
    start = model.config.decoder_start_token_id
    found = CompletionLoss(model)(pad_pairs(DOCUMENTS, 0, (start,)))
    # Transformers shifts labels by itself, and averages over the labelled tokens.
    alone = [
        model(input_ids=torch.tensor([d.prompt]), labels=torch.tensor([d.completion])).loss
        * d.learned
        for d in DOCUMENTS
    ]
    assert found.item() == pytest.approx(sum(a.item() for a in alone), rel=1e-5)


def test_what_is_forced_to_stand_first_is_given_and_not_learned(make_model: Make) -> None:
    model = make_model("bart")
    start = (model.config.decoder_start_token_id, 9)
    found = CompletionLoss(model)(pad_pairs(DOCUMENTS, 0, start))
    expected = 0.0
    for document in DOCUMENTS:
        labels = torch.tensor([[-100, *document.completion]])
        given = torch.tensor([[*start, *document.completion[:-1]]])
        loss = model(
            input_ids=torch.tensor([document.prompt]), decoder_input_ids=given, labels=labels
        ).loss
        expected += loss.item() * document.learned
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("known", [False, True])
def test_a_head_that_scales_its_logits_by_an_unknown_name_is_left_to_the_model(known: bool) -> None:
    from transformers import CohereConfig, CohereForCausalLM

    sizes = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.3}
    config = CohereConfig(**sizes, **heads, logit_scale=4.0, pad_token_id=0, eos_token_id=1)
    model = CohereForCausalLM(config).eval()
    if not known:  # the model has read it
        model.config.logit_scale = None
    loss = CompletionLoss(model)
    assert loss.fused == known
    with packed(model):
        found = loss(pack(DOCUMENTS))
    expected = 0.0
    for document in DOCUMENTS:
        logits = model(input_ids=torch.tensor([document.ids])).logits[0]
        before = logits[len(document.prompt) - 1 : -1]
        expected += F.cross_entropy(before, torch.tensor(document.completion), reduction="sum")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [16, 8])
def test_a_head_after_another_map_is_left_to_the_model(width: int) -> None:
    """Electra's and RemBERT's, to the width of their embeddings, which is often another one."""
    from transformers import ElectraConfig, ElectraForCausalLM

    sizes = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "embedding_size": width, "pad_token_id": 0}
    drops = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = ElectraForCausalLM(ElectraConfig(**sizes, **drops, is_decoder=True)).eval()
    loss = CompletionLoss(model)
    assert not loss.fused
    expected = 0.0
    for document in DOCUMENTS:
        logits = model(input_ids=torch.tensor([document.ids])).logits[0]
        before = logits[len(document.prompt) - 1 : -1]
        expected += F.cross_entropy(before, torch.tensor(document.completion), reduction="sum")
    torch.testing.assert_close(loss(pad(DOCUMENTS, 0)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_a_corrected_head_is_heard(make_model: Make, name: str) -> None:
    """Its correction is beside the weight that the fast path would take."""
    model = make_model(name)
    plain = CompletionLoss(model)(pack(DOCUMENTS)).detach()
    attached = build_method(MethodSpec(name="lora", target="lm_head")).attach(model)
    (layer,) = attached.layers.values()  # type: ignore[attr-defined]
    with torch.no_grad():
        layer.lora_B.normal_(generator=torch.Generator().manual_seed(0))
    batch = pack(DOCUMENTS)
    found = CompletionLoss(model)(batch)
    logits_TV = model(**batch.inputs, use_cache=False).logits[0]
    expected = F.cross_entropy(logits_TV[batch.positions], batch.targets, reduction="sum")
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    assert (found - plain).abs() > 0.1
