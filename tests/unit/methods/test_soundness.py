"""Damage to a stored adapter of any method: what is seen, and what cannot be.

With brulee.json beside it, which holds digests, every changed bit of the tensors and of the
configuration is refused. Without it (PEFT writes none) a changed bit of a value is a value like
others unless it is the highest of the exponent, which makes it enormous or not finite.
"""

from __future__ import annotations

import json
import pickle
import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from brulee.errors import InputError
from brulee.methods import METHODS, build_method
from brulee.methods.adapter_files import CONFIG, OURS, WEIGHTS
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base
from brulee.recipe import MethodSpec

MakeBase = Callable[..., Base]
ADAPTERS = [name for name, method in METHODS.items() if not method.stores_model]


@pytest.fixture(scope="module")
def base(make_base: MakeBase) -> Base:
    return make_base("llama")


@pytest.fixture(scope="module", params=ADAPTERS)
def whole(
    request: pytest.FixtureRequest, base: Base, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An undamaged adapter of every method; not to be written to."""
    folder = tmp_path_factory.mktemp(request.param)
    attached = build_method(MethodSpec(name=request.param)).attach(base.model)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
    save_adapter(folder, attached, base, "tiny", "a card", {})
    attached.detach()
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """The same, to damage."""
    shutil.copytree(whole, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def foreign(folder: Path) -> Path:
    """Without our record, as if somebody else had written it."""
    (folder / OURS).unlink()
    return folder


def _refusal(folder: Path, base: Base) -> str:
    before = _state(base)
    with pytest.raises(InputError) as refusal:
        attach_adapter(open_adapter(folder), base)
    assert _state(base) == before, "something was left on the base"
    assert str(refusal.value).startswith(str(folder)), "it does not say which file"
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def _state(base: Base) -> dict[str, Any]:
    modules = {name: type(module) for name, module in base.model.named_modules()}
    parameters = base.model.named_parameters()
    return modules | {n: (p._version, p.requires_grad) for n, p in parameters}


def _bytes_of_values(folder: Path) -> range:
    content = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return range(8 + length, len(content))


def _flip(path: Path, content: bytes, at: int, bit: int) -> None:
    damaged = bytearray(content)
    damaged[at] ^= 1 << bit
    path.write_bytes(damaged)


def test_undamaged_it_loads(folder: Path, base: Base) -> None:
    attach_adapter(open_adapter(folder), base).detach()
    (folder / OURS).unlink()
    attach_adapter(open_adapter(folder), base).detach()


def test_any_flipped_bit_of_the_values_is_seen(folder: Path, base: Base) -> None:
    content, draw = (folder / WEIGHTS).read_bytes(), random.Random(0)
    for at in draw.sample(_bytes_of_values(folder), 20):
        _flip(folder / WEIGHTS, content, at, draw.randrange(8))
        assert "digest differs" in _refusal(folder, base)


def test_any_flipped_bit_of_the_configuration_is_seen_or_says_the_same(
    folder: Path, base: Base
) -> None:
    content, draw = (folder / CONFIG).read_bytes(), random.Random(0)
    kept = {k: v for k, v in json.loads(content).items() if k != "base_model_name_or_path"}
    seen = 0
    for at in draw.sample(range(len(content)), 40):
        _flip(folder / CONFIG, content, at, draw.randrange(7))
        try:
            attach_adapter(open_adapter(folder), base).detach()
        except InputError as error:
            seen += "digest differs" in str(error) or CONFIG in str(error)
        else:
            # White space, or where the base lies.
            found = json.loads((folder / CONFIG).read_text())
            assert kept == {k: v for k, v in found.items() if k in kept}
    assert seen > 15


def test_where_the_base_lies_may_be_changed(folder: Path, base: Base) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": "/elsewhere"}))
    attach_adapter(open_adapter(folder), base).detach()


@pytest.mark.parametrize("key", ["tensors_digest", "base"])
def test_a_record_without_digests_is_refused(folder: Path, base: Base, key: str) -> None:
    record = json.loads((folder / OURS).read_text())
    without = {k: v for k, v in record.items() if k != key}
    for given in (without, {**record, "tensors_digest": None}):
        (folder / OURS).write_text(json.dumps(given))
        assert "needed to detect damage" in _refusal(folder, base)


def test_a_truncated_file(foreign: Path, base: Base) -> None:
    content = (foreign / WEIGHTS).read_bytes()
    for kept in (0, 5, 8, 60, len(content) // 2, len(content) - 1):
        (foreign / WEIGHTS).write_bytes(content[:kept])
        assert "corrupt safetensors" in _refusal(foreign, base)


def test_a_header_of_ten_gigabytes(foreign: Path, base: Base) -> None:
    content = (foreign / WEIGHTS).read_bytes()
    (foreign / WEIGHTS).write_bytes(struct.pack("<Q", 10 * 2**30) + content[8:])
    assert "its header claims 10737418240 bytes" in _refusal(foreign, base)


def test_a_wrong_shape_a_missing_a_strange_and_a_spoilt_tensor(foreign: Path, base: Base) -> None:
    tensors = load_file(foreign / WEIGHTS)
    key = max(tensors)
    damaged: dict[str, dict[str, torch.Tensor]] = {
        "has shape (5, 3, 2)": {**tensors, key: torch.ones(5, 3, 2)},
        f"lacks tensor {key!r}": {k: t for k, t in tensors.items() if k != key},
        "has unknown tensor 'model.extra'": {**tensors, "model.extra": torch.ones(1)},
        "holds NaN or infinite": {**tensors, key: tensors[key] * float("nan")},
        "holds a value of 1.0e+20": {**tensors, key: torch.full_like(tensors[key], 1e20)},
        "holds torch.int64": {**tensors, key: tensors[key].long()},
        "is stored as F8_E4M3": {**tensors, key: tensors[key].to(torch.float8_e4m3fn)},
        "is stored as BOOL": {**tensors, key: tensors[key].bool()},
        "is stored as C64": {**tensors, key: tensors[key].to(torch.complex64)},
    }
    for said, changed in damaged.items():
        save_file(changed, foreign / WEIGHTS)
        assert said in _refusal(foreign, base)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a..b", "/root", "a/b", "", "a b", "a\n"])
def test_a_tensors_name_that_is_a_path_or_none(foreign: Path, base: Base, name: str) -> None:
    save_file({**load_file(foreign / WEIGHTS), name: torch.ones(1)}, foreign / WEIGHTS)
    assert f"{name!r} names no module" in _refusal(foreign, base)


def test_a_base_behind_two_dots(folder: Path) -> None:
    record = json.loads((folder / OURS).read_text())
    record["base"]["source"] = "../../models/other"
    (folder / OURS).write_text(json.dumps(record))
    with pytest.raises(
        InputError, match=r"brulee\.json: it names its base '\.\./\.\./models/other'"
    ):
        _ = open_adapter(folder).base_name
    (folder / OURS).unlink()
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": "a/../b"}))
    with pytest.raises(InputError, match=r"adapter_config\.json: it names its base 'a/\.\./b'"):
        _ = open_adapter(folder).base_name


def test_a_local_base_is_named_by_its_whole_path(base: Base, tmp_path: Path) -> None:
    """However the recipe spells it, and wherever the recipe lies."""
    model = tmp_path / "models" / "tiny"
    model.mkdir(parents=True)
    (model / "tiny.gguf").touch()
    local = replace(base, folder=model)
    attached = build_method(MethodSpec(name="ia3")).attach(base.model)
    named = {"../models/tiny": model, "models/tiny.gguf": model / "tiny.gguf", "owner/tiny2": None}
    for source, whole in named.items():
        save_adapter(tmp_path / "adapter", attached, local, source, "", {})
        expected = source if whole is None else str(whole.resolve())
        assert open_adapter(tmp_path / "adapter").base_name == expected
    attached.detach()


def test_a_pickle_is_not_opened(foreign: Path, base: Base, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    for name in (WEIGHTS, "adapter_model.bin"):
        (foreign / WEIGHTS).unlink(missing_ok=True)
        (foreign / name).write_bytes(pickle.dumps(_Trap(str(sprung))))
        said = _refusal(foreign, base)
        assert "corrupt safetensors" in said or "adapter_model.bin is not read" in said
    assert not sprung.exists()


class _Trap:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


def test_another_base_of_the_same_sizes(folder: Path, make_base: MakeBase) -> None:
    assert "llama-1" in _refusal(folder, make_base("llama", seed=1))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("lora", {"r": 10**9}),
        ("lora", {"rank_pattern": {"q_proj": 10**9}}),
        ("prompt", {"num_virtual_tokens": 10**9}),
        ("prefix", {"num_virtual_tokens": 10**9}),
        ("bottleneck", {"width": 10**9}),
    ],
    ids=str,
)
def test_a_size_that_would_fill_the_memory(
    base: Base, tmp_path: Path, name: str, change: dict[str, Any]
) -> None:
    attached = build_method(MethodSpec(name=name)).attach(base.model)
    save_adapter(tmp_path, attached, base, "tiny", "", {})
    attached.detach()
    (tmp_path / OURS).unlink()
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**config, **change}))
    assert "= 1000000000, but no stored tensor is longer than" in _refusal(tmp_path, base)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NaN", "NaN is not a finite number"),
        ("-Infinity", "not a finite number"),
        ("1e999", "1e999 is not a finite number"),
        ("[" * 100_000, "not valid JSON"),
        ('"' + "x" * 17_000_000 + '"', "bytes long; at most"),
    ],
    ids=["nan", "infinity", "overflow", "deep", "long"],
)
@pytest.mark.parametrize("name", [CONFIG, OURS])
def test_json_that_would_do_harm(
    base: Base, tmp_path: Path, name: str, text: str, said: str
) -> None:
    attached = build_method(MethodSpec(name="lora")).attach(base.model)
    save_adapter(tmp_path, attached, base, "tiny", "", {})
    attached.detach()
    content = (tmp_path / name).read_text().rstrip().removesuffix("}")
    (tmp_path / name).write_text(f'{content}, "more": {text}}}')
    assert said in _refusal(tmp_path, base)


def test_without_digests_only_the_highest_bit_of_the_exponent_shows(
    foreign: Path, base: Base
) -> None:
    """Of the 32 bits of a value, what a flip of each one does, on 64 values of each method."""
    content, draw = (foreign / WEIGHTS).read_bytes(), random.Random(1)
    values = _bytes_of_values(foreign)
    floats = np.frombuffer(content[values.start :], "<f4")
    # Ordinary values: not zero, below 2.
    ordinary = [i for i in range(len(floats)) if 1e-6 < abs(floats[i]) < 2]
    seen = dict.fromkeys((0, 10, 22, 23, 27, 29, 30, 31), 0)
    for bit in seen:
        for i in draw.sample(ordinary, 4):
            _flip(foreign / WEIGHTS, content, values.start + 4 * i + bit // 8, bit % 8)
            try:
                attach_adapter(open_adapter(foreign), base).detach()
            except InputError as error:
                seen[bit] += any(s in str(error) for s in ("no training gives", "NaN or infinite"))
    assert seen.pop(30) == 4
    assert not any(seen.values())
