"""Encoder-decoders of BART's family compute in packs what transformers' own layers compute.

The reference is transformers' forward of one document at a time.
"""

from __future__ import annotations

import copy
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from transformers import PreTrainedModel

from brulee.data.batching import pack_pairs, pad_pairs
from brulee.data.encoding import Encoded
from brulee.models import fused_pair, pair_form_bart
from brulee.models.fused_pair import FusedPair
from brulee.models.head import CompletionLoss
from brulee.models.pair_form import read_pair_form
from brulee.models.pair_parts import PairForm
from brulee.models.pair_trial import pair_form_is_right, pair_is_right
from brulee.models.twin import pair_twin_of

_FOUND = runpy.run_path(str(Path(__file__).parent / "families.py"))
perturbed: Callable[..., PreTrainedModel] = _FOUND["perturbed"]
_PAIRS = runpy.run_path(str(Path(__file__).parent / "pairs.py"))
METHODS: list[dict[str, Any]] = _PAIRS["METHODS"]
DOCUMENTS: list[Encoded] = _PAIRS["DOCUMENTS"]
PREFIX: dict[str, Any] = _PAIRS["PREFIX"]
_packed, _alone = _PAIRS["packed"], _PAIRS["alone"]
_assert_same, _scales_instead = _PAIRS["assert_same"], _PAIRS["scales_instead"]

# Heads of two widths, and documents that begin with what fills up: M2M100 counts no position there.
SIZES: dict[str, Any] = {
    "vocab_size": 200, "d_model": 24, "encoder_layers": 3, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 2, "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 48, "max_position_embeddings": 64, "init_std": 0.25, "dropout": 0.0,
    "attention_dropout": 0.0, "activation_dropout": 0.0, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "decoder_start_token_id": 0, "forced_eos_token_id": None,
    "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0,
}  # fmt: skip
SCALED = {"scale_embedding": True}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bart": ("Bart", "ForConditionalGeneration", {}),
    "mvp": ("Mvp", "ForConditionalGeneration", SCALED),
    "plbart": ("PLBart", "ForConditionalGeneration", SCALED),
    "marian": ("Marian", "MTModel", {**SCALED, "activation_function": "silu"}),
    "mbart": ("MBart", "ForConditionalGeneration", SCALED),
    "pegasus": ("Pegasus", "ForConditionalGeneration", {**SCALED, "activation_function": "relu"}),
    "nllb": ("M2M100", "ForConditionalGeneration", {**SCALED, "activation_function": "relu"}),
    "blenderbot": ("Blenderbot", "ForConditionalGeneration", SCALED),
}


def _model(name: str, **changes: Any) -> PreTrainedModel:
    kind, head, own = FAMILIES[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **own, **changes})
    model: PreTrainedModel = getattr(transformers, f"{kind}{head}")(config)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for bias in (b for n, b in model.named_buffers() if n == "final_logits_bias"):
            bias += torch.randn(bias.shape, generator=draw)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=draw)
    return model.eval()


@pytest.mark.diagonal("method", "name")
@pytest.mark.parametrize("method", METHODS, ids=lambda m: "-".join(map(str, m.values())))
@pytest.mark.parametrize("name", ["bart", "mbart"])
def test_losses_and_gradients_are_the_models_own(name: str, method: dict[str, Any]) -> None:
    """With norms after a sub-layer, and before it."""
    model = perturbed(_model(name), method)
    _assert_same(_packed(CompletionLoss(model)), _alone(model))


@pytest.mark.parametrize("name", FAMILIES)
def test_of_every_family(name: str) -> None:
    """Positions learned and computed, embeddings scaled or not, a bias of the logits."""
    model = _model(name)
    _assert_same(_packed(CompletionLoss(model)), _alone(model))


def test_a_configuration_need_not_name_a_start() -> None:
    """PLBart's, as it is stored, begins with its BOS token."""
    model = _model("plbart")
    del model.config.decoder_start_token_id
    assert CompletionLoss(model).decoder is not None


@pytest.mark.parametrize("name", ["bart", "nllb"])
def test_after_a_token_that_is_forced(name: str) -> None:
    model = perturbed(_model(name), METHODS[1])
    start = (0, 7)
    _assert_same(_packed(CompletionLoss(model), start), _alone(model, start))


@pytest.mark.parametrize(
    "method",
    [
        {"name": "selective", "train": "bias"},
        {"name": "lora", "rank": 3, "target": ["attention", "embeddings"]},
    ],
    ids=["bias", "embeddings"],
)
def test_of_positions_that_are_trained(method: dict[str, Any]) -> None:
    model = perturbed(_model("bart"), method)
    _assert_same(_packed(CompletionLoss(model)), _alone(model))


@pytest.mark.diagonal("method", "name")
@pytest.mark.parametrize("name", ["pegasus", "marian", "nllb"])
@pytest.mark.parametrize("method", [METHODS[0], METHODS[6], METHODS[7], METHODS[9], PREFIX])
def test_methods_where_positions_are_computed(name: str, method: dict[str, Any]) -> None:
    model = perturbed(_model(name), method)
    found, expected = _packed(CompletionLoss(model)), _alone(model)
    # transformers 5.17 looks up Pegasus' table without a gradient.
    for key in found[1].keys() - expected[1].keys():
        assert key.endswith("embed_positions.weight")
        del found[1][key]
    _assert_same(found, expected)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(("bart", METHODS[0]), ("nllb", METHODS[0]), ("nllb", PREFIX)),
        *(("nllb", {**PREFIX, "tokens": tokens}) for tokens in (6, 13)),
    ],
)
def test_padded_for_a_kernel_they_are_the_same(
    name: str, method: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU computes: documents side by side, through torch's own attention."""
    monkeypatch.setattr(fused_pair, "by_kernel", lambda _: True)
    model = perturbed(_model(name), method)
    _assert_same(_packed(CompletionLoss(model)), _alone(model))


@pytest.mark.diagonal("method", "name")
@pytest.mark.parametrize("method", [METHODS[0], METHODS[1], METHODS[6], PREFIX])
@pytest.mark.parametrize("name", ["bart", "mbart"])
def test_in_bfloat16_they_are_close(name: str, method: dict[str, Any]) -> None:
    """As close as transformers' layers are in that format."""
    _, expected = _alone(perturbed(_model(name), method))
    model = perturbed(_model(name).to(torch.bfloat16), method)
    (_, rounded), (_, found) = _alone(model), _packed(CompletionLoss(model))
    near, ours = (
        sum(float((each[key] - gradient).norm() ** 2) for key, gradient in expected.items())
        for each in (rounded, found)
    )
    assert ours <= 3 * near


@pytest.mark.parametrize("name", ["bart", "mbart"])
def test_under_autocast_the_stream_keeps_its_format(name: str) -> None:
    """As transformers' layers, whose norms give fp32 there."""
    model = _model(name)
    loss = CompletionLoss(model)
    assert isinstance(loss.decoder, FusedPair)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        found = loss.decoder(pack_pairs(DOCUMENTS[:1], (0,)))
        read, shifted = ([d] for d in (DOCUMENTS[0].prompt, (0, *DOCUMENTS[0].completion[:-1])))
        given = model.model(
            input_ids=torch.tensor(read), decoder_input_ids=torch.tensor(shifted)
        ).last_hidden_state[0]
    assert (found - given).norm() <= 0.02 * given.norm()
    assert name != "bart" or found.dtype == torch.float32


@pytest.mark.parametrize("name", ["bart", "pegasus", "nllb"])
def test_dropout_is_where_the_model_has_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {"dropout": 0.1, "attention_dropout": 0.2, "activation_dropout": 0.3}
    model = _model(name, **shares)
    model.set_attn_implementation("eager")
    loss = CompletionLoss(model)
    assert _packed(loss)[0] == pytest.approx(_alone(model)[0], rel=1e-5), "none in evaluation"
    model.train()
    _scales_instead(monkeypatch)
    _assert_same(_packed(loss), _alone(model))


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_blocks_are_left_out_where_the_model_leaves_them_out(side: str) -> None:
    model = _model("bart", **{f"{side}_layerdrop": 1.0}).train()
    loss, whole = CompletionLoss(model), _packed(CompletionLoss(_model("bart")))[0]
    expected = _alone(model)
    assert expected[0] != pytest.approx(whole, rel=1e-3)
    _assert_same(_packed(loss), expected)


@pytest.mark.parametrize("share", [0.0, 0.1])
@pytest.mark.parametrize("name", ["bart", "mbart"])
def test_computed_again_they_are_the_same(name: str, share: float) -> None:
    """With the same values dropped the second time, and the same blocks left out."""
    shares = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), share)
    model = perturbed(_model(name, encoder_layerdrop=0.3, **shares), METHODS[1]).train()
    loss, found = CompletionLoss(model), []
    assert isinstance(loss.decoder, FusedPair)
    for again in (False, True):
        loss.decoder.recomputes = again
        torch.manual_seed(3)
        found.append(_packed(loss))
    _assert_same(*found)


WRONG: dict[str, Callable[[PairForm], PairForm]] = {
    "norms-elsewhere": lambda form: replace(form, after=not form.after),
    "not-centred": lambda form: replace(form, centred=False),
}


@pytest.mark.parametrize("name", ["bart", "mbart"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_form_is_not_right(name: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(name)
    form = read_pair_form(model)
    assert form is not None
    assert pair_form_is_right(model, form, FusedPair)
    assert not pair_is_right(model, FusedPair(model, WRONG[wrong](form)), torch.float32)
    read = pair_form_bart.read_bart_form
    monkeypatch.setattr(
        "brulee.models.pair_form.read_bart_form",
        lambda model: WRONG[wrong](read(model)) if read(model) is not None else None,
    )
    assert fused_pair.fused_pair(model) is None


def _across_documents(
    stack: Any, words_TD: torch.Tensor, _ids: torch.Tensor, _blocks: Any
) -> torch.Tensor:
    own = stack.embed_positions
    at = torch.arange(len(words_TD)) % (len(own.weight) - own.offset)
    return words_TD + own.weight[at + own.offset]


def _one_further(
    stack: Any, words_TD: torch.Tensor, ids: torch.Tensor, blocks: Any
) -> torch.Tensor:
    given = pair_form_bart.begun(stack, words_TD, ids, blocks)
    return given - stack.embed_positions.weight[2] + stack.embed_positions.weight[3]


def _unscaled(*given: Any) -> torch.Tensor:
    from brulee.models.biased_attention import attend_biased

    return attend_biased(*given[:-1], 1.0)


@pytest.mark.parametrize(
    ("name", "broken"),
    [("begun", _across_documents), ("begun", _one_further), ("attend_biased", _unscaled)],
)
def test_what_computes_something_else_is_not_taken(
    name: str, broken: Callable[..., torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model("bart", max_position_embeddings=128)
    assert fused_pair.fused_pair(model) is not None
    monkeypatch.setattr(fused_pair, name, broken)
    assert fused_pair.fused_pair(model) is None


def _another_share(model: PreTrainedModel) -> None:
    model.model.decoder.layers[0].dropout = 0.3


def _another_module(model: PreTrainedModel) -> None:
    model.model.encoder.layers[0].add_module("more", torch.nn.Identity())


def _another_norm(model: PreTrainedModel) -> None:
    model.model.encoder.layers[1].final_layer_norm = torch.nn.RMSNorm(24)


def _hooked(model: PreTrainedModel) -> None:
    model.model.encoder.layers[0].fc1.register_forward_pre_hook(lambda _m, _i: None)


def _positions_hooked(model: PreTrainedModel) -> None:
    model.model.encoder.embed_positions.register_forward_hook(lambda _m, _i, out: 2 * out)


def _called_with_its_additions(model: PreTrainedModel) -> None:
    """A map that nothing takes apart makes the additions that stand on it itself."""
    perturbed(model, METHODS[5])
    for layer in model.model.encoder.layers:
        layer.fc2.__class__ = type("Linear", (torch.nn.Linear,), {})


@pytest.mark.parametrize(
    "change",
    [
        _another_share,
        _another_module,
        _another_norm,
        _hooked,
        _positions_hooked,
        _called_with_its_additions,
    ],
)
def test_what_is_not_known_is_left_to_the_models_layers(
    change: Callable[[PreTrainedModel], None],
) -> None:
    model = _model("bart")
    change(model)
    loss = CompletionLoss(model)
    assert loss.decoder is None
    total = loss(pad_pairs(DOCUMENTS, 199, (0,)))
    assert total.item() == pytest.approx(_alone(model)[0], rel=1e-5)


@pytest.mark.parametrize("kind", ["BlenderbotSmall", "LED", "BigBirdPegasus"])
def test_other_families_are_left_to_their_layers(kind: str) -> None:
    """Of the first the modules look like BART's, and its decoder norms words before positions."""
    more = {"LED": {"attention_window": 4}, "BigBirdPegasus": {"attention_type": "original_full"}}
    sizes = {k: v for k, v in SIZES.items() if kind != "LED" or k != "max_position_embeddings"}
    config = getattr(transformers, f"{kind}Config")(**{**sizes, **more.get(kind, {})})
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval()
    loss = CompletionLoss(model)
    assert loss.decoder is None
    assert not loss.fused


@pytest.mark.parametrize("name", FAMILIES)
def test_a_twin_has_the_models_form(name: str) -> None:
    shares = {"dropout": 0.1, "attention_dropout": 0.2, "activation_dropout": 0.3}
    model = _model(name, **shares)
    twin = pair_twin_of(model)
    assert twin is not None
    after = name in ("bart", "mvp", "plbart", "marian")
    expected = PairForm("", 0.1, inner=0.3, weights=0.2, centred=True, after=after)
    assert read_pair_form(twin) == read_pair_form(model) == expected


def test_a_model_of_few_positions_is_tried_on_short_documents() -> None:
    model = _model("bart", max_position_embeddings=20)
    loss = CompletionLoss(perturbed(copy.deepcopy(model), {**PREFIX, "tokens": 17}))
    assert isinstance(loss.decoder, FusedPair), "of three positions after a prefix"
    loss = CompletionLoss(model)
    assert isinstance(loss.decoder, FusedPair)
    document = Encoded.ending(tuple(range(3, 23)), 5)
    logits = model(
        input_ids=torch.tensor([document.prompt]),
        decoder_input_ids=torch.tensor([(0, *document.completion[:-1])]),
    ).logits[0]
    expected = F.cross_entropy(logits, torch.tensor(document.completion), reduction="sum")
    assert loss(pack_pairs([document], (0,))).item() == pytest.approx(expected.item(), rel=1e-5)
