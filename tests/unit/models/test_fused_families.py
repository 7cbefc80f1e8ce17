"""Every family that the fused decoder knows computes as its model does, under every kind of method.

The reference is transformers' own forward of one document at a time; documents are longer than the
windows of those that have one.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from transformers import PreTrainedModel

from brulee.data.batching import common_start, pack
from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.models import alibi, form_reading, fused_attention, fused_decoder, fused_trial
from brulee.models.form_reading import read_form
from brulee.models.fused_decoder import FusedDecoder
from brulee.models.head import CompletionLoss
from brulee.models.layer_factors import NO_FACTORS, Streams
from brulee.models.layer_form import DecoderForm, LayerForm
from brulee.models.text_part import body_with_inputs
from brulee.models.twin import WINDOW, twin_of

_FOUND = runpy.run_path(str(Path(__file__).parent / "families.py"))
FAMILIES: list[str] = list(_FOUND["FAMILIES"])
make_family: Callable[..., PreTrainedModel] = _FOUND["make_family"]
perturbed: Callable[..., PreTrainedModel] = _FOUND["perturbed"]
gradients: Callable[[PreTrainedModel], dict[str, torch.Tensor]] = _FOUND["gradients"]
REFUSED: dict[tuple[str, str], str] = _FOUND["REFUSED"]
_scales_instead = runpy.run_path(str(Path(__file__).parent / "pairs.py"))["scales_instead"]

METHODS: list[dict[str, Any]] = [
    {"name": "lora", "rank": 4},
    {"name": "full"},
    {"name": "selective", "train": "norms"},
    {"name": "bottleneck", "kind": "houlsby", "reduction": 4},
    {"name": "prefix", "tokens": 4, "init": "random"},
]
# One family of each kind: where norms stand and what they do, how positions come in, what is
# capped or scaled, MLPs beside attention, maps for several things at once, what is no attention.
KINDS = (
    *("llama", "qwen3", "gemma2", "granite", "olmo2", "glm4", "stablelm-parallel", "cohere"),
    *("gpt2", "opt", "neox", "falcon-40b", "deepseek3", "laguna", "qwen3.5"),
)
# What is trained of families that lack what the method above asks for: norms with weights, one
# shape of keys, one feed-forward in a layer.
LACKING: dict[tuple[str, str], dict[str, Any]] = {
    **{(n, "selective"): {"train": "embeddings"} for n in ("olmo", "olmo-clipped", "nanochat")},
    ("gemma4-moe", "prefix"): {"name": "prompt"},
    ("gemma4-moe", "bottleneck"): {"kind": "parallel"},
}
# A common beginning of three; all but one are longer than the windows, the last one by far.
DOCUMENTS = [
    Encoded.ending((7, 8, 9, 10, 11, 12, 13, 14), 3),
    Encoded((7, 8, 9, 21, 22, 23, 24, 25, 26), ((4, 6), (7, 8))),
    Encoded.ending((7, 8, 9, 30, 31), 1),
    Encoded.ending((7, 8, 9, *range(41, 55)), 9),
]


def _tuned(name: str, method: dict[str, Any], **changes: Any) -> PreTrainedModel:
    """With values of the method that change what the model computes."""
    if (name, method["name"]) not in LACKING:
        return perturbed(make_family(name, **changes), method)
    method = {**method, **LACKING[name, method["name"]]}
    return perturbed(make_family(name, **changes), method)


def _ours(loss: CompletionLoss, shared: int) -> tuple[float, dict[str, torch.Tensor]]:
    assert loss.decoder is not None
    total = loss(pack(DOCUMENTS, shared))
    total.backward()
    return total.item(), gradients(loss.model)


def _own(model: PreTrainedModel) -> tuple[float, dict[str, torch.Tensor]]:
    """By transformers' forward, one document at a time, and PyTorch's cross-entropy."""
    total = 0.0
    for document in DOCUMENTS:
        logits = model(input_ids=torch.tensor([document.ids])).logits[0]
        for start, end in document.spans:
            wanted = torch.tensor(document.ids[start:end])
            loss = F.cross_entropy(logits[start - 1 : end - 1], wanted, reduction="sum")
            loss.backward(retain_graph=True)
            total += loss.item()
    return total, gradients(model)


def _assert_same(found: Any, expected: Any) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for key, gradient in expected[1].items():
        torch.testing.assert_close(
            found[1][key], gradient, rtol=1e-4, atol=1e-4, msg=lambda m, k=key: f"{k}: {m}"
        )


def _assert_same_or_rounded(name: str, found: Any, expected: Any, model: PreTrainedModel) -> None:
    """With a state, rounding the weights once more changes gradients by more than 1e-4."""
    if name not in ("qwen3-next", "qwen3.5", "jamba"):
        _assert_same(found, expected)
        return
    try:
        _assert_same(found, expected)
    except AssertionError:
        assert found[0] == pytest.approx(expected[0], rel=1e-5)
        _, shaken = _own_of_rounded(model)
        for key, gradient in expected[1].items():
            explained = 5 * (shaken[key] - gradient).norm()  # as in rounding_trial.py
            assert (found[1][key] - gradient).norm() <= explained + 1e-4, key


def _own_of_rounded(model: PreTrainedModel) -> tuple[float, dict[str, torch.Tensor]]:
    """By transformers' forward with every weight off by half of fp32's precision, at random."""
    kept = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1 + 2**-24 * torch.randn(parameter.shape, generator=draw)
    found = _own(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(kept[name])
    return found


@pytest.mark.diagonal("method", "name")
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m["name"])
@pytest.mark.parametrize("name", FAMILIES)
def test_losses_and_gradients_are_the_models_own(name: str, method: dict[str, Any]) -> None:
    if (name, method["name"]) in REFUSED:
        with pytest.raises(InputError, match=REFUSED[name, method["name"]]):
            _tuned(name, method)
        return
    model = _tuned(name, method)
    loss, expected = CompletionLoss(model), _own(model)
    for shared in (0, common_start(DOCUMENTS)):
        _assert_same_or_rounded(name, _ours(loss, shared), expected, model)


@pytest.mark.parametrize("name", ["bloom", "mpt", "falcon-rw"])
def test_biases_by_distance_in_long_documents(name: str) -> None:
    """Falcon RW rounds them to bfloat16; in bf16, what is far must not be rounded otherwise."""
    model = make_family(name)
    expected, decoder = _of_a_long_document(model)
    with torch.no_grad():
        found = FusedDecoder(model.bfloat16(), decoder.form)(pack([_LONG])).float()
    error = (found - expected).norm(dim=1) / expected.norm(dim=1)
    assert float(error.mean()) < 0.012


def test_rounded_biases_of_so_many_heads_that_slopes_are_no_powers_of_two() -> None:
    heads = {"num_attention_heads": 32, "num_kv_heads": 32, "hidden_size": 256}
    _of_a_long_document(make_family("falcon-rw", **heads))


def test_a_trial_of_biases_by_distance_has_one_whose_products_are_rounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two heads, as twins of other models have, all slopes are powers of two."""
    steps = alibi._factors

    def rounded_once(slopes: Any, places: torch.Tensor, rounded: float | None) -> Any:
        rates, parts = steps(slopes, places, rounded)
        exact = (places[:, None] * torch.tensor(slopes)).bfloat16()
        return rates, parts if rounded is None else torch.stack([exact, 0 * exact], dim=2)

    monkeypatch.setattr(alibi, "_factors", rounded_once)
    monkeypatch.setattr(fused_trial, "FOUND_RIGHT", set())
    model = make_family("falcon-rw")
    form = read_form(model)
    assert form is not None
    assert not fused_trial.form_is_right(model, form, FusedDecoder)


_LONG = Encoded.ending(tuple(3 + at * at % 293 for at in range(500)), 100)


@torch.no_grad()
def _of_a_long_document(model: PreTrainedModel) -> tuple[torch.Tensor, FusedDecoder]:
    """The model's own hidden states, equal to those of the decoder, which is returned as well."""
    decoder = fused_decoder.fused_decoder(model)
    assert decoder is not None
    body = body_with_inputs(model)
    expected = body(input_ids=torch.tensor([_LONG.ids])).last_hidden_state[0, 399:499]
    torch.testing.assert_close(decoder(pack([_LONG])), expected, rtol=1e-4, atol=1e-4)
    return expected, decoder


def test_sinks_that_are_trained_in_a_copy() -> None:
    model = _tuned("mimo2", {"name": "selective", "train": "layers", "layers": [0]})
    loss, expected = CompletionLoss(model), _own(model)
    assert any(name.endswith("sinks_tuned") for name in expected[1])
    _assert_same(_ours(loss, 3), expected)


@pytest.mark.parametrize(
    "name",
    [
        "gemma2",
        "phi3",
        "llama4",
        "laguna",  # another number of query heads in some layers
        "deepseek3",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("gemma3", "mistral")),
    ],
)
def test_without_loops_in_c_and_in_small_products(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products of a window leave out keys that none of their queries sees."""
    model = _tuned(name, METHODS[0])
    loss, expected = CompletionLoss(model), _own(model)
    monkeypatch.setenv("BRULEE_KERNELS", "torch")
    _assert_same(_ours(loss, 3), expected)
    for rows in (1, 3):
        monkeypatch.setattr(fused_attention, "ROWS", rows)
        _assert_same(_ours(loss, 3), expected)
        _assert_same(_ours(loss, 0), expected)
    monkeypatch.setattr(fused_attention, "LONGEST", 2)  # by torch's own attention
    _assert_same(_ours(loss, 3), expected)


@pytest.mark.parametrize(
    "name",
    [
        *("gemma3", "phi3", "glm4", "gemma4", "deepseek2", "qwen3.5", "laguna"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("gemma3n", "nemotron-h", "falcon-h1", "minimax", "bitnet", "bloom")
        ),
    ],
)
def test_what_is_computed_again_is_the_same_to_the_bit(name: str) -> None:
    loss = CompletionLoss(_tuned(name, METHODS[0]))
    assert loss.decoder is not None
    first = _ours(loss, 3)
    loss.decoder.recomputes = True
    again = _ours(loss, 3)
    assert first[0] == again[0]
    assert all(torch.equal(first[1][key], again[1][key]) for key in first[1])


@pytest.mark.parametrize(
    "name", [n if n in KINDS else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES]
)
def test_in_bf16_it_is_as_near_to_fp32_as_the_model_itself(name: str) -> None:
    """Heads are as wide as the loops in C need, which take bf16 where a processor has it."""
    sizes = {"head_dim": 32, "hidden_size": 128, "initializer_range": 0.1}
    if "num_experts_per_tok" in _FOUND["FAMILIES"][name][1]:
        sizes["num_experts_per_tok"] = 4  # all of them: of some, rounding would choose others
    model = _tuned(name, METHODS[0], **sizes)
    exact, expected = _own(model)
    model.to(torch.bfloat16)
    loss = CompletionLoss(model)
    (found, ours), (own, theirs) = _ours(loss, 3), _own(model)
    assert abs(found - exact) <= 2 * abs(own - exact) + 0.01 * exact
    error, other = (
        sum(float((grads[k].float() - g).square().sum()) for k, g in expected.items()) ** 0.5
        for grads in (ours, theirs)
    )
    assert error <= 1.3 * other


# A twin that lacks one fails the trial, and with it the family's losses above, if no method is
# refused there.
_TWINS = {*KINDS, *(name for name, _ in REFUSED)}


@pytest.mark.parametrize(
    "name", [n if n in _TWINS else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES]
)
def test_a_twin_has_every_kind_of_layer_of_its_model(name: str) -> None:
    form = read_form(make_family(name))
    assert form is not None
    depth = fused_trial._layers_of_all_kinds(form)
    twin = twin_of(make_family(name), depth)
    assert twin is not None
    own = read_form(twin)
    assert own is not None
    assert len(own.layers) == depth <= len(form.layers)
    assert fused_trial._kinds(own.layers) == fused_trial._kinds(form.layers)
    windows = {layer.window for layer in own.layers}
    assert windows <= {None, WINDOW}


@pytest.mark.parametrize("gates", [3, 16])
def test_a_gate_of_other_sizes_is_left_to_the_model(gates: int) -> None:
    """Neither one for each of four heads, nor for each of their 32 values."""
    model = make_family("laguna")
    own: Any = model.get_submodule("model.layers.0.self_attn")
    own.g_proj = torch.nn.Linear(32, gates, bias=False)
    own.forward = lambda x, **_: (own.o_proj(own.q_proj(x)), None)
    assert read_form(model) is None


SLOWLY_MISREAD: list[tuple[str, dict[str, Any]]] = [
    ("bitnet", {"extras": {"output_norm": ""}}),
    ("bitnet", {"extras": {"inner_norm": ""}}),
    ("nemotron-h", {"feeds": False}),
    ("nemotron-h", {"curve": "gelu"}),
    ("falcon-h1", {"extras": {"mixer": ""}}),
    *(
        ("falcon-h1", {"extras": {"factors": replace(NO_FACTORS, **{field: 2.0})}})
        for field in vars(NO_FACTORS)
    ),
    ("minimax", {"extras": {"streams": None}}),
    ("bloom-normed", {"extras": {"streams": None}}),
    ("bloom", {"extras": {"slopes": (0.25,) * 9}}),
    ("mpt", {"scale": 8**-0.5}),
    ("mpt", {"extras": {"clip": None}}),
    ("falcon-rw", {"extras": {"slopes": (0.1,) * 9}}),
    (
        "falcon-rw",
        # Those of a twin's nine heads.
        {
            "extras": {
                "slopes": tuple((8 * 4.0**n) ** -0.5 for n in (*range(1, 9), 0.5)),
                "rounded": None,
            }
        },
    ),
    ("bloom", {"extras": {"rounded": 1.0}}),
    ("gemma3n", {"extras": {"sparsity": 0.0}}),
    ("gemma3n", {"extras": {"words": "silu"}}),
    ("minimax", {"extras": {"streams": Streams()}}),
]
# What a reader might have overlooked or taken for something else, in a model that has it.
MISREAD: list[Any] = [
    ("gemma", {"beyond": 0.0}),
    ("gemma", {"gate": "silu"}),
    ("gemma3", {"window": None}),
    ("gemma3", {"window": WINDOW + 1}),
    ("gemma3", {"window": WINDOW - 1}),
    ("gemma3", {"angles": "full_attention"}),
    ("gemma3", {"scale": 0.35}),
    ("gemma3", {"head_norms": None}),
    ("gemma3", {"after_mlp": None}),
    ("gemma2", {"cap": None}),
    ("gemma2", {"cap": 3.1}),
    ("mistral", {"window": None}),
    ("granite", {"residual": 1.0}),
    ("olmo2", {"before_mlp": "post_attention_layernorm", "after_attention": None}),
    ("glm4", {"neighbours": False}),
    ("ernie", {"neighbours": False}),
    ("llama", {"neighbours": True}),
    ("exaone4", {"turns": True}),
    ("hunyuan", {"after_angles": False}),
    ("qwen3", {"after_angles": True}),
    ("stablelm", {"centred": False}),
    ("stablelm-parallel", {"parallel": False}),
    ("nemotron", {"beyond": 0.0}),
    ("cohere", {"twice": False}),
    ("cohere", {"neighbours": False}),
    ("cohere2", {"turns": True}),
    ("cohere2", {"parallel": False}),
    ("apertus", {"curve": "silu"}),
    ("gpt2", {"parallel": True}),
    ("gpt2", {"curve": "silu"}),
    ("gpt2-by-layer", {"scale": 0.35}),
    ("phi", {"parallel": False}),
    ("neox", {"parallel": False}),
    ("neox", {"by_head": False}),
    ("neox-in-turn", {"parallel": True}),
    ("gptj", {"once": False}),
    ("gptj", {"sines_first": False}),
    ("gptj", {"neighbours": False}),
    ("falcon-40b", {"before_mlp": "ln_attn"}),
    ("codegen", {"extras": {"shards": 0}}),
    ("gpt-neo", {"scale": 0.35}),
    ("gpt-neo", {"window": None}),
    ("olmo", {"centred": False}),
    ("olmo-clipped", {"extras": {"clip": None}}),
    ("nanochat", {"head_norms": None}),
    ("nanochat", {"extras": {"backwards": False}}),
    ("gemma4", {"scale": 0.35}),
    ("gemma4", {"extras": {"value_norm": ""}}),
    ("gemma4", {"extras": {"scalar": ""}}),
    ("gemma4", {"extras": {"words": "silu"}}),
    ("gemma4-moe", {"extras": {"routed": False}}),
    ("llama4", {"neighbours": False}),
    ("llama4", {"head_norms": None}),
    ("llama4", {"extras": {"chunk": None}}),
    ("llama4", {"extras": {"tempered": None}}),
    ("deepseek2", {"neighbours": False}),
    ("deepseek3", {"neighbours": False}),
    ("deepseek3", {"scale": 32**-0.5}),
    ("minicpm3", {"neighbours": True}),
    ("minicpm3", {"residual": 1.0}),
    ("mimo2", {"values": 1.0}),
    ("qwen3.5", {"gated_by": "softplus"}),
    ("laguna", {"gated_by": "sigmoid"}),
    ("afmoe", {"gated": "q_proj"}),
    ("afmoe", {"turns": True}),
    ("lfm2", {"gate": "gelu"}),
    ("olmo-hybrid", {"before_attention": None}),
    ("bitnet", {"gate": "silu"}),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOWLY_MISREAD),
]


def _with(layer: LayerForm, wrong: dict[str, Any]) -> LayerForm:
    extras = replace(layer.extras, **wrong.get("extras", {}))
    return replace(layer, **{**wrong, "extras": extras})


@cache
def _read_rightly(name: str) -> bool:
    """For all of a family's misreadings, and without any of them."""
    model = make_family(name)
    form = read_form(model)
    return form is not None and fused_trial.form_is_right(model, form, FusedDecoder)


@pytest.mark.parametrize(("name", "wrong"), MISREAD, ids=str)
def test_the_trial_fails_for_each_property_that_is_misread(
    name: str, wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_family(name)
    assert _read_rightly(name)

    def misread(model: PreTrainedModel) -> DecoderForm:
        found = read_form(model)
        assert found is not None
        return replace(found, layers=tuple(_with(layer, wrong) for layer in found.layers))

    monkeypatch.setattr(fused_trial, "read_form", misread)
    assert not fused_trial.form_is_right(model, misread(model), FusedDecoder)
    monkeypatch.setattr(fused_decoder, "read_form", misread)
    assert fused_decoder.fused_decoder(model) is None


def test_a_norm_of_the_words_that_is_overlooked_is_found_by_the_twin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def overlooks(model: PreTrainedModel) -> DecoderForm:
        found = read_form(model)
        assert found is not None
        assert found.norms_words
        return replace(found, norms_words=False)

    model = make_family("nanochat")
    monkeypatch.setattr(fused_trial, "read_form", overlooks)
    assert not fused_trial.form_is_right(model, overlooks(model), FusedDecoder)


def test_rows_that_no_later_layer_reads_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last layers of Gemma 4 read keys of earlier ones, and compute what is asked for only."""
    model = make_family("gemma4")
    decoder = fused_decoder.fused_decoder(model)
    assert decoder is not None
    batch, rows = pack(DOCUMENTS), []
    through = FusedDecoder._through

    def watched(*args: Any) -> Any:
        found = through(*args)
        rows.append(len(found[0]))
        return found

    monkeypatch.setattr(FusedDecoder, "_through", watched)
    decoder(batch)
    every, asked = batch.inputs["input_ids"].shape[1], sum(batch.asked)
    assert rows == [every, every, asked, asked, asked]
    assert asked < every


_GPT = {"attn_pdrop": 0.2, "resid_pdrop": 0.1, "embd_pdrop": 0.3}
# What an architecture drops in training, by the keys of its configuration.
DROPS: list[tuple[str, dict[str, float]]] = [
    ("gpt2", _GPT),
    ("gptj", _GPT),
    ("gpt-neo", {"attention_dropout": 0.2, "resid_dropout": 0.1, "embed_dropout": 0.3}),
    ("opt", {"dropout": 0.1, "attention_dropout": 0.2}),
    ("phi", {"attention_dropout": 0.2, "resid_pdrop": 0.1, "embd_pdrop": 0.3}),
    ("neox", {"attention_dropout": 0.2, "hidden_dropout": 0.1}),
    ("granite", {"attention_dropout": 0.2}),
    ("gemma2", {"attention_dropout": 0.2}),
    ("starcoder2", {"residual_dropout": 0.1, "embedding_dropout": 0.2, "attention_dropout": 0.3}),
    ("phi3", {"resid_pdrop": 0.1}),
    ("seed-oss", {"residual_dropout": 0.1, "attention_dropout": 0.2}),
    ("deepseek3", {"attention_dropout": 0.2}),
    ("qwen3.5", {"attention_dropout": 0.2}),
]


@pytest.mark.diagonal("method", "name")
@pytest.mark.parametrize("method", [METHODS[0], METHODS[3]], ids=lambda m: m["name"])
@pytest.mark.parametrize(("name", "shares"), DROPS, ids=[name for name, _ in DROPS])
def test_dropout_is_where_the_model_has_it(
    name: str, shares: dict[str, float], method: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a bottleneck adds stands after a dropout of its module and before one of the layer."""
    model = _tuned(name, method, **shares)
    model.set_attn_implementation("eager")
    loss = CompletionLoss(model)
    assert _ours(loss, 3)[0] == pytest.approx(_own(model)[0], rel=1e-5), "none in evaluation"
    model.train()
    _scales_instead(monkeypatch)
    _assert_same(_ours(loss, 3), _own(model))


@pytest.mark.parametrize("longest", [1024, 2])
def test_a_gradient_is_that_of_the_values_that_were_kept(
    longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a difference in one direction, in float64; what is computed again drops the same."""
    monkeypatch.setattr(fused_attention, "LONGEST", longest)
    model = _tuned("gpt2", METHODS[1], **_GPT).double().train()
    loss = CompletionLoss(model)
    assert loss.decoder is not None
    torch.manual_seed(5)
    value, found = _ours(loss, 3)
    loss.decoder.recomputes = True
    torch.manual_seed(5)
    again, same = _ours(loss, 3)
    assert again == pytest.approx(value, rel=1e-12)
    name, step = "transformer.h.1.attn.c_attn.weight", 1e-6
    torch.testing.assert_close(same[name], found[name])
    parameter = model.get_parameter(name)
    direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)).double()
    parameter.data += step * direction
    torch.manual_seed(5)
    moved, _ = _ours(loss, 3)
    torch.manual_seed(6)
    other, _ = _ours(loss, 3)
    along = float((found[name] * direction).sum())
    assert (moved - value) / step == pytest.approx(along, rel=1e-3, abs=1e-5)
    assert abs(other - moved) > 1e-3, "nothing was dropped"


@pytest.mark.parametrize("place", ["words_drop", "weights_drop", "inside_drop"])
def test_dropout_that_is_overlooked_is_left_to_the_model(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_family("gpt2", **_GPT)
    assert fused_decoder.fused_decoder(model) is not None

    def overlooks(model: PreTrainedModel) -> DecoderForm:
        found = read_form(model)
        assert found is not None
        if place == "words_drop":
            return replace(found, words_drop=0.0)
        return replace(found, layers=tuple(replace(x, **{place: 0.0}) for x in found.layers))

    monkeypatch.setattr(fused_trial, "read_form", overlooks)
    assert not fused_trial.form_is_right(model, overlooks(model), FusedDecoder)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("opt", {"layerdrop": 0.1}),
        ("opt", {"do_layer_norm_before": False}),
        ("bloom", {"hidden_dropout": 0.1}),
        ("falcon-in-turn", {"hidden_dropout": 0.1, "attention_dropout": 0.2}),
        ("gpt-bigcode", {"multi_query": False}),
    ],
    ids=str,
)
def test_what_a_family_may_have_beside_is_left_alone(name: str, changes: dict[str, Any]) -> None:
    assert fused_decoder.fused_decoder(make_family(name, **changes)) is None


def test_a_prefix_of_latents_is_left_to_the_models_layers() -> None:
    """A prefix is allowed where the two parts of what a model caches are equally wide."""
    model = make_family("deepseek3", kv_lora_rank=8)
    assert fused_decoder.fused_decoder(model) is not None
    try:
        perturbed(model, METHODS[4])
    except InputError:
        pytest.skip("this transformers caches the keys and values of every head")
    assert fused_decoder.fused_decoder(model) is None


def test_an_addition_beside_two_maps_of_the_layer_itself() -> None:
    """It reads what the first map is given, through a hook on that one."""
    model = _tuned("opt", {"name": "bottleneck", "kind": "parallel", "reduction": 4})
    _assert_same(_ours(CompletionLoss(model), 3), _own(model))


@pytest.mark.parametrize("kind", ["Ministral3", "Mistral4"])
def test_queries_that_grow_with_positions_are_found_by_the_twin(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the positions that a model was first trained with, where no short document is."""
    config = getattr(transformers, f"{kind}Config")(
        **{"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 4, "first_k_dense_replace": 2},
        **{"qk_nope_head_dim": 24, "qk_rope_head_dim": 8, "v_head_dim": 16, "kv_lora_rank": 12},
        max_position_embeddings=512,
        pad_token_id=0,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 128,
        },
    )
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    form = read_form(model)
    assert form is not None
    assert form.growth == (0.1, 128)
    assert fused_decoder.fused_decoder(model) is not None
    monkeypatch.setattr(form_reading, "_growth", lambda _: None)
    assert fused_decoder.fused_decoder(model) is None


def test_a_class_without_a_twin_is_taken_only_where_its_modules_say_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused_trial, "twin_of", lambda *_, **__: None)
    taken = {name: fused_decoder.fused_decoder(make_family(name)) is not None for name in FAMILIES}
    assert {name for name, is_taken in taken.items() if is_taken} == {
        "llama", "qwen2", "qwen3", "seed-oss"
    }  # fmt: skip


def test_a_twin_leaves_random_numbers_as_they_are() -> None:
    model = make_family("llama")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert fused_decoder.fused_decoder(model) is not None
    assert torch.equal(torch.rand(3), expected)


def test_a_window_of_thousands_is_kept_where_documents_are_longer() -> None:
    """No short document shows it, so that it was overlooked once."""
    model = make_family("mistral", sliding_window=40)
    document = Encoded.ending(tuple(range(7, 107)), 30)
    loss = CompletionLoss(model)
    assert loss.decoder is not None
    with torch.no_grad():
        found = float(loss(pack([document])))
        logits = model(input_ids=torch.tensor([document.ids])).logits[0, 69:99]
        expected = float(F.cross_entropy(logits, torch.tensor(document.ids[70:]), reduction="sum"))
    assert found == pytest.approx(expected, rel=1e-5)


def test_positions_in_grids_are_given_where_the_module_has_sections() -> None:
    """As those of Qwen 3.5 in transformers 5.17, whose model makes three grids of them."""
    model = make_family("qwen3")
    expected = read_form(model)
    usual = model.model.rotary_emb.forward

    def of_grids(x: torch.Tensor, position_ids: torch.Tensor) -> Any:
        return usual(x, position_ids[:, :, None, :][2, :, 0])

    model.model.rotary_emb.forward = of_grids
    assert read_form(model) is None
    model.model.rotary_emb.mrope_section = [4, 2, 2]
    assert read_form(model) == expected
