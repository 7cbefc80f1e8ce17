"""LoRA as PEFT has it: what it means by its options, what it stores, what of PEFT's is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.errors import InputError
from brulee.methods.adapter_files import WEIGHTS
from brulee.methods.base import Attached
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.lora import LoRA, LoRAOptions
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base

peft = pytest.importorskip("peft")
# PEFT only warns of keys that it cannot place, so anything it says is an error; except that it
# reads a property of the model that this transformers renames, and that what it says of tied
# embeddings is about merging, which is done here.
pytestmark = pytest.mark.filterwarnings(
    "error",
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:Model has `tie_word_embeddings=True`",
)

MakeBase = Callable[..., Base]


def _attach(base: Base, target: str | list[str] = "all-linear", **options: Any) -> Attached:
    return LoRA(LoRAOptions(rank=3, alpha=7.0, target=target, **options)).attach(base.model)


def _logits(model: Any) -> torch.Tensor:
    ids = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    more = {"decoder_input_ids": ids.flip(0)} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, **more).logits
    return logits


def _move(model: torch.nn.Module) -> None:
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)


def _stored(model: Any) -> dict[str, torch.Tensor]:
    # Without this flag PEFT asks the Hub about the base model's vocabulary.
    found: dict[str, torch.Tensor] = peft.get_peft_model_state_dict(
        model, save_embedding_layers=False
    )
    return found


def test_all_linear_means_what_it_means_in_peft(make_base: MakeBase) -> None:
    for name in ("llama", "qwen3", "gpt2", "t5", "t5-gated", "bart"):
        base = make_base(name)
        ours = set(_attach(base).tensors())
        seq2seq = base.kind == "seq2seq"
        config = peft.LoraConfig(
            r=3,
            target_modules="all-linear",
            task_type="SEQ_2_SEQ_LM" if seq2seq else "CAUSAL_LM",
            fan_in_fan_out=name == "gpt2",
        )
        theirs = peft.get_peft_model(make_base(name).model, config)
        assert ours == set(_stored(theirs)), name


def test_pefts_regular_expression_chooses_the_same_modules(
    make_base: MakeBase, tmp_path: Path
) -> None:
    pattern = r".*\.(self_attn\.[qv]_proj|1\.mlp\.down_proj)"
    config = peft.LoraConfig(r=2, target_modules=pattern, task_type="CAUSAL_LM")
    theirs = peft.get_peft_model(make_base("llama").model, config).eval()
    _move(theirs)
    theirs.save_pretrained(tmp_path)
    base = make_base("llama")
    attached = attach_adapter(open_adapter(tmp_path), base)
    torch.testing.assert_close(_logits(base.model), _logits(theirs), atol=1e-5, rtol=1e-5)
    assert len(attached.tensors()) == 2 * 5


@pytest.mark.parametrize("layers", [1, [1], [0, 1]])
def test_layers_are_pefts_layers_to_transform_both_ways(
    make_base: MakeBase, tmp_path: Path, layers: int | list[int]
) -> None:
    config = peft.LoraConfig(
        r=3, lora_alpha=7, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM",
        layers_to_transform=layers,
    )  # fmt: skip
    theirs = peft.get_peft_model(make_base("llama").model, config).eval()
    base = make_base("llama")
    chosen = [layers] if isinstance(layers, int) else layers
    attached = _attach(base, ["q_proj", "up_proj"], layers=chosen)
    assert set(attached.tensors()) == set(_stored(theirs))
    _move(base.model)
    save_adapter(tmp_path / "ours", attached, base, "tiny", "", {})
    loaded = peft.PeftModel.from_pretrained(make_base("llama").model, tmp_path / "ours").eval()
    torch.testing.assert_close(_logits(base.model), _logits(loaded), atol=1e-5, rtol=1e-5)
    _move(theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    base = make_base("llama")
    attach_adapter(open_adapter(tmp_path / "theirs"), base)
    torch.testing.assert_close(_logits(base.model), _logits(theirs), atol=1e-5, rtol=1e-5)


EMBEDDINGS = [
    ("llama", ["q_proj", "embed_tokens"]),
    ("qwen3", ["embed_tokens"]),
    ("gemma", ["q_proj", "embed_tokens"]),
    ("gpt2", ["c_attn", "wte"]),
    ("t5", ["q", "embed_tokens"]),
    ("bart", ["embed_tokens"]),
    ("llama", ["q_proj", "lm_head"]),
    ("qwen3", ["lm_head"]),
    ("phi", ["q_proj", "lm_head"]),
    ("t5", ["q", "lm_head"]),
]


@pytest.mark.parametrize(("name", "target"), EMBEDDINGS, ids=str)
def test_corrected_embeddings_and_heads_go_both_ways(
    make_base: MakeBase, tmp_path: Path, name: str, target: list[str]
) -> None:
    base = make_base(name)
    plain = _logits(base.model)
    attached = _attach(base, target)
    _move(base.model)
    ours = _logits(base.model)
    assert (ours - plain).abs().max() > 0.05, "the adapter changes nothing: nothing is tested"
    save_adapter(tmp_path / "ours", attached, base, "tiny", "", {})
    theirs = peft.PeftModel.from_pretrained(
        make_base(name).model, tmp_path / "ours", is_trainable=True
    )
    torch.testing.assert_close(_logits(theirs.eval()), ours, atol=1e-5, rtol=1e-5)

    _move(theirs)
    theirs.save_pretrained(tmp_path / "theirs", save_embedding_layers=name != "t5")
    expected = _logits(theirs)
    assert (expected - ours).abs().max() > 0.05
    again = make_base(name)
    attach_adapter(open_adapter(tmp_path / "theirs"), again)
    torch.testing.assert_close(_logits(again.model), expected, atol=1e-5, rtol=1e-5)


def test_pefts_copy_of_another_bases_embedding_is_refused(
    make_base: MakeBase, tmp_path: Path
) -> None:
    config = peft.LoraConfig(r=2, target_modules=["embed_tokens"], task_type="CAUSAL_LM")
    theirs = peft.get_peft_model(make_base("llama").model, config)
    theirs.save_pretrained(tmp_path, save_embedding_layers=True)
    attach_adapter(open_adapter(tmp_path), make_base("llama")).detach()
    with pytest.raises(InputError, match=r"embed_tokens\.base_layer\.weight"):
        attach_adapter(open_adapter(tmp_path), make_base("llama", seed=1))


@pytest.mark.parametrize("options", [{}, {"rslora": True}, {"dora": True}], ids=str)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_what_pissa_stores_is_plain_lora_of_twice_the_rank_on_the_pristine_base(
    make_base: MakeBase, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    base = make_base(name)
    more: dict[str, Any] = {"ranks": {"down_proj|c_fc": 5}, "alphas": {"down_proj|c_fc": 9.0}}
    attached = _attach(base, init="pissa", **options, **more)
    _move(base.model)
    save_adapter(tmp_path, attached, base, "tiny", "", {})
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["init_lora_weights"]) == (6, True)
    assert config["rank_pattern"] == {"down_proj|c_fc": 10}
    theirs = peft.PeftModel.from_pretrained(make_base(name).model, tmp_path)
    torch.testing.assert_close(_logits(theirs), _logits(base.model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_pissa_starts_where_pefts_does(make_base: MakeBase, name: str) -> None:
    base = make_base(name)
    ours = _attach(base, init="pissa").tensors()
    config = peft.LoraConfig(
        r=3,
        lora_alpha=7,
        target_modules="all-linear",
        fan_in_fan_out=name == "gpt2",
        init_lora_weights="pissa",
        task_type="SEQ_2_SEQ_LM" if name == "t5" else "CAUSAL_LM",
    )
    theirs = _stored(peft.get_peft_model(make_base(name).model, config))
    for key in (k for k in theirs if "lora_A" in k):
        a, b = ours[key], ours[key.replace("lora_A", "lora_B")]
        expected = theirs[key.replace("lora_A", "lora_B")] @ theirs[key]
        torch.testing.assert_close(b[:, :3] @ a[:3], expected, atol=1e-5, rtol=1e-4)
        # The parts themselves are the same up to the sign of each direction.
        torch.testing.assert_close(a[:3].abs(), theirs[key].abs(), atol=1e-4, rtol=1e-3)


def test_lora_plus_raises_the_rate_of_what_peft_raises(make_base: MakeBase) -> None:
    from peft.optimizers import create_loraplus_optimizer

    config = peft.LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM")
    theirs = create_loraplus_optimizer(
        model=peft.get_peft_model(make_base("llama").model, config),
        optimizer_cls=torch.optim.AdamW,
        lr=1e-3,
        loraplus_lr_ratio=16.0,
        loraplus_weight_decay=0.0,
    )
    counted: dict[float, int] = {}
    for group in theirs.param_groups:
        size = sum(p.numel() for p in group["params"])
        counted[group["lr"]] = counted.get(group["lr"], 0) + size
    attached = _attach(make_base("llama"), plus_ratio=16.0)
    ours = {1e-3 * g.lr_scale: sum(p.numel() for p in g.parameters) for g in attached.groups()}
    assert ours == {rate: size for rate, size in counted.items() if size}


def test_initial_values_are_spread_as_pefts(make_base: MakeBase) -> None:
    # Kaiming-uniform with a = sqrt(5): uniform within 1 / sqrt(inputs), and B at zero.
    for key, tensor in _attach(make_base("llama")).tensors().items():
        bound = tensor.shape[1] ** -0.5
        if "lora_B" in key:
            assert not tensor.any()
        else:
            assert 0.8 * bound < tensor.abs().max() <= bound


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"bias": "lora_only"}, "bias"),
        ({"exclude_modules": ["v_proj"]}, "exclude_modules"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
    ],
    ids=str,
)
def test_pefts_adapters_that_compute_something_else_are_refused_by_name(
    make_base: MakeBase, tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", **options)
    peft.get_peft_model(make_base("llama").model, config).save_pretrained(tmp_path)
    base = make_base("llama")
    with pytest.raises(InputError, match=named):
        attach_adapter(open_adapter(tmp_path), base)
    assert not any("lora" in n for n, _ in base.model.named_modules())


def test_a_setting_of_a_later_peft_is_refused_rather_than_passed_over(
    make_base: MakeBase, tmp_path: Path
) -> None:
    save_adapter(tmp_path, _attach(make_base()), make_base(), "tiny", "", {})
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "use_newlora": True}))
    with pytest.raises(InputError, match="use_newlora"):
        attach_adapter(open_adapter(tmp_path), make_base())


def test_the_file_holds_what_peft_would_have_written(make_base: MakeBase, tmp_path: Path) -> None:
    from safetensors import safe_open

    base = make_base("gpt2")
    save_adapter(tmp_path / "ours", _attach(base), base, "tiny", "", {})
    config = peft.LoraConfig(
        r=3, target_modules="all-linear", fan_in_fan_out=True, task_type="CAUSAL_LM"
    )
    peft.get_peft_model(make_base("gpt2").model, config).save_pretrained(tmp_path / "theirs")
    with (
        safe_open(tmp_path / "ours" / WEIGHTS, "pt") as ours,
        safe_open(tmp_path / "theirs" / WEIGHTS, "pt") as theirs,
    ):
        assert set(ours.keys()) == set(theirs.keys())
        assert ours.metadata() == theirs.metadata()
        for key in ours.keys():  # noqa: SIM118 (not a mapping)
            assert ours.get_slice(key).get_shape() == theirs.get_slice(key).get_shape()
            assert ours.get_slice(key).get_dtype() == theirs.get_slice(key).get_dtype()
