"""Adapters are compared by what they do: of a low-rank correction the product, not its factors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.errors import InputError
from brulee.methods import build_method
from brulee.methods.adapter_files import CONFIG, OURS, WEIGHTS
from brulee.methods.base import Attached
from brulee.methods.checkpoint import open_adapter
from brulee.methods.differences import Difference, PartDifference, compare
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base
from brulee.recipe import MethodSpec

MakeBase = Callable[..., Base]
Q = "base_model.model.model.layers.0.self_attn.q_proj"


def _stored(base: Base, folder: Path, seed: int, name: str = "lora", **options: Any) -> Path:
    attached = build_method(MethodSpec(name=name, **options)).attach(base.model)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.copy_(torch.randn(parameter.shape, generator=draw))
    return _save(base, attached, folder)


def _save(base: Base, attached: Attached, folder: Path) -> Path:
    save_adapter(folder, attached, base, "tiny", "", {})
    attached.detach()
    return folder


def _compare(a: Path, b: Path) -> Difference:
    return compare(open_adapter(a), open_adapter(b))


def _part(found: Difference, name: str) -> PartDifference:
    return next(part for part in found.parts if part.name == name)


@pytest.fixture
def base(make_base: MakeBase) -> Base:
    return make_base("llama")


def test_an_adapter_is_the_same_as_itself(base: Base, tmp_path: Path) -> None:
    a = _stored(base, tmp_path / "a", 0)
    found = _compare(a, a)
    assert all(part.same and part.relative == 0.0 for part in found.parts)
    assert found.cosine == pytest.approx(1.0)
    assert (found.relative, found.only_a, found.only_b) == (0.0, (), ())


@pytest.mark.parametrize("rslora", [False, True])
def test_products_are_measured_as_if_they_were_formed(
    base: Base, tmp_path: Path, rslora: bool
) -> None:
    a = _stored(base, tmp_path / "a", 0, rank=3, alpha=5.0, rslora=rslora)
    b = _stored(base, tmp_path / "b", 1, rank=5, alpha=7.0, ranks={"q_proj": 2})
    found = _part(_compare(a, b), Q)
    tensors = [open_adapter(folder).tensors() for folder in (a, b)]
    wide = [t[f"{Q}.lora_B.weight"].double() @ t[f"{Q}.lora_A.weight"].double() for t in tensors]
    scale = 5.0 / 3**0.5 if rslora else 5.0 / 3
    first, second = scale * wide[0], 7.0 / 2 * wide[1]
    assert found.kind == "product"
    assert found.norm_a == pytest.approx(first.norm().item())
    assert found.norm_b == pytest.approx(second.norm().item())
    assert found.relative == pytest.approx(((first - second).norm() / first.norm()).item())
    cosine = torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0)
    assert found.cosine == pytest.approx(cosine.item())


def test_turned_factors_of_one_product_are_no_difference(base: Base, tmp_path: Path) -> None:
    method = build_method(MethodSpec(name="lora", rank=4))
    a = _stored(base, tmp_path / "a", 0, rank=4)
    attached = method.attach(base.model)
    turned = open_adapter(a).tensors()
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(3)))
    for key, tensor in turned.items():
        turned[key] = 2 * rotation @ tensor if "lora_A" in key else tensor @ rotation.T / 2
    attached.load(turned)
    found = _compare(a, _save(base, attached, tmp_path / "b"))
    assert found.relative is not None
    assert found.relative < 1e-6
    assert not any(part.same for part in found.parts), "the factors do differ"


def test_the_scale_counts(base: Base, tmp_path: Path) -> None:
    a = _stored(base, tmp_path / "a", 0, alpha=8.0)
    b = _stored(base, tmp_path / "b", 0, alpha=16.0)
    found = _compare(a, b)
    assert found.relative == pytest.approx(1.0)
    assert found.cosine == pytest.approx(1.0)


def test_the_most_different_part_comes_first(base: Base, tmp_path: Path) -> None:
    a = _stored(base, tmp_path / "a", 0, name="ia3")
    attached = build_method(MethodSpec(name="ia3")).attach(base.model)
    tensors = open_adapter(a).tensors()
    changed = sorted(tensors)[3]
    tensors[changed] = -tensors[changed]
    attached.load(tensors)
    found = _compare(a, _save(base, attached, tmp_path / "b"))
    assert found.parts[0].name == changed
    assert found.parts[0].relative == pytest.approx(2.0)
    assert found.parts[0].cosine == pytest.approx(-1.0)
    assert all(part.same for part in found.parts[1:])


def test_what_only_one_has_and_other_shapes_are_told(base: Base, tmp_path: Path) -> None:
    a = _stored(base, tmp_path / "a", 0, target=["q_proj", "v_proj"])
    b = _stored(base, tmp_path / "b", 0, target=["q_proj", "o_proj"])
    found = _compare(a, b)
    assert len(found.only_a) == len(found.only_b) == 2
    assert all("v_proj" in name for name in found.only_a)
    short = _stored(base, tmp_path / "short", 0, name="prompt", tokens=3)
    long = _stored(base, tmp_path / "long", 0, name="prompt", tokens=4)
    found = _compare(short, long)
    assert (found.parts[0].relative, found.parts[0].cosine, found.relative) == (None, None, None)


def test_a_correction_of_zero_has_no_cosine(base: Base, tmp_path: Path) -> None:
    fresh = build_method(MethodSpec(name="lora")).attach(base.model)
    a = _save(base, fresh, tmp_path / "a")
    found = _compare(a, _stored(base, tmp_path / "b", 0))
    assert found.relative is None
    assert found.cosine is None
    assert _compare(a, a).parts[0].same


def test_nothing_in_common_is_refused(base: Base, tmp_path: Path) -> None:
    a, b = _stored(base, tmp_path / "a", 0), _stored(base, tmp_path / "b", 0, name="ia3")
    with pytest.raises(InputError, match="no tensor in common"):
        _compare(a, b)


def test_damage_is_refused(base: Base, tmp_path: Path) -> None:
    a = _stored(base, tmp_path / "a", 0)
    (a / WEIGHTS).write_bytes((a / WEIGHTS).read_bytes()[:-1])
    with pytest.raises(InputError, match="corrupt"):
        _compare(a, a)


def test_tensors_of_another_method_than_the_configuration_says(base: Base, tmp_path: Path) -> None:
    lora, ia3 = _stored(base, tmp_path / "lora", 0), _stored(base, tmp_path / "ia3", 0, "ia3")
    shutil.copy(lora / WEIGHTS, ia3 / WEIGHTS)
    (ia3 / OURS).unlink()
    with pytest.raises(InputError, match=f"{CONFIG}: it is of method ia3, but the tensors of .*"):
        _compare(lora, ia3)
