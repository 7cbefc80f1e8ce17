"""Targets by structure: attention, mlp, everything linear, or names; a wrong name names others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brulee.errors import InputError
from brulee.methods import build_method
from brulee.methods.lora import LoRA, LoRAOptions
from brulee.methods.targets import leaf_names, linear_modules, select
from brulee.models.skeleton import one_map
from brulee.recipe import MethodSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Make = Callable[..., "PreTrainedModel"]
ATTENTION = {
    "llama": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "gpt2": {"c_attn", "c_proj"},
    "t5": {"q", "k", "v", "o"},
    "bart": {"q_proj", "k_proj", "v_proj", "out_proj"},
}
MLP = {
    "llama": {"gate_proj", "up_proj", "down_proj"},
    "gpt2": {"c_fc", "c_proj"},
    "t5": {"wi", "wo"},
    "bart": {"fc1", "fc2"},
}


def _leaves(chosen: Mapping[str, object]) -> set[str]:
    return {name.rsplit(".", 1)[-1] for name in chosen}


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        # Its router is an nn.Linear by its class, and chooses.
        ("Phimoe", {"num_local_experts": 4}, ATTENTION["llama"]),
        # Its own class of linear maps computes what they do.
        ("Falcon", {}, {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}),
    ],
)
def test_an_architectures_own_linear_class_is_tried(
    kind: str, more: dict[str, Any], expected: set[str]
) -> None:
    import transformers

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    sizes |= {"vocab_size": 300, "num_attention_heads": 4, "num_key_value_heads": 4}
    config = getattr(transformers, f"{kind}Config")(**sizes, **more)
    with torch.device("meta"):
        counted = transformers.AutoModelForCausalLM.from_config(config)
    model = transformers.AutoModelForCausalLM.from_config(config)
    assert _leaves(linear_modules(model)) == _leaves(linear_modules(counted)) == expected


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_and_mlp_share_out_everything_linear(make_model: Make, name: str) -> None:
    model = make_model(name)
    attention, mlp = select(model, "attention"), select(model, "mlp")
    assert _leaves(attention) == ATTENTION[name]
    assert _leaves(mlp) == MLP[name]
    assert not attention.keys() & mlp.keys()
    assert attention.keys() | mlp.keys() == select(model, "all-linear").keys()


@pytest.mark.parametrize("name", ATTENTION)
def test_the_output_head_is_never_chosen(make_model: Make, name: str) -> None:
    model = make_model(name)
    assert model.get_output_embeddings() not in select(model, "all-linear").values()


def test_what_mambas_kernels_take_as_a_weight_is_chosen_by_name_alone(make_model: Make) -> None:
    """PEFT refuses an adapter that corrects it."""
    model = make_model("mamba")
    assert _leaves(select(model, "all-linear")) == {"in_proj", "x_proj", "dt_proj"}
    assert _leaves(select(model, "out_proj")) == {"out_proj"}
    refused = r"layers\.0\.mixer\.out_proj cannot be trained with LoRA"
    method = build_method(MethodSpec(name="lora", target=["in_proj", "out_proj"]))
    with pytest.raises(InputError, match=refused):
        method.attach(model)
    stored = LoRA(LoRAOptions(target=["in_proj", "out_proj"]), stored=True)
    stored.attach(model).detach()  # to generate with one, or to merge it
    further = stored.continued(method.options())
    assert further is not None
    with pytest.raises(InputError, match=refused):
        further.attach(model)


def test_names_choose_by_the_last_part_or_by_the_whole_path(make_model: Make) -> None:
    model = make_model("llama")
    assert len(select(model, ["q_proj", "v_proj"])) == 4
    assert list(select(model, "q_proj")) == list(select(model, ["q_proj"]))
    whole = "model.layers.1.mlp.up_proj"
    assert list(select(model, [whole])) == [whole]
    # The order is the model's, whatever the list's: the seed hands out values in it.
    assert list(select(model, ["v_proj", "q_proj"])) == list(select(model, ["q_proj", "v_proj"]))


def test_a_pattern_chooses_by_the_whole_path(make_model: Make) -> None:
    model = make_model("llama")
    assert len(select(model, r"re:.*\.1\..*[qv]_proj")) == 2
    said = r"the pattern 're:q_proj' matches no linear module; .* 'model\.layers\.0\.self_attn"
    with pytest.raises(InputError, match=said):
        select(model, "re:q_proj")
    with pytest.raises(InputError, match=r"method\.target: '\(' is not a regular expression"):
        select(model, ["q_proj", "re:("])


def test_a_word_that_chooses_nothing_is_not_said_to_be_valid() -> None:
    alone = one_map(4, 3)
    with pytest.raises(InputError, match="called 'embeddings'; Valid: all-linear, mlp, map") as no:
        select(alone, "embeddings", vocabulary=True)
    assert "did you mean" not in str(no.value)


def test_a_list_may_hold_words_and_names(make_model: Make) -> None:
    model = make_model("llama")
    assert _leaves(select(model, ["mlp", "q_proj"])) == MLP["llama"] | {"q_proj"}


EMBEDDINGS = {
    "llama": {"model.embed_tokens"},
    "gpt2": {"transformer.wte"},
    "gpt-neox": {"gpt_neox.embed_in"},
    "t5": {"encoder.embed_tokens", "decoder.embed_tokens"},
    "bart": {"model.encoder.embed_tokens", "model.decoder.embed_tokens"},
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings_are_those_of_tokens_that_are_looked_up(make_model: Make, name: str) -> None:
    """Not the table of which an encoder-decoder only ever uses its copies."""
    model = make_model(name)
    assert set(select(model, ["embeddings"], vocabulary=True)) == EMBEDDINGS[name]
    with pytest.raises(InputError, match="'embeddings'"):
        select(model, ["embeddings"])


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_the_head_is_chosen_by_its_name_alone(make_model: Make, name: str) -> None:
    model = make_model(name)
    head = model.get_output_embeddings()
    assert list(select(model, "lm_head", vocabulary=True).values()) == [head]
    for word in ("all-linear", "attention", "mlp"):
        assert head not in select(model, word, vocabulary=True).values()
    with pytest.raises(InputError, match="'lm_head'"):
        select(model, "lm_head")


def test_a_part_of_a_name_chooses_nothing(make_model: Make) -> None:
    with pytest.raises(InputError, match="'proj'"):
        select(make_model("llama"), ["proj"])


@pytest.mark.parametrize(("wrong", "meant"), [("q_porj", "q_proj"), ("atention", "attention")])
def test_a_mistyped_name_is_answered_with_the_nearest(
    make_model: Make, wrong: str, meant: str
) -> None:
    with pytest.raises(InputError, match=rf"method\.target.*'{wrong}'.*did you mean '{meant}'"):
        select(make_model("llama"), [wrong])


def test_stored_names_are_short_unless_short_names_choose_more(make_model: Make) -> None:
    model = make_model("gpt2")
    assert leaf_names(model, select(model, ["c_attn", "c_fc"])) == ["c_attn", "c_fc"]
    attention = select(model, "attention")  # its c_proj is the MLP's name too
    assert leaf_names(model, attention) == sorted(attention)


def test_many_names_are_looked_up_in_one_reading_of_the_model(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a combination every module is named: what it costs must not grow with their square."""
    model = make_model("llama")
    names, reads = list(linear_modules(model)), []
    named_modules = type(model).named_modules

    def counted(*args: Any, **kwargs: Any) -> Any:
        reads.append(1)
        return named_modules(*args, **kwargs)

    monkeypatch.setattr(type(model), "named_modules", counted)
    assert list(select(model, names[:1])) == names[:1]
    once = len(reads)
    assert list(select(model, names)) == names
    assert len(reads) == 2 * once
