"""Adapters that are damaged, foreign or malicious: each refused in a sentence that names what."""

from __future__ import annotations

import json
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from brulee.errors import InputError
from brulee.methods.adapter_files import CONFIG, OURS, WEIGHTS
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.lora import LoRA, LoRAOptions
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base

MakeBase = Callable[..., Base]
A_KEY = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture
def base(make_base: MakeBase) -> Base:
    return make_base("llama")


@pytest.fixture
def folder(make_base: MakeBase, tmp_path: Path) -> Path:
    """A whole adapter, as this project writes it."""
    made_on = make_base("llama")
    method = LoRA(LoRAOptions(rank=2, target=["q_proj", "v_proj"]))
    save_adapter(tmp_path, method.attach(made_on.model), made_on, "tiny", "a card", {})
    return tmp_path


@pytest.fixture
def foreign(folder: Path) -> Path:
    """The same without our own file: nothing but the contents themselves can be checked."""
    (folder / OURS).unlink()
    return folder


def _refusal(folder: Path, base: Base) -> str:
    """The one sentence, after making sure that the base was left alone."""
    before = {n: p.detach().clone() for n, p in base.model.named_parameters()}
    with pytest.raises(InputError) as refusal:
        attach_adapter(open_adapter(folder), base)
    after = dict(base.model.named_parameters())
    assert after.keys() == before.keys(), "modules were left on the base"
    assert all(torch.equal(after[n], before[n]) for n in before)
    return str(refusal.value)


def _edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def _edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def test_whole_adapters_are_not_refused(folder: Path, base: Base) -> None:
    attach_adapter(open_adapter(folder), base).detach()
    (folder / OURS).unlink()
    attach_adapter(open_adapter(folder), base)


def test_another_base(folder: Path, make_base: MakeBase) -> None:
    said = _refusal(folder, make_base("llama", seed=1))
    assert "made for the base 'tiny' with digest llama-0" in said
    assert "llama-1" in said


def test_a_missing_tensor(foreign: Path, base: Base) -> None:
    _edit_tensors(foreign, lambda tensors: tensors.pop(A_KEY))
    assert f"lacks tensor {A_KEY!r}" in _refusal(foreign, base)


def test_an_extra_tensor(foreign: Path, base: Base) -> None:
    _edit_tensors(foreign, lambda tensors: tensors.update(more=torch.ones(1)))
    assert "unknown tensor 'more'" in _refusal(foreign, base)


def test_a_wrong_shape(foreign: Path, base: Base) -> None:
    _edit_tensors(foreign, lambda tensors: tensors.update({A_KEY: torch.ones(3, 32)}))
    said = _refusal(foreign, base)
    assert A_KEY in said
    assert "(3, 32)" in said
    assert "(2, 32)" in said


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(foreign: Path, base: Base, value: float) -> None:
    _edit_tensors(foreign, lambda tensors: tensors[A_KEY].view(-1)[5].fill_(value))
    said = _refusal(foreign, base)
    assert A_KEY in said
    assert "NaN" in said


@pytest.mark.parametrize("kept", [0, 7, 100, -1, -4000])
def test_a_truncated_file(folder: Path, base: Base, kept: int) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:kept])
    said = _refusal(folder, base)
    assert str(folder / WEIGHTS) in said
    assert "corrupt safetensors" in said


def test_a_flipped_byte_of_a_weight(folder: Path, base: Base) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-100] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    said = _refusal(folder, base)
    assert str(folder / WEIGHTS) in said
    assert "digest differs" in said


def test_no_flipped_byte_of_the_header_gets_through_or_crashes(foreign: Path, base: Base) -> None:
    """Without a digest to compare: refused in a sentence, or the tensors that it had."""
    content = (foreign / WEIGHTS).read_bytes()
    expected = {k: t.shape for k, t in load_file(foreign / WEIGHTS).items()}
    (length,) = struct.unpack("<Q", content[:8])
    refusals = []
    for at in range(8 + length):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        (foreign / WEIGHTS).write_bytes(damaged)
        try:
            attached = attach_adapter(open_adapter(foreign), base)
        except InputError as error:
            refusals.append(str(error))
        else:
            # What may change unseen is the padding, the metadata and tensors' order.
            found = attached.tensors()
            attached.detach()
            assert {k: t.shape for k, t in found.items()} == expected
    assert all(said.startswith(f"{foreign / WEIGHTS}: ") for said in refusals)
    assert len(refusals) > 0.7 * length


@pytest.mark.parametrize("offsets", [["a", "b"], [0], None, [0, -1], [0, 1e9], [64, 0]])
def test_offsets_that_make_no_sense(foreign: Path, base: Base, offsets: Any) -> None:
    header = {A_KEY: {"dtype": "F32", "shape": [2, 32], "data_offsets": offsets}}
    text = json.dumps(header).encode()
    (foreign / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + bytes(256))
    assert "corrupt safetensors" in _refusal(foreign, base)


@pytest.mark.parametrize("text", [b"[" * 50_000, b"[1, 2]", b'"x"', b"\xff\xfe", b'{"a": 1}'])
def test_headers_that_are_not_headers(foreign: Path, base: Base, text: bytes) -> None:
    (foreign / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text)
    assert "corrupt safetensors" in _refusal(foreign, base)


def test_a_header_that_claims_ten_gigabytes(folder: Path, base: Base) -> None:
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", 10 * 2**30) + b"{}")
    said = _refusal(folder, base)
    assert "10737418240 bytes" in said
    assert "the file has 10" in said


def test_a_pickle_under_the_name_of_safetensors_is_not_opened(
    folder: Path, base: Base, tmp_path: Path
) -> None:
    trap = tmp_path / "sprung"
    (folder / WEIGHTS).write_bytes(pickle.dumps(_Trap(str(trap))))
    assert "corrupt safetensors" in _refusal(folder, base)
    assert not trap.exists()


class _Trap:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return Path.touch, (Path(self.path),)  # type: ignore[return-value]


def test_a_pickle_under_its_own_name_is_named_and_not_opened(
    folder: Path, base: Base, tmp_path: Path
) -> None:
    trap = tmp_path / "sprung"
    (folder / WEIGHTS).unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(_Trap(str(trap))))
    said = _refusal(folder, base)
    assert "adapter_model.bin is not read: only safetensors is" in said
    assert not trap.exists()


@pytest.mark.parametrize("kind", ["IA4", "", None, "XLORA"])
def test_an_unknown_method(folder: Path, base: Base, kind: Any) -> None:
    _edit(folder / CONFIG, peft_type=kind)
    said = _refusal(folder, base)
    assert str(folder / CONFIG) in said
    assert re.search("peft_type .* valid: .*LORA", said)


@pytest.mark.parametrize(
    ("key", "value"),
    [("use_qalora", True), ("lora_bias", True), ("bias", "all")],
)
def test_settings_that_are_not_computed_here(
    folder: Path, base: Base, key: str, value: Any
) -> None:
    _edit(folder / CONFIG, **{key: value})
    assert f"{key} = {value!r} is not supported" in _refusal(folder, base)


@pytest.mark.parametrize("key", ["r", "lora_alpha", "target_modules"])
def test_a_setting_that_is_missing(folder: Path, base: Base, key: str) -> None:
    config = json.loads((folder / CONFIG).read_text())
    del config[key]
    (folder / CONFIG).write_text(json.dumps(config))
    assert f"{key!r} is missing" in _refusal(folder, base)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("r", "eight", "valid integer"),
        ("r", 0, "greater than or equal to 1"),
        ("lora_alpha", None, "valid number"),
        ("lora_dropout", 2, "less than 1"),
        ("target_modules", 3, "valid string"),
        ("target_modules", [], "at least 1 item"),
    ],
)
def test_a_setting_of_the_wrong_type_is_named_as_the_file_does(
    folder: Path, base: Base, key: str, value: Any, wanted: str
) -> None:
    _edit(folder / CONFIG, **{key: value})
    said = _refusal(folder, base)
    start = f"{folder / CONFIG}: not a LoRA configuration: {key} = {value!r} is not valid: "
    assert said.startswith(start)
    assert wanted in said.removeprefix(start)


def test_a_pattern_with_a_wrong_rank_is_named_as_the_file_does(folder: Path, base: Base) -> None:
    _edit(folder / CONFIG, rank_pattern={"q_proj": "x"})
    assert "rank_pattern.q_proj = 'x' is not valid" in _refusal(folder, base)


def test_a_target_the_base_lacks(folder: Path, make_base: MakeBase) -> None:
    (folder / OURS).unlink()
    said = _refusal(folder, make_base("gpt2"))
    assert said.startswith(f"{folder / CONFIG}: method.target: no linear module")
    assert "'q_proj'" in said


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
@pytest.mark.parametrize("name", [CONFIG, OURS])
def test_files_that_are_not_json(folder: Path, base: Base, name: str, text: str) -> None:
    (folder / name).write_text(text)
    assert str(folder / name) in _refusal(folder, base)


@pytest.mark.parametrize("ours", [{"base": "tiny"}, {"base": {"digest": 5}}, {"base": None}])
def test_our_own_file_tampered_with(folder: Path, base: Base, ours: dict[str, Any]) -> None:
    (folder / OURS).write_text(json.dumps(ours))
    assert str(folder) in _refusal(folder, base)


@pytest.mark.parametrize("key", ["method", "merged"])
@pytest.mark.parametrize("value", ["x", [1], None])
def test_a_part_of_our_own_file_of_another_type(
    folder: Path, base: Base, key: str, value: Any
) -> None:
    _edit(folder / OURS, **{key: value})
    assert f"{folder / OURS}: {key!r} must hold the " in _refusal(folder, base)


def test_a_folder_where_the_tensors_should_be(folder: Path, base: Base) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()
    assert _refusal(folder, base).startswith(f"{folder / WEIGHTS}: a folder, where the file")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file(folder: Path, base: Base, name: str) -> None:
    (folder / name).unlink()
    said = _refusal(folder, base)
    assert str(folder) in said
    assert name in said
