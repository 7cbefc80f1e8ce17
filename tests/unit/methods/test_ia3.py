"""IA3: scales where the paper has them, found by structure, and folded in exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from brulee.errors import InputError
from brulee.methods.activations import inner_activation_maps, key_value_maps
from brulee.methods.ia3 import IA3, IA3Options

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]
FOUND = {
    "llama": ({"k_proj", "v_proj"}, {"down_proj"}, 4),
    "phi": ({"k_proj", "v_proj"}, {"fc2"}, 4),
    "phi3": ({"qkv_proj"}, {"down_proj"}, 2),
    "gpt2": ({"c_attn"}, {"c_proj"}, 2),
    "gpt-neox": ({"query_key_value"}, {"dense_4h_to_h"}, 2),
    "t5": ({"k", "v"}, {"wo"}, 12),
    "t5-gated": ({"k", "v"}, {"wo"}, 12),
    "bart": ({"k_proj", "v_proj"}, {"fc2"}, 12),
}


def _leaves(chosen: dict[str, nn.Module]) -> set[str]:
    return {name.rsplit(".", 1)[-1] for name in chosen}


@pytest.mark.parametrize("name", FOUND)
def test_keys_values_and_inner_activations_are_found(make_model: Make, name: str) -> None:
    model = make_model(name)
    attention, inner, count = FOUND[name]
    assert _leaves(key_value_maps(model)) == attention
    assert _leaves(inner_activation_maps(model)) == inner
    assert len(key_value_maps(model)) == count
    assert all("attn" not in n for n in inner_activation_maps(model))


@pytest.mark.parametrize("name", ["llama", "t5", "bart"])
def test_an_inner_width_equal_to_the_models_is_told_apart(make_model: Make, name: str) -> None:
    width = {"llama": {"intermediate_size": 32}, "t5": {"d_ff": 32}}.get(
        name, {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    )
    assert _leaves(inner_activation_maps(make_model(name, **width))) == FOUND[name][1]


def test_shapes_are_pefts(make_model: Make) -> None:
    attached = IA3().attach(make_model("llama"))
    shapes = {k.split(".")[-2]: tuple(t.shape) for k, t in attached.tensors().items()}
    assert shapes == {"k_proj": (16, 1), "v_proj": (16, 1), "down_proj": (1, 48)}


def test_a_bias_is_scaled_with_the_outputs_and_not_with_the_inputs(make_model: Make) -> None:
    model = make_model("bart")
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.normal_(generator=torch.Generator().manual_seed(3))
    attached = IA3().attach(model)
    for group in attached.groups():
        for parameter in group.parameters:
            parameter.data.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(4))
    ids = torch.arange(5, 17)[None]
    with torch.no_grad():
        tuned = model(input_ids=ids, decoder_input_ids=ids).logits
        attached.merge()
        merged = model(input_ids=ids, decoder_input_ids=ids).logits
    torch.testing.assert_close(merged, tuned, atol=1e-4, rtol=1e-5)


def test_named_maps_are_taken_instead(make_model: Make) -> None:
    options = IA3Options(attention=["q_proj"], feedforward=[])
    tensors = IA3(options).attach(make_model("llama")).tensors()
    assert {k.split(".")[-2] for k in tensors} == {"q_proj"}


def test_a_model_without_a_feed_forward_of_linear_maps_is_told_how_to_go_without(
    make_model: Make,
) -> None:
    model = make_model("llama")
    for layer in model.model.layers:
        layer.mlp = nn.Identity()
    with pytest.raises(InputError, match=r"method\.feedforward: .*, or give \[\] for none"):
        IA3().attach(model)
    assert IA3(IA3Options(feedforward=[])).attach(model).trainable() == 2 * 2 * 16


def test_a_wrong_name_is_answered_with_the_option_and_the_nearest(make_model: Make) -> None:
    with pytest.raises(InputError, match=r"method\.feedforward: .*did you mean 'down_proj'"):
        IA3(IA3Options(feedforward=["down_porj"])).attach(make_model("llama"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("target_modules", "all-linear"), ("modules_to_save", ["lm_head"]), ("some_later_key", 3)],
)
def test_configurations_that_are_not_computed_here(key: str, value: object) -> None:
    config = {"peft_type": "IA3", "target_modules": ["k"], "feedforward_modules": []}
    with pytest.raises(InputError, match=key):
        IA3.from_config({**config, key: value})


def test_a_name_of_the_wrong_type_is_named_as_the_file_does() -> None:
    config = {"peft_type": "IA3", "target_modules": [3], "feedforward_modules": []}
    with pytest.raises(InputError, match=r"not an IA3 configuration: target_modules\.0 = 3 is not"):
        IA3.from_config(config)
