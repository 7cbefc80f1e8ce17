"""A merged adapter is an ordinary model that answers as the adapter did."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, BertConfig, Zamba2Config

from brulee.errors import BruleeError, InputError
from brulee.inference.session import open_session
from brulee.methods import METHODS, build_method, merging
from brulee.methods.adapter_files import OURS
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.merging import merge
from brulee.methods.selective_attached import SelectiveAttached
from brulee.methods.storing import save_adapter
from brulee.methods.whole import save_as_recorded
from brulee.models.loading import Base, load_base
from brulee.recipe import MethodSpec

MakeBase = Callable[..., Base]
BESIDE = ("bottleneck", "prefix", "prompt")  # what they add is no change of a weight
MERGING = [n for n, m in METHODS.items() if not m.stores_model and n not in BESIDE]


def _base(folder: Path) -> Base:
    return load_base(str(folder), torch.float32, torch.device("cpu"))


def _adapter(model: Path, folder: Path, name: str = "lora", scale: float = 0.05) -> Path:
    base = _base(model)
    attached = build_method(MethodSpec(name=name)).attach(base.model)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=scale)
    record = {"chat_template": "auto", "system": "Be brief.", "method": {"name": name}}
    save_adapter(folder, attached, base, str(model), "", record)
    return folder


def _logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(5, 40).unsqueeze(0)).logits
    return logits.float()


@pytest.mark.parametrize("name", ["lora", "ia3"])
def test_layers_that_share_a_weight_are_not_merged(make_base: MakeBase, name: str) -> None:
    """As Zamba 2's do: stored, the weight would have the correction of one layer, or of all."""
    model = make_base("llama").model
    first, second = (layer.mlp.down_proj for layer in model.model.layers)
    second.weight = first.weight
    attached = build_method(MethodSpec(name=name)).attach(model)
    before = _logits(model)
    with pytest.raises(InputError, match="cannot merge: layers of LlamaForCausalLM share weights"):
        attached.merge()
    assert torch.equal(_logits(model), before)


_LAYERS = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SHARING = {
    "bert": BertConfig(**_LAYERS, intermediate_size=48, is_decoder=True),
    "zamba2": Zamba2Config(
        **{**_LAYERS, "num_hidden_layers": 4, "intermediate_size": 48, "adapter_rank": 4},
        **{"layers_block_type": ["linear_attention", "hybrid"] * 2, "num_mem_blocks": 1},
        **{"attention_hidden_size": 64, "attention_head_dim": 16, "num_key_value_heads": 4},
        **{"mamba_d_state": 8, "mamba_ngroups": 1, "n_mamba_heads": 8, "mamba_headdim": 8},
    ),
}


@pytest.mark.parametrize("name", SHARING)
def test_whatever_is_shared_is_stored_apart_from_a_head_that_was_tied(
    tmp_path: Path, name: str
) -> None:
    """A model with a head of its own ties nothing when it is loaded: no bias, and no layers."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHARING[name]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    attached = build_method(MethodSpec(name="lora", target="embeddings")).attach(model)
    with torch.no_grad():
        for parameter in attached.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    beside = _logits(model)
    attached.merge()
    model.save_pretrained(tmp_path)
    alone, loading = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"]
    torch.testing.assert_close(_logits(alone), beside, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", BESIDE)
def test_what_cannot_be_merged_says_why(tiny_model_folder: Path, tmp_path: Path, name: str) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter", name)
    with pytest.raises(InputError, match=f"{name} cannot merge: "):
        merge(adapter, tmp_path / "merged")
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize("name", MERGING)
def test_a_merged_model_answers_as_the_adapter_did(
    tiny_model_folder: Path, tmp_path: Path, name: str
) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter", name)
    out = tmp_path / "deep" / "merged"
    made = merge(adapter, out)
    base = _base(tiny_model_folder)
    plain = _logits(base.model)
    attached = attach_adapter(open_adapter(adapter), base)
    merged = AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(_logits(merged), _logits(base.model), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(_logits(merged), plain, atol=1e-2), "nothing was merged"
    attached.detach()
    assert made.cost.by_merging < 1e-4
    assert (made.dtype, made.cost.agree, made.cost.dequantised) == ("float32", 1.0, False)
    assert made.size == sum(file.stat().st_size for file in out.glob("*.safetensors"))


def test_prompts_are_framed_for_it_as_for_the_adapter(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter")
    merge(adapter, tmp_path / "merged")
    sessions = [open_session(str(tmp_path / n), "cpu", "float32") for n in ("adapter", "merged")]
    answers = [s.complete(["Where is the parcel?"], max_new_tokens=8) for s in sessions]
    assert answers[0] == answers[1]
    record = json.loads((tmp_path / "merged" / OURS).read_text())
    assert record["system"] == "Be brief."
    assert record["merged"]["label"] == "LoRA r8"
    settings = json.loads((tmp_path / "merged" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == [2, *sessions[0].encoder.end_ids]
    assert record["base"]["digest"] == open_adapter(adapter).digest
    assert record.keys() == {
        "base", "chat_template", "merged", "method", "system", "weights_digest",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("record", "stops"),
    [({"chat_template": "auto"}, [2, 4]), ({"chat_template": "none"}, 2), ({}, 2)],
)
def test_generation_stops_where_answers_were_learned_to_end(
    tiny_model_folder: Path, tmp_path: Path, record: dict[str, Any], stops: Any
) -> None:
    save_as_recorded(_base(tiny_model_folder), tmp_path / "whole", record)
    settings = json.loads((tmp_path / "whole" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == stops
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "whole").generation_config.bos_token_id


@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 2.0), ("float16", 0.5)])
def test_what_rounding_costs_is_measured(
    tiny_model_folder: Path, tmp_path: Path, dtype: str, most: float
) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter")
    made = merge(adapter, tmp_path / "merged", dtype)
    assert made.cost.by_merging < 1e-4 < made.cost.by_storing < most
    held = {t.dtype for t in load_file(tmp_path / "merged" / "model.safetensors").values()}
    assert held == {getattr(torch, dtype)}
    assert made.dtype == dtype


def test_auto_keeps_the_type_of_the_bases_files(tiny_model_folder: Path, tmp_path: Path) -> None:
    base = _base(tiny_model_folder)
    base.model.to(torch.bfloat16).save_pretrained(tmp_path / "base")
    base.tokenizer.save_pretrained(tmp_path / "base")
    adapter = _adapter(tmp_path / "base", tmp_path / "adapter")
    assert merge(adapter, tmp_path / "merged").dtype == "bfloat16"


def test_a_quantised_base_is_dequantised_and_the_price_said(
    make_base: MakeBase, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    plain = make_base("llama", hidden_size=64, intermediate_size=128)
    plain.model.save_pretrained(tmp_path / "plain")
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    quantised = AutoModelForCausalLM.from_pretrained(
        tmp_path / "plain", quantization_config=nf4, dtype=torch.float32
    )
    quantised.save_pretrained(tmp_path / "base")
    plain.tokenizer.save_pretrained(tmp_path / "base")
    adapter = _adapter(tmp_path / "base", tmp_path / "adapter")
    made = merge(adapter, tmp_path / "merged")
    assert made.cost.dequantised
    assert made.cost.by_merging < 1e-4
    assert made.size > 1.5 * made.base_size

    base = _base(tmp_path / "base")
    attach_adapter(open_adapter(adapter), base)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not hasattr(merged.config, "quantization_config")
    torch.testing.assert_close(_logits(merged), _logits(base.model), atol=1e-4, rtol=1e-4)


def test_the_sum_is_made_in_fp32_before_it_is_rounded(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter")
    merge(adapter, tmp_path / "wide", "float32")
    merge(adapter, tmp_path / "narrow", "bfloat16")
    wide, narrow = (load_file(tmp_path / name / "model.safetensors") for name in ("wide", "narrow"))
    assert wide.keys() == narrow.keys()
    assert all(torch.equal(narrow[name], wide[name].bfloat16()) for name in wide)


def test_values_that_the_type_cannot_hold_are_refused(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter", scale=300.0)
    with pytest.raises(InputError, match=r"float16 cannot hold.*bfloat16"):
        merge(adapter, tmp_path / "merged", "float16")
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize("there", ["a file in it", "a file"])
def test_nothing_is_written_over(tiny_model_folder: Path, tmp_path: Path, there: str) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter")
    out = tmp_path / "out"
    if there == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        merge(adapter, out)


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("adapter/README.md/out", r"README\.md: a file, where the model's folder"),
        ("/proc/x", "/proc: no"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_the_model_is_loaded(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, said: str
) -> None:
    if out.startswith("/proc") and not Path("/proc/self").is_dir():
        pytest.skip("this machine has no /proc")
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter")
    monkeypatch.setattr("brulee.methods.merging.load_base", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(InputError, match=said):
        merge(adapter, tmp_path / out)


def test_an_empty_folder_is_filled(tiny_model_folder: Path, tmp_path: Path) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter")
    (tmp_path / "out").mkdir()
    merge(adapter, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file()


def test_another_base_is_refused(
    tiny_model_folder: Path, make_base: MakeBase, tmp_path: Path
) -> None:
    other = make_base("llama", seed=1)
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter")
    with pytest.raises(InputError, match="made for the base"):
        merge(adapter, tmp_path / "out", base=str(tmp_path / "other"))
    assert not (tmp_path / "out").exists()


def test_a_merge_that_computes_something_else_is_not_stored(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter", "ia3")
    monkeypatch.setattr("brulee.methods.ia3.IA3Linear.merged", lambda _: {})
    with pytest.raises(BruleeError, match="far more than rounding can; nothing was stored"):
        merge(adapter, tmp_path / "merged")
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def test_a_wrong_merge_is_found_out_of_a_model_that_never_writes_a_token(
    make_base: MakeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its logit is -inf, as the bias on the logits of a BART can say."""
    model = make_base("bart").model
    model.final_logits_bias[0, 9] = -math.inf
    model.save_pretrained(tmp_path / "model")
    make_base("bart").tokenizer.save_pretrained(tmp_path / "model")
    adapter = _adapter(tmp_path / "model", tmp_path / "adapter", "ia3")
    merge(adapter, tmp_path / "merged")
    monkeypatch.setattr("brulee.methods.ia3.IA3Linear.merged", lambda _: {})
    with pytest.raises(BruleeError, match="far more than rounding can; nothing was stored"):
        merge(adapter, tmp_path / "wrong")


def test_a_model_whose_logits_are_no_numbers_is_not_stored(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    """Of an adapter whose training diverged: NaN is not more than any tolerance."""
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter", scale=1e18)
    with pytest.raises(BruleeError, match=r"adapter: .* not numbers \(NaN\).*nothing was stored"):
        merge(adapter, tmp_path / "merged")
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def _marian_logits(model: Any) -> torch.Tensor:
    ids = torch.arange(5, 40).unsqueeze(0)
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, decoder_input_ids=ids.flip(1)).logits
    return logits


UNSTORED: dict[str, dict[str, Any]] = {
    "full": {"name": "full"},
    "embeddings": {"name": "selective", "train": "embeddings"},
    "named": {"name": "selective", "train": "parameters", "parameters": ["*"]},
    "sparse": {"name": "selective", "train": "sparse", "mask": "magnitude", "density": 0.5},
}


@pytest.mark.parametrize("way", UNSTORED)
def test_positions_that_no_model_is_stored_with_are_not_trained(
    make_base: MakeBase, tmp_path: Path, way: str
) -> None:
    model = make_base("marian").model
    attached = build_method(MethodSpec(**UNSTORED[way])).attach(model)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(0.1)
    tuned = _marian_logits(model)
    attached.merge()
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    torch.testing.assert_close(_marian_logits(again), tuned, atol=1e-5, rtol=1e-5)


def test_an_adapter_that_changes_what_is_not_stored_is_not_merged(
    make_base: MakeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, name = make_base("marian"), "model.encoder.embed_positions.weight"
    attached = SelectiveAttached(base.model, [name], {}, {"train": "embeddings"})
    with torch.no_grad():
        attached.groups()[0].parameters[0].add_(0.1)
    save_adapter(tmp_path / "adapter", attached, base, "owner/tiny", "", {})
    fresh = make_base("marian")
    monkeypatch.setattr(merging, "load_base", lambda *_, **__: fresh)
    with pytest.raises(InputError, match=rf"{re.escape(name)}, which a stored MarianMTModel"):
        merge(tmp_path / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_weights_are_readable_as_the_umask_says(tiny_model_folder: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        adapter = _adapter(tiny_model_folder, tmp_path / "adapter")
        merge(adapter, tmp_path / "merged")
    finally:
        os.umask(before)
    files = [*adapter.iterdir(), *(tmp_path / "merged").iterdir()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o640}
