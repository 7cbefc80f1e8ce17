"""LoRA's options: what each changes, and what is refused with the option's name."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brulee.errors import InputError
from brulee.methods import build_method
from brulee.methods.base import Attached
from brulee.methods.lora import LoRA
from brulee.methods.lora_layer import LoRALinear
from brulee.recipe import MethodSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]


def _attach(model: PreTrainedModel, **options: Any) -> Attached:
    return build_method(MethodSpec(name="lora", **options)).attach(model)


def _move(attached: Attached) -> None:
    draw = torch.Generator().manual_seed(1)
    for group in attached.groups():
        for parameter in group.parameters:
            parameter.data.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)


def _logits(model: PreTrainedModel) -> torch.Tensor:
    ids = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    more = {"decoder_input_ids": ids.flip(0)} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, **more).logits
    return logits


def _layers(model: PreTrainedModel) -> dict[str, LoRALinear]:
    return {n: m for n, m in model.named_modules() if isinstance(m, LoRALinear)}


def test_the_textbook_count(make_model: Make) -> None:
    """A 512 x 64 weight has 32,768 parameters, and rank 8 trains 4,608 of its own."""
    layer = LoRALinear(torch.nn.Linear(64, 512), _size(8), 0.0, torch.Generator())
    trained = sum(p.numel() for n, p in layer.named_parameters() if "lora" in n)
    assert trained == 8 * 64 + 512 * 8 == 4608


def _size(rank: int, scale: float = 2.0) -> Any:
    from brulee.methods.lora_sizes import Size

    return Size(rank, scale)


@pytest.mark.parametrize("dora", [False, True])
def test_a_bias_is_added_once_and_not_scaled(dora: bool) -> None:
    """The layers of untrained models have biases of zero, which would not show it."""
    base, draw = torch.nn.Linear(6, 5), torch.Generator().manual_seed(0)
    layer = LoRALinear(base, _size(2), 0.0, draw, dora)
    for parameter in (base.bias, *(p for n, p in layer.named_parameters() if "lora" in n)):
        parameter.data.add_(torch.randn(parameter.shape, generator=draw))
    x = torch.randn(3, 6, generator=draw)
    expected = torch.nn.functional.linear(x, layer.merged()["weight"], base.bias)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    "options",
    [{}, {"dora": True}, {"init": "pissa"}, {"target": ["attention", "embeddings"]}],
    ids=str,
)
@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_what_is_added_is_where_the_weight_is(
    make_model: Make, name: str, options: dict[str, Any]
) -> None:
    """On the device without values, too, where parameters are counted."""
    model = make_model(name).to("meta")
    attached = _attach(model, **options)
    assert {p.device.type for g in attached.groups() for p in g.parameters} == {"meta"}
    assert attached.trainable() == _attach(make_model(name), **options).trainable()


def test_patterns_give_modules_their_own_rank_and_scale(make_model: Make) -> None:
    model = make_model("llama")
    options = {"ranks": {r"layers\.1\..*": 5, "q_proj": 3}, "alphas": {"mlp.down_proj": 6.0}}
    _attach(model, rank=4, alpha=8.0, **options)
    found = {n: (m.rank, m.scale) for n, m in _layers(model).items()}
    assert found["model.layers.0.self_attn.q_proj"] == (3, 8 / 3)
    assert found["model.layers.1.self_attn.q_proj"] == (5, 8 / 5)  # the first that matches
    assert found["model.layers.0.mlp.down_proj"] == (4, 6 / 4)
    assert found["model.layers.0.mlp.up_proj"] == (4, 2.0)


def test_stored_patterns_mean_the_same_in_any_order(make_model: Make) -> None:
    model = make_model("llama")
    options = {"ranks": {"q_proj": 3, r"layers\.1\..*": 5}, "target": "attention"}
    attached = _attach(model, **options)
    config = attached.config()
    config["rank_pattern"] = dict(reversed(config["rank_pattern"].items()))
    config["alpha_pattern"] = {}
    again = make_model("llama")
    LoRA.from_config(config).attach(again).load(attached.tensors())
    assert {n: m.rank for n, m in _layers(again).items()} == {
        n: m.rank for n, m in _layers(model).items()
    }


def test_rslora_divides_by_the_root_of_the_rank(make_model: Make) -> None:
    model = make_model("llama")
    _attach(model, rank=9, alpha=6.0, rslora=True)
    assert {layer.scale for layer in _layers(model).values()} == {6 / math.sqrt(9)}


def test_plus_ratio_raises_bs_rate_alone(make_model: Make) -> None:
    attached = _attach(make_model("llama"), plus_ratio=16.0, dora=True)
    scales = {group.name: group.lr_scale for group in attached.groups()}
    decays = {group.name: group.decay for group in attached.groups()}
    assert decays == {"lora": True, "lora_B": True, "magnitude": False}, "DoRA's lengths stay"
    assert scales == {"lora": 1.0, "lora_B": 16.0, "magnitude": 1.0}


def test_dora_turns_directions_without_changing_lengths(make_model: Make) -> None:
    model = make_model("llama")
    attached = _attach(model, dora=True)
    layer = _layers(model)["model.layers.0.mlp.up_proj"]
    before = layer.base_layer.get_parameter("weight").detach().clone()
    layer.lora_B.data.normal_(generator=torch.Generator().manual_seed(0))
    attached.merge()
    after = model.get_submodule("model.layers.0.mlp.up_proj").get_parameter("weight")
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1))
    assert torch.nn.functional.cosine_similarity(after, before).max() < 0.999


def test_pissa_starts_at_the_best_approximation(make_model: Make) -> None:
    model = make_model("gpt2")
    _attach(model, rank=6, alpha=3.0, init="pissa")
    layer = _layers(model)["transformer.h.0.mlp.c_fc"]
    weight = layer.weight.detach().T
    u, s, v = torch.linalg.svd(weight)
    best = u[:, :6] @ torch.diag(s[:6]) @ v[:6]
    torch.testing.assert_close(0.5 * layer.lora_B @ layer.lora_A, best, atol=1e-5, rtol=1e-5)


TIED = ["qwen3", "gemma", "gpt2", "bart", "t5"]


@pytest.mark.parametrize("name", TIED)
def test_a_corrected_embedding_leaves_the_tied_head_alone(make_model: Make, name: str) -> None:
    model = make_model(name)
    head = model.get_output_embeddings()
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    before, logits = head(hidden), _logits(model)
    attached = _attach(model, target="embeddings")
    _move(attached)
    assert not torch.allclose(_logits(model), logits, atol=1e-2)
    assert torch.equal(model.get_output_embeddings()(hidden), before)


@pytest.mark.parametrize("name", [name for name in TIED if name != "t5"])
def test_a_merged_embedding_survives_saving_apart_from_the_head(
    make_model: Make, tmp_path: Path, name: str
) -> None:
    model = make_model(name)
    head = model.get_output_embeddings().weight.detach().clone()
    attached = _attach(model, target="embeddings")
    _move(attached)
    tuned = _logits(model)
    attached.merge()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(_logits(again), tuned, atol=1e-5, rtol=1e-5)
    assert torch.equal(again.get_output_embeddings().weight, head)


@pytest.mark.parametrize("name", TIED)
def test_a_corrected_head_leaves_the_tied_embedding_alone(
    make_model: Make, tmp_path: Path, name: str
) -> None:
    model = make_model(name)
    table = model.get_input_embeddings().weight.detach().clone()
    plain = _logits(model)
    attached = _attach(model, target="lm_head")
    _move(attached)
    tuned = _logits(model)
    assert not torch.allclose(tuned, plain, atol=1e-2)
    if name == "t5":
        with pytest.raises(InputError, match="shares its embeddings with its head"):
            attached.merge()
        return
    attached.merge()
    assert torch.equal(model.get_input_embeddings().weight, table)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(_logits(again), tuned, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"dora": True}], ids=["lora", "dora"])
def test_a_map_of_no_tokens_gives_none(options: dict[str, bool]) -> None:
    """LongT5 sums up blocks of tokens, of which a short prompt has none."""
    layer = LoRALinear(torch.nn.Linear(6, 8), _size(2), 0.0, torch.Generator(), **options)
    assert layer(torch.zeros(1, 0, 6)).shape == (1, 0, 8)


def test_dropout_falls_on_the_correction_only(make_model: Make) -> None:
    model = make_model("llama")
    plain = _logits(model)
    attached = _attach(model, dropout=0.5)
    model.train()
    assert torch.equal(_logits(model), plain), "B is zero: there is nothing to drop"
    _move(attached)
    assert not torch.equal(_logits(model), _logits(model))


def test_plain_lora_keeps_no_more_than_its_inputs_and_thin_products(make_model: Make) -> None:
    """What autograd saves of one layer: x, which the layers before it hold anyway, and x A."""
    layer = LoRALinear(torch.nn.Linear(64, 48).requires_grad_(False), _size(4), 0.0, _generator())
    x = torch.randn(10, 64, requires_grad=True)
    own = {p.data_ptr() for p in layer.parameters()} | {x.data_ptr()}
    kept: list[tuple[int, ...]] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(x)
    assert kept == [(10, 4)]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ranks": {"q_porj": 4}}, r"method\.ranks: 'q_porj' matches none of the 14 targets"),
        ({"alphas": {"(": 4.0}}, r"method\.alphas: '\(' is not a regular expression"),
        ({"ranks": {"q_proj": 0}}, r"ranks"),
        (
            {"target": ["embed_tokens"], "dora": True},
            r"method\.dora: not available for an embedding",
        ),
        (
            {"target": ["embed_tokens"], "init": "pissa"},
            r"method\.init: not available for an embedding",
        ),
        (
            {"target": "embeddings", "dropout": 0.5},
            r"method\.dropout: not available for an embedding, and",
        ),
        ({"init": "pissa", "rank": 17}, r"method\.init: pissa at rank 17 .*k_proj is \(16, 32\)"),
        ({"init": "pisa"}, "init"),
        ({"plus_ratio": 0.0}, "plus_ratio"),
        ({"target": ["embed_tokns"]}, "did you mean 'embed_tokens'"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused_by_name(
    make_model: Make, options: dict[str, Any], said: str
) -> None:
    model = make_model("llama")
    with pytest.raises(InputError, match=said):
        _attach(model, **options)
    assert all(p.requires_grad for p in model.parameters()), "frozen by a refused method"
    assert not _layers(model)


def test_dropout_beside_an_embedding_or_out_of_a_stored_file_is_taken(make_model: Make) -> None:
    _attach(make_model("llama"), target=["attention", "embeddings"], dropout=0.5)
    config = _attach(make_model("llama"), target="embeddings").config()
    LoRA.from_config({**config, "lora_dropout": 0.5}).attach(make_model("llama"))


def test_a_quantised_weight_is_not_taken_for_the_weight_itself() -> None:
    """What bitsandbytes holds is bytes: a sum with them would be nonsense of the right shape."""
    base = torch.nn.Linear(4, 4).requires_grad_(False)
    base.weight = torch.nn.Parameter(torch.zeros(8, 1, dtype=torch.uint8), requires_grad=False)
    layer = LoRALinear(base, _size(2), 0.0, _generator())
    assert (layer.lora_A.shape, layer.lora_B.shape) == ((2, 4), (4, 2))
    with pytest.raises(InputError, match="quantised"):
        layer.merged()
    with pytest.raises(InputError, match="quantised"):
        LoRALinear(base, _size(2), 0.0, _generator(), dora=True)


def test_a_table_that_is_more_than_looked_up_is_refused(make_model: Make) -> None:
    with pytest.raises(InputError, match=r"'model\.encoder\.embed_positions' does more"):
        _attach(make_model("bart"), target=["encoder.embed_positions"])


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "LoRA r8"),
        ({"rslora": True, "dora": True, "rank": 16}, "rsLoRA DoRA r16"),
        ({"init": "pissa"}, "PiSSA r8"),
        ({"plus_ratio": 4.0}, "LoRA+ r8"),
    ],
)
def test_the_label_names_what_is_trained(options: dict[str, Any], label: str) -> None:
    assert build_method(MethodSpec(name="lora", **options)).label() == label


def test_a_table_that_wants_more_than_ids_is_refused_by_name(make_model: Make) -> None:
    with pytest.raises(InputError, match=r"'model\.encoder\.embed_positions' does more than look"):
        _attach(make_model("marian"), target="embed_positions")


@pytest.mark.parametrize(("layers", "kept"), [([0], "0"), ({"last": 1}, "1"), ([1, 0], "01")])
def test_only_the_layers_that_are_named_are_corrected(
    make_model: Make, layers: Any, kept: str
) -> None:
    model = make_model("llama")
    _attach(model, layers=layers, target=["q_proj", "down_proj", "lm_head"])
    paths = [f"model.layers.{i}" for i in sorted(kept)]
    expected = {f"{p}.{end}" for p in paths for end in ("self_attn.q_proj", "mlp.down_proj")}
    assert set(_layers(model)) == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": [0, 2]}, r"method.layers: \[0, 2\] does not fit model.layers, which has 2"),
        ({"layers": {"last": 3}}, "method.layers: last: 3 does not fit model.layers"),
        ({"layers": [1], "target": "lm_head"}, "method.layers: nothing that method.target names"),
        ({"layers": []}, "method.layers = .* is not valid"),
    ],
)
def test_layers_that_are_not_there_are_refused(
    make_model: Make, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        _attach(make_model("llama"), **options)
