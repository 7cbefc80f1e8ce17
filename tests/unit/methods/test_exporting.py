"""Tuned models as GGUF: merged they compute what the adapter did, and so does a LoRA alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from brulee.errors import InputError
from brulee.methods import METHODS, build_method
from brulee.methods.adapter_files import CONFIG, OURS, WEIGHTS
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.exporting import export
from brulee.methods.shelf import locate
from brulee.methods.storing import save_adapter
from brulee.models.gguf_names import namer, pairs_together
from brulee.models.loading import Base, load_base
from brulee.recipe import MethodSpec

OTHERS = [n for n, method in METHODS.items() if not method.stores_model and n != "lora"]


def _base(folder: Path) -> Base:
    return load_base(str(folder), torch.float32, torch.device("cpu"))


def _adapter(model: Path, folder: Path, name: str = "lora", **options: Any) -> Path:
    base = _base(model)
    attached = build_method(MethodSpec(name=name, **options)).attach(base.model)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
    save_adapter(folder, attached, base, str(model), "", {"method": {"name": name}})
    return folder


def _logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(5, 40).unsqueeze(0)).logits
    return logits.float()


@pytest.mark.parametrize(("name", "options"), [("lora", {}), ("lora", {"dora": True}), ("ia3", {})])
def test_merged_it_computes_what_the_adapter_did(
    tiny_model_folder: Path, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter", name, **options)
    made = export(locate(str(adapter)), tmp_path / "deep" / "m.gguf", dtype="float32")
    assert made.size == made.file.stat().st_size
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["m.gguf"]
    base = _base(tiny_model_folder)
    attach_adapter(open_adapter(adapter), base)
    again = _base(made.file)
    torch.testing.assert_close(_logits(again.model), _logits(base.model), atol=1e-5, rtol=1e-5)


LORAS: dict[str, dict[str, Any]] = {
    "plain": {"rank": 4, "alpha": 8.0},
    "rslora": {"rank": 4, "rslora": True},
    "ranks": {"rank": 4, "ranks": {r".*\.1\..*": 2}, "alphas": {r".*q_proj": 5.0}},
    "pissa": {"rank": 2, "init": "pissa"},
    "attention": {"target": "attention"},
    "head": {"target": ["q_proj", "lm_head"]},
}


def _corrections(file: Path) -> dict[str, torch.Tensor]:
    """What llama.cpp adds to each weight: alpha / R times B @ A."""
    reader = gguf.GGUFReader(file)
    alpha = reader.fields["adapter.lora.alpha"].contents()
    held = {t.name: torch.from_numpy(t.data.copy()) for t in reader.tensors}
    found = {}
    for name in (n.removesuffix(".lora_a") for n in held if n.endswith(".lora_a")):
        a_RI, b_OR = held[f"{name}.lora_a"], held[f"{name}.lora_b"]
        found[name] = (alpha / a_RI.shape[0]) * (b_OR @ a_RI)
    assert len(held) == 2 * len(found)
    return found


@pytest.mark.parametrize("way", LORAS)
def test_a_lora_adds_what_it_adds_in_training(
    tiny_model_folder: Path, tmp_path: Path, way: str
) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter", **LORAS[way])
    made = export(locate(str(adapter)), tmp_path / "l.gguf", "gguf-lora", "float32")
    found = _corrections(made.file)
    before, base = _base(tiny_model_folder).model.state_dict(), _base(tiny_model_folder)
    attach_adapter(open_adapter(adapter), base).merge()
    name_of, config = namer(base.model.config), base.model.config
    moved = {n for n, t in base.model.state_dict().items() if not torch.equal(t, before[n])}
    assert {name_of(n) for n in moved} == found.keys()
    for name in moved:
        added = pairs_together(name_of(name), base.model.state_dict()[name] - before[name], config)
        torch.testing.assert_close(found[name_of(name)], added, atol=1e-5, rtol=1e-4)


def test_what_eight_bits_cannot_hold_is_held_in_sixteen_and_counted(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    stored = locate(str(_adapter(tiny_model_folder, tmp_path / "adapter", rank=4)))
    made = export(stored, tmp_path / "l.gguf", "gguf-lora", "q8_0")
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(made.file).tensors}
    # Rows: of A as many as the map has inputs, 32 or 48 here; of B the rank.
    assert kinds["blk.0.attn_q.weight.lora_a"] == "Q8_0"
    assert kinds["blk.0.ffn_down.weight.lora_a"] == "F16"
    assert {kind for name, kind in kinds.items() if name.endswith("lora_b")} == {"F16"}
    assert made.halved == sum(kind == "F16" for kind in kinds.values())
    assert export(stored, tmp_path / "f.gguf", "gguf-lora", "float32").halved == 0


def test_what_llama_cpp_asks_of_it_is_there(tiny_model_folder: Path, tmp_path: Path) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter", rank=4, alpha=8.0)
    export(locate(str(adapter)), tmp_path / "l.gguf", "gguf-lora", "float16")
    reader = gguf.GGUFReader(tmp_path / "l.gguf")
    keys = ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha")
    values = [reader.fields[key].contents() for key in keys]
    assert values == ["llama", "adapter", "lora", 8.0]
    shapes = {t.name: tuple(t.shape) for t in reader.tensors}  # the innermost side first
    assert shapes["blk.0.attn_q.weight.lora_a"] == (32, 4)
    assert shapes["blk.0.attn_k.weight.lora_b"] == (4, 16)


def test_a_head_that_is_the_table_of_embeddings_is_merged_or_refused(
    make_base: Callable[..., Base], tmp_path: Path
) -> None:
    base, model = make_base("llama", tie_word_embeddings=True), tmp_path / "model"
    base.model.save_pretrained(model)
    base.tokenizer.save_pretrained(model)
    adapter = _adapter(model, tmp_path / "adapter", target="lm_head")
    with pytest.raises(InputError, match=r"corrects the head 'lm_head'.*--to gguf\."):
        export(locate(str(adapter)), tmp_path / "l.gguf", "gguf-lora", "float32")
    made = export(locate(str(adapter)), tmp_path / "m.gguf", dtype="float32")
    tuned = _base(model)
    attach_adapter(open_adapter(adapter), tuned)
    again = _base(made.file)
    torch.testing.assert_close(_logits(again.model), _logits(tuned.model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("lora", {"dora": True}, r"scales whole outputs.*--to gguf\."),
        ("lora", {"target": ["attention", "embeddings"]}, "corrects the embedding 'model.embed_"),
        *[
            (n, {}, "only LoRA can")
            for n, m in METHODS.items()
            if not m.stores_model and n != "lora"
        ],
    ],
)
def test_what_is_no_plain_lora_says_what_to_do(
    tiny_model_folder: Path, tmp_path: Path, name: str, options: dict[str, Any], reason: str
) -> None:
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter", name, **options)
    with pytest.raises(InputError, match=reason):
        export(locate(str(adapter)), tmp_path / "l.gguf", "gguf-lora")
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def test_a_lora_belongs_to_its_own_base_only(
    tiny_model_folder: Path, make_base: Callable[..., Base], tmp_path: Path
) -> None:
    stored = locate(str(_adapter(tiny_model_folder, tmp_path / "adapter")))
    other = make_base("llama", seed=1)
    other.model.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match=r"adapter: made for the base .* but this base is"):
        export(stored, tmp_path / "l.gguf", "gguf-lora", base=str(tmp_path / "other"))
    moved = shutil.copytree(tiny_model_folder, tmp_path / "moved")
    assert export(stored, tmp_path / "l.gguf", "gguf-lora", base=str(moved)).size > 0


@pytest.mark.parametrize(
    ("rank", "reason"),
    [(10**13, rf"adapter/{CONFIG}: r = 10000000000000, but"), (5, rf"adapter/{WEIGHTS}: .*shape")],
)
def test_a_lora_that_is_not_what_its_configuration_says_names_the_file(
    tiny_model_folder: Path, tmp_path: Path, rank: int, reason: str
) -> None:
    folder = _adapter(tiny_model_folder, tmp_path / "adapter")
    (folder / OURS).unlink()
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "r": rank}))
    with pytest.raises(InputError, match=reason):
        export(locate(str(folder)), tmp_path / "l.gguf", "gguf-lora")


def test_an_architecture_without_a_name_is_refused_before_merging(
    tiny_t5_folder: Path, tmp_path: Path
) -> None:
    adapter = _adapter(tiny_t5_folder, tmp_path / "adapter")
    for to in ("gguf", "gguf-lora"):
        with pytest.raises(InputError, match="a t5 model cannot be written as GGUF"):
            export(locate(str(adapter)), tmp_path / "m.gguf", to)
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def test_what_was_tuned_whole_is_written(make_base: Callable[..., Base], tmp_path: Path) -> None:
    base = make_base("llama")
    base.model.save_pretrained(tmp_path / "run" / "model")
    base.tokenizer.save_pretrained(tmp_path / "run" / "model")
    (tmp_path / "run" / "model" / "brulee.json").write_text('{"base": {"name": "x"}}')
    stored = locate(str(tmp_path / "run"))
    export(stored, tmp_path / "m.gguf", dtype="float32")
    again = _base(tmp_path / "m.gguf")
    torch.testing.assert_close(_logits(again.model), _logits(base.model), atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="a whole model is not a LoRA"):
        export(stored, tmp_path / "l.gguf", "gguf-lora")


@pytest.mark.parametrize(
    ("out", "given", "reason"),
    [
        ("there.gguf", {}, "exists already"),
        ("there.gguf/m.gguf", {}, "there.gguf: a file, where the folder of the GGUF file should"),
        ("model.bin", {}, r"ends in \.gguf"),
        ("m.gguf", {"to": "ggml"}, r"format 'ggml'.*gguf"),
        ("m.gguf", {"dtype": "q4"}, r"dtype 'q4'.*q8_0"),
    ],
)
def test_bad_arguments_are_one_sentence(
    tiny_model_folder: Path, tmp_path: Path, out: str, given: dict[str, str], reason: str
) -> None:
    (tmp_path / "there.gguf").write_text("mine")
    adapter = _adapter(tiny_model_folder, tmp_path / "adapter")
    with pytest.raises(InputError, match=reason):
        export(locate(str(adapter)), tmp_path / out, **given)
    assert (tmp_path / "there.gguf").read_text() == "mine"
