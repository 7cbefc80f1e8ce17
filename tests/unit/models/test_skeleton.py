"""A model's shapes are found wherever its configuration is, and none of its weights are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import transformers

from brulee.errors import InputError
from brulee.methods.stacks import stacks
from brulee.models.loading import Base
from brulee.models.pair_form import blocks_of_stack
from brulee.models.pair_parts import stacks_of
from brulee.models.skeleton import depth, load_shallow, load_skeleton, one_map


def test_a_skeleton_has_the_shapes_and_ties_of_the_model(
    make_base: Callable[..., Base], tmp_path: Path
) -> None:
    for name in ("gpt2", "t5", "bart", "gemma", "t5gemma"):
        model = make_base(name).model
        model.config.save_pretrained(tmp_path / name)
        skeleton = load_skeleton(str(tmp_path / name))
        real = {n: tuple(p.shape) for n, p in model.named_parameters()}
        assert {n: tuple(p.shape) for n, p in skeleton.named_parameters()} == real
        assert not any(p.any() for p in skeleton.parameters())
        assert {p.device.type for p in skeleton.parameters()} == {"cpu"}


def test_a_skeleton_is_of_the_part_that_is_trained(tmp_path: Path) -> None:
    """Llama 4 as released reads no text by itself, so that only its text part is loaded."""
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "head_dim": 8}
    layers = {"num_hidden_layers": 2, "vocab_size": 300, "num_local_experts": 2}
    config = transformers.Llama4Config(
        text_config={**sizes, **layers, "num_key_value_heads": 2, "intermediate_size_mlp": 48},
        vision_config={"hidden_size": 32, "num_hidden_layers": 1, "image_size": 28},
    )
    config.save_pretrained(tmp_path)
    skeleton = load_skeleton(str(tmp_path))
    assert type(skeleton) is transformers.Llama4ForCausalLM
    shallow = load_shallow(str(tmp_path), 2, torch.float32, torch.device("cpu"))
    assert skeleton.num_parameters() == shallow.num_parameters()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("t5", {"num_layers": 3, "num_decoder_layers": 2}),
        ("bart", {"decoder_layers": 3}),
        ("t5gemma", {"encoder": {"num_hidden_layers": 3}}),
    ],
)
def test_both_stacks_have_so_many_layers(
    name: str, changes: dict[str, Any], make_base: Callable[..., Base], tmp_path: Path
) -> None:
    """Whether one configuration says of how many they are, or each has its own."""
    make_base(name, **changes).model.config.save_pretrained(tmp_path)
    assert depth(str(tmp_path)) == 3
    model = load_shallow(str(tmp_path), 1, torch.float32, torch.device("cpu"))
    assert [len(blocks_of_stack(stack)) for stack in stacks_of(model)] == [1, 1]


def test_no_part_of_a_model_whose_layers_loop_is_tried(
    make_base: Callable[..., Base], tmp_path: Path
) -> None:
    """Of six layers of a Dory two run twice, by numbers that fewer layers would not fit."""
    layers = {"num_hidden_layers": 6, "n_input_layers": 2, "n_output_layers": 2}
    make_base("dory", **layers).model.config.save_pretrained(tmp_path)
    for few in (2, 5):
        with pytest.raises(InputError, match="run more than once, so that only all 6 of them"):
            load_shallow(str(tmp_path), few, torch.float32, torch.device("cpu"))
    whole = load_shallow(str(tmp_path), 6, torch.float32, torch.device("cpu"))
    assert whole.num_parameters() == load_skeleton(str(tmp_path)).num_parameters()


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("Bamba", {"attn_layer_indices": [1, 3]}),  # which layers attend is worked out of these
        ("Mamba2", {"num_heads": 8, "head_dim": 8, "n_groups": 1, "state_size": 4}),
        # How many there are is worked out of their kinds.
        ("NemotronH", {"layers_block_type": ["mamba", "moe", "attention", "mamba"]}),
        ("Lfm2", {"layer_types": ["conv", "full_attention"] * 2}),
        ("Olmo3", {"layer_types": ["sliding_attention", "full_attention"] * 2}),
    ],
)
def test_what_a_configuration_says_of_each_layer_is_cut_too(
    kind: str, own: dict[str, Any], tmp_path: Path
) -> None:
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "mamba_n_heads": 8}
    with_heads = sizes if kind == "Mamba2" else {**sizes, **heads}
    getattr(transformers, f"{kind}Config")(**with_heads, **own).save_pretrained(tmp_path)
    assert depth(str(tmp_path)) == 4
    model = load_shallow(str(tmp_path), 2, torch.float32, torch.device("cpu"))
    assert [len(stack) for stack in stacks(model).values()] == [2]
    model(input_ids=torch.tensor([[5, 6, 7]]), use_cache=False)


def test_a_gguf_says_its_shapes_in_its_metadata(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_context_length(128)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(300)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(300)])
    writer.add_tensor("token_embd.weight", np.zeros((300, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    skeleton = load_skeleton(str(tmp_path / "tiny.gguf"))
    assert skeleton.get_parameter("model.layers.1.mlp.down_proj.weight").shape == (32, 48)
    assert skeleton.get_parameter("model.layers.0.self_attn.k_proj.weight").shape == (16, 32)
    assert skeleton.get_input_embeddings().weight.shape == (300, 32)


def test_memory_is_not_touched_before_something_is_written() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    model = one_map(40_000, 10_000)  # 1.6 GB
    weight = next(model.parameters())
    assert process.memory_info().rss - before < 2e8
    with torch.no_grad():
        weight[0, 0] = 3.0
    assert weight[0, :2].tolist() == [3.0, 0.0]
    assert process.memory_info().rss - before < 2e8


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="not a GGUF file"):
        load_skeleton(str(tmp_path / "model.gguf"))


def test_a_mistyped_folder_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^model 'models/tyny': no such .* mean 'models/tiny'\?"):
        load_skeleton("models/tyny")


def test_a_hub_that_cannot_be_reached_is_said_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect.\nCheck your connection, or see 'https://hu")

    monkeypatch.setattr("brulee.models.reading_files.AutoConfig.from_pretrained", unreachable)
    with pytest.raises(InputError, match=r"cannot be read: We couldn't connect\.$"):
        load_skeleton("owner/name")
