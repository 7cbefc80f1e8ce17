"""Base models from folders and files; what is not one is named, with what would be."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig

from brulee.errors import InputError
from brulee.models import precision
from brulee.models.base_files import base_digest
from brulee.models.decoder_start import decoder_start
from brulee.models.loading import Base, load_base
from brulee.models.named import TOKENIZER, WEIGHTS, downloaded, no_such_model
from brulee.models.precision import pick_device, pick_dtype
from brulee.models.reading_files import reason
from brulee.models.skeleton import load_skeleton
from brulee.models.tokenizers import load_tokenizer
from brulee.models.whole_files import check_safetensors

CPU = torch.device("cpu")


def _load(name: Path | str) -> Base:
    return load_base(str(name), torch.float32, CPU)


def _refusal(name: Path | str) -> str:
    with pytest.raises(InputError) as refusal:
        _load(name)
    return str(refusal.value)


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A model folder that may be damaged."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "tiny-llama"))


def test_a_folder_gives_the_saved_model_at_rest(tiny_model_folder: Path) -> None:
    base = _load(tiny_model_folder)
    assert base.kind == "causal"
    assert base.name == "tiny-llama"
    assert not base.model.training
    assert base.device == CPU
    assert base.tokenizer.chat_template
    saved = load_file(tiny_model_folder / "model.safetensors")
    for name, parameter in base.model.named_parameters():
        assert torch.equal(parameter, saved[name]), name


def test_an_encoder_decoder_is_recognised(tiny_t5_folder: Path) -> None:
    assert _load(tiny_t5_folder).kind == "seq2seq"


@pytest.mark.parametrize(
    ("config", "generation", "found"),
    [
        ({"decoder_start_token_id": 7, "bos_token_id": 8}, {"bos_token_id": 9}, 7),
        ({"bos_token_id": 8}, {"decoder_start_token_id": 9}, 9),
        ({"bos_token_id": 8}, {}, 8),
        ({}, {"bos_token_id": 0}, 0),
    ],
)
def test_a_decoder_begins_as_transformers_begins_it(
    make_base: Callable[..., Base],
    config: dict[str, int],
    generation: dict[str, int],
    found: int,
) -> None:
    model = make_base("t5").model
    for place, own in ((model.config, config), (model.generation_config, generation)):
        for key in ("decoder_start_token_id", "bos_token_id"):
            setattr(place, key, own.get(key))
    assert decoder_start(model) == (found,)


@pytest.mark.parametrize("place", ["config", "generation_config"])
def test_a_token_that_generation_forces_stands_first(
    make_base: Callable[..., Base], place: str
) -> None:
    model = make_base("bart").model
    (start,) = decoder_start(model)
    getattr(model, place).forced_bos_token_id = 7
    assert decoder_start(model) == (start, 7)


def test_an_encoder_decoder_that_cannot_begin_is_refused(
    make_base: Callable[..., Base], tmp_path: Path
) -> None:
    """Before it is trained or asked; and one that begins as texts do is not."""
    base = make_base("t5")
    base.model.config.decoder_start_token_id = None
    base.model.generation_config.decoder_start_token_id = None
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    assert "its config.json has no decoder_start_token_id, so" in _refusal(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "bos_token_id": 1}))
    assert decoder_start(_load(tmp_path).model) == (1,)


def test_the_wanted_precision_is_the_loaded_one(tiny_model_folder: Path) -> None:
    base = load_base(str(tiny_model_folder), torch.bfloat16, CPU)
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}


def test_the_digest_is_of_the_weights(folder: Path) -> None:
    before = _load(folder).digest
    (folder / "notes.txt").write_text("unrelated")
    assert _load(folder).digest == before
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert _load(folder).digest != before


def test_a_name_is_resolved_where_the_caller_says(tiny_model_folder: Path) -> None:
    base = load_base(
        "models/mine", torch.float32, CPU, resolve={"models/mine": tiny_model_folder}.__getitem__
    )
    assert base.folder == tiny_model_folder


def test_an_unknown_folder_is_answered_with_the_nearest(folder: Path) -> None:
    said = _refusal(folder.parent / "tiny-lama")
    assert "no such folder or file" in said
    assert f"Did you mean {str(folder.parent / 'tiny-llama')!r}?" in said


def test_the_nearest_is_looked_for_where_the_caller_says(folder: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'models/tiny-llama'"):
        load_base(
            "./models/tiny-lama",
            torch.float32,
            CPU,
            resolve=lambda name: folder.parent / name.removeprefix("./models/"),
        )


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "it has no config.json" in _refusal(tmp_path)


def test_an_adapter_in_place_of_a_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "this is an adapter, not a base model" in _refusal(tmp_path)


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "only safetensors is read, never pickle" in _refusal(folder)


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_truncated_weights(folder: Path, kept: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    said = _refusal(folder)
    assert f"{file}: corrupt safetensors" in said


def test_a_missing_tensor_is_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "weights missing for model.layers.1.mlp.up_proj.weight" in _refusal(folder)


def test_a_tensor_of_the_wrong_shape(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(7)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    said = _refusal(folder)
    assert (
        f"{folder}: model.norm.weight has shape (7,), but its config.json describes (32,)" in said
    )


def test_a_layer_too_many_is_named(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    said = _refusal(folder)
    assert "model.layers.1.input_layernorm.weight (9 such in all), a layer that its" in said


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "llamma"}', "{}"])
def test_a_config_that_is_none(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert str(folder) in _refusal(folder)


def test_a_model_that_reads_no_text_is_told_by_its_type(folder: Path) -> None:
    WhisperConfig().save_pretrained(folder)
    assert "no class for a WhisperConfig that reads text and writes text" in _refusal(folder)


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert str(folder) in _refusal(folder)


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"not one at all")
    assert "not a GGUF file" in _refusal(file)


@pytest.mark.parametrize(
    "content", [b"GGUF", struct.pack("<4sIQQ", b"GGUF", 3, 2**40, 1), b"GGUF" + bytes(200)]
)
def test_a_gguf_that_is_cut_short(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    said = _refusal(file)
    assert str(file) in said
    assert "GGUF" in said


def test_whole_safetensors_pass(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3), "b": torch.ones(2, 2)}, tmp_path / "x.safetensors")
    check_safetensors(tmp_path / "x.safetensors")


def test_safetensors_with_a_gap_do_not(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}
    text = json.dumps(header).encode()
    file = tmp_path / "x.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(InputError, match="corrupt safetensors"):
        check_safetensors(file)


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "tpu:0", "meta", "xpu"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(InputError, match=f"device '{name}'"):
        pick_device(name)


def test_apples_gpu_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match="device 'mps': this machine"):
        pick_device("mps")


@pytest.mark.parametrize("name", ["fp16", "half", "bf16"])
def test_a_precision_that_is_not_there(name: str) -> None:
    with pytest.raises(InputError, match=rf"unknown precision '{name}'; .* Valid: auto, bfloat16"):
        pick_dtype(name, CPU)


def test_precision_is_what_was_asked_for() -> None:
    with pytest.raises(InputError, match=r"unknown precision 'fp32'.*auto, bfloat16, float32"):
        pick_dtype("fp32", CPU)
    assert pick_dtype("float32", CPU) == torch.float32
    assert pick_dtype("bfloat16", CPU) == torch.bfloat16
    assert pick_dtype("auto", CPU) in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize(
    ("takes", "chosen", "told"),
    [(0.5, torch.bfloat16, False), (1.0, torch.float32, False), (8.6, torch.float32, True)],
)
def test_a_format_that_is_slow_here_is_not_chosen_and_told_where_it_was_asked_for(
    takes: float, chosen: torch.dtype, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(precision, "_bfloat16_takes", lambda: takes)
    monkeypatch.setattr(precision, "note", said.append)
    assert pick_dtype("auto", CPU) == chosen
    assert not said
    assert pick_dtype("bfloat16", CPU) == torch.bfloat16
    assert [x for x in said if "at least 9 times as long as in float32" in x] == said
    assert len(said) == told


def test_loading_draws_no_bars_of_transformers(
    tiny_model_folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.utils.logging._tqdm_active", True)
    load_base(str(tiny_model_folder), torch.float32, CPU)
    assert "Loading weights" not in capfd.readouterr().err


def test_the_bundled_model_is_meant_by_its_name(tmp_path: Path) -> None:
    assert "Did you mean 'bundled'?" in no_such_model(tmp_path / "bundle", "bundle")


def test_what_lies_in_a_hub_repository_twice_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As gpt-oss' and Mistral's weights do."""
    import huggingface_hub

    files = [
        *("config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "README.md"),
        *("model.safetensors.index.json", "original/model.safetensors", "metal/model.bin"),
        *("consolidated.safetensors", "consolidated-00001.safetensors", "pytorch_model.bin"),
    ]
    asked: list[set[str]] = []

    def fetch(name: str, revision: str | None, **patterns: Any) -> str:
        asked.append(set(huggingface_hub.utils.filter_repo_objects(files, **patterns)))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    for kinds in (TOKENIZER, WEIGHTS):
        assert downloaded("owner/name", None, kinds) == tmp_path
    tokenizer = {"config.json", "tokenizer.json", "model.safetensors.index.json"}
    assert asked == [tokenizer, {*tokenizer, "model-00001-of-00002.safetensors"}]


def test_another_format_of_the_same_weights_is_no_part_of_a_model(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both"
    shutil.copytree(tiny_model_folder, both)
    (both / "consolidated.safetensors").write_bytes(b"not even safetensors")
    digests = [base_digest(str(folder)) for folder in (tiny_model_folder, both)]
    assert digests[0] == digests[1] == load_base(str(both), torch.float32, CPU).digest


@pytest.mark.parametrize("mapped", ["AutoConfig", "AutoModelForCausalLM"])
def test_code_that_comes_with_a_model_is_never_run_nor_asked_about(
    tiny_model_folder: Path, tmp_path: Path, mapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code beside classes of transformers' own is not needed; a model without such is refused."""
    ran, folder = tmp_path / "ran", tmp_path / "own"
    shutil.copytree(tiny_model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {mapped: "own_code.Own"}
    (folder / "own_code.py").write_text(f"open({str(ran)!r}, 'w')\n")
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    load_base(str(folder), torch.float32, CPU)
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "owned"}))
    needed = "it needs code from its own repository" if mapped == "AutoConfig" else "does not know"
    for read in (
        lambda: load_base(str(folder), torch.float32, CPU),
        lambda: load_skeleton(str(folder)),
        lambda: load_tokenizer(str(folder)),
    ):
        with pytest.raises(InputError, match=needed):
            read()
    assert not ran.exists()


def test_a_reason_has_no_address_of_a_folder_on_the_hub() -> None:
    """Which transformers gives for a folder on the disk as well."""
    missing = "/m does not appear to have a file named spk_dict.pt."
    failure = OSError(f"{missing} Checkout 'https://hub.test//m/tree/main' for available files.")
    assert reason(failure) == missing
