"""Which parameters are decayed and at which rates, and how moments are held."""

from __future__ import annotations

import importlib.util
import math
from typing import get_args

import pytest
import torch

from brulee.errors import InputError
from brulee.methods.base import ParameterGroup
from brulee.recipe import TrainSpec
from brulee.training.optim import (
    OPTIMIZERS,
    optimizer_of,
    set_learning_rate,
)


def test_a_recipe_takes_what_is_computed_and_nothing_else() -> None:
    assert get_args(TrainSpec.model_fields["optimizer"].annotation) == tuple(OPTIMIZERS)


def test_a_name_without_a_computation_is_not_another_one_in_silence() -> None:
    with pytest.raises(InputError, match="unknown optimizer 'lyon'; did you mean 'lion'"):
        optimizer_of(TrainSpec.model_construct(optimizer="lyon"), _groups(), 0.1)


def _groups() -> tuple[ParameterGroup, ParameterGroup]:
    matrix = torch.nn.Parameter(torch.ones(2, 2))
    vector = torch.nn.Parameter(torch.ones(2))
    return ParameterGroup("matrices", (matrix,)), ParameterGroup(
        "vectors", (vector,), lr_scale=4.0, decay=False
    )


def test_decay_and_rate_follow_the_group() -> None:
    matrices, vectors = _groups()
    optimizer = optimizer_of(TrainSpec(weight_decay=0.5), [matrices, vectors], 0.1)
    for group in (matrices, vectors):
        group.parameters[0].grad = torch.zeros_like(group.parameters[0])
    assert set_learning_rate(optimizer, 0.5) == pytest.approx(0.05)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.05, 0.2])
    optimizer.step()
    # With no gradient AdamW only decays: by rate times decay.
    torch.testing.assert_close(matrices.parameters[0].data, torch.full((2, 2), 1 - 0.05 * 0.5))
    torch.testing.assert_close(vectors.parameters[0].data, torch.ones(2))


def test_token_tables_have_a_rate_of_their_own() -> None:
    table, gain, matrix = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(3))
    groups = [
        ParameterGroup("all", (table, matrix)),
        ParameterGroup("gain", (gain,), lr_scale=2.0, decay=False),
    ]
    spec = TrainSpec(weight_decay=0.1, embedding_learning_rate=1e-5)
    optimizer = optimizer_of(spec, groups, 1e-3, [table])
    assert set_learning_rate(optimizer, 0.5) == 5e-4
    assert [(g["params"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        ([matrix], pytest.approx(5e-4), 0.1),
        ([gain], pytest.approx(1e-3), 0.0),
        ([table], pytest.approx(5e-6), 0.1),
    ]
    plain = optimizer_of(TrainSpec(), groups, 1e-3, [table])
    assert [g["params"] for g in plain.param_groups] == [[table, matrix], [gain]]


def test_a_step_is_adamws() -> None:
    matrices, vectors = _groups()
    optimizer = optimizer_of(TrainSpec(), [matrices, vectors], 0.1)
    for group in (matrices, vectors):
        group.parameters[0].grad = torch.full_like(group.parameters[0], 3.0)
    optimizer.step()
    # The first step of Adam is the rate itself, whatever the gradient's size.
    torch.testing.assert_close(matrices.parameters[0].data, torch.full((2, 2), 0.9))
    torch.testing.assert_close(vectors.parameters[0].data, torch.full((2,), 0.6))


def _large() -> ParameterGroup:
    """Enough values that their moments are held in 8 bits."""
    draw = torch.Generator().manual_seed(0)
    return ParameterGroup("all", (torch.nn.Parameter(torch.randn(80, 64, generator=draw)),))


def test_moments_in_8_bits_step_nearly_as_adamw() -> None:
    pytest.importorskip("bitsandbytes")
    ends = {}
    for kind in ("adamw", "adamw8bit"):
        group, draw = _large(), torch.Generator().manual_seed(1)
        optimizer = optimizer_of(TrainSpec(optimizer=kind, weight_decay=0.1), [group], 0.01)
        for _ in range(5):
            group.parameters[0].grad = torch.randn(80, 64, generator=draw)
            optimizer.step()
        ends[kind] = group.parameters[0].detach()
        state = optimizer.state[group.parameters[0]]
        bytes_ = sum(v.numel() * v.element_size() for v in state.values() if torch.is_tensor(v))
        ends[f"{kind} bytes"] = torch.tensor(bytes_)
    moved = (ends["adamw"] - _large().parameters[0].detach()).norm()
    assert (ends["adamw8bit"] - ends["adamw"]).norm() < 0.05 * moved
    assert ends["adamw8bit bytes"] < 0.4 * ends["adamw bytes"]


def test_8_bits_without_the_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"train\.optimizer: adamw8bit needs bitsandbytes"):
        optimizer_of(TrainSpec(optimizer="adamw8bit"), [_large()], 0.01)


def test_pages_need_a_gpu() -> None:
    pytest.importorskip("bitsandbytes")
    with pytest.raises(InputError, match=r"not on a GPU; valid here: adamw, adamw8bit, ad"):
        optimizer_of(TrainSpec(optimizer="paged_adamw8bit"), [_large()], 0.01)


def test_betas_and_epsilon_are_those_given() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = optimizer_of(
        TrainSpec(beta1=0.5, beta2=0.75, epsilon=1e-3), [ParameterGroup("all", (weight,))], 0.1
    )
    for gradient in (1.0, 3.0):
        weight.grad = torch.full((3,), gradient)
        optimizer.step()
    # Means of the gradients and of their squares, each over what its weights sum to.
    first = 0.1 * 1.0 / (1.0 + 1e-3)
    mean, square = (0.25 * 1 + 0.5 * 3) / 0.75, (0.1875 * 1 + 0.25 * 9) / 0.4375
    expected = 1.0 - first - 0.1 * mean / (math.sqrt(square) + 1e-3)
    assert weight.tolist() == pytest.approx([expected] * 3)
