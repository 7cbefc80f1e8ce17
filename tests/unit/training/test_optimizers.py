"""Adafactor, Muon and Lion beside other implementations, and which parameters are whose."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from brulee import progress
from brulee.errors import InputError
from brulee.methods import build_method
from brulee.methods.base import ParameterGroup
from brulee.models.loading import Base
from brulee.recipe import MethodSpec, TrainSpec
from brulee.training import checkpoint
from brulee.training.muon import orthogonal
from brulee.training.optim import OPTIMIZERS, check_optimizer, optimizer_of

SHAPES = ((6, 4), (4, 6), (6, 4), (3, 5, 4))


def _drawn(*shapes: tuple[int, ...], seed: int = 0) -> tuple[nn.Parameter, ...]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(nn.Parameter(torch.randn(shape, generator=draw)) for shape in shapes)


def _steps(
    optimizer: torch.optim.Optimizer, parameters: tuple[nn.Parameter, ...], seeds: range
) -> None:
    for seed in seeds:
        draw = torch.Generator().manual_seed(100 + seed)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=draw) * 10.0**-seed
        optimizer.step()


def _same(found: tuple[nn.Parameter, ...], expected: tuple[nn.Parameter, ...], off: float) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.detach(), theirs.detach(), rtol=off, atol=off)


def test_adafactor_steps_as_that_of_transformers() -> None:
    from transformers.optimization import Adafactor

    own, theirs = _drawn(*SHAPES, (7,)), _drawn(*SHAPES, (7,))
    spec = TrainSpec(optimizer="adafactor", weight_decay=0.1)
    _steps(optimizer_of(spec, [ParameterGroup("all", own)], 0.01), own, range(4))
    settings: dict[str, Any] = {"relative_step": False, "scale_parameter": False}
    _steps(Adafactor(theirs, lr=0.01, weight_decay=0.1, **settings), theirs, range(4))
    _same(own, theirs, 1e-6)


def test_muon_steps_as_that_of_torch() -> None:
    # Theirs takes one matrix at a time, and multiplies in bfloat16.
    own, theirs = _drawn(*SHAPES[:3]), _drawn(*SHAPES[:3])
    before = [parameter.detach().clone() for parameter in own]
    spec = TrainSpec(optimizer="muon", weight_decay=0.1)
    _steps(optimizer_of(spec, [ParameterGroup("all", own, maps=True)], 0.01), own, range(4))
    like = torch.optim.Muon(
        theirs, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    _steps(like, theirs, range(4))
    for mine, other, begun in zip(own, theirs, before, strict=True):
        assert (mine - other).norm() < 0.02 * (other - begun).norm()


@pytest.mark.parametrize(("beta2", "mean"), [(None, 0.99), (0.9, 0.9)])
def test_lion_steps_as_its_algorithm(beta2: float | None, mean: float) -> None:
    """Chen et al. 2023, algorithm 2, weight by weight."""
    (own,) = _drawn((7,))
    weights, momenta, rate, decay = own.tolist(), [0.0] * 7, 0.01, 0.3
    spec = TrainSpec(optimizer="lion", weight_decay=decay, beta1=0.8, beta2=beta2)
    optimizer = optimizer_of(spec, [ParameterGroup("all", (own,))], rate)
    for seed in range(5):
        # Gradients of changing sign, so that momentum outvotes some of them.
        gradients = torch.randn(7, generator=torch.Generator().manual_seed(seed)).tolist()
        for i, gradient in enumerate(gradients):
            sign = math.copysign(1.0, 0.8 * momenta[i] + 0.2 * gradient)
            weights[i] -= rate * (sign + decay * weights[i])
            momenta[i] = mean * momenta[i] + (1 - mean) * gradient
        own.grad = torch.tensor(gradients)
        optimizer.step()
    assert own.tolist() == pytest.approx(weights, rel=1e-5)
    (state,) = optimizer.state.values()
    assert state["momentum"].tolist() == pytest.approx(momenta, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("shape", [(5, 5), (40, 8), (8, 40), (3, 6, 20)])
def test_made_orthogonal_only_the_directions_are_left(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(1)
    smaller = min(shape[-2:])
    u, _ = torch.linalg.qr(torch.randn((*shape[:-1], smaller), generator=draw))
    v, _ = torch.linalg.qr(torch.randn((*shape[:-2], shape[-1], smaller), generator=draw))
    values = torch.logspace(0, -1.5, smaller)
    made = orthogonal(u * values @ v.mT)
    torch.testing.assert_close(made, u @ (u.mT @ made @ v) @ v.mT)
    inside = u.mT @ made @ v
    held = inside.diagonal(dim1=-2, dim2=-1)
    assert ((held > 0.6) & (held < 1.25)).all()
    assert (inside - torch.diag_embed(held)).abs().max() < 1e-4
    assert not orthogonal(torch.zeros(shape)).any()


def test_matrices_of_one_shape_move_as_each_does_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TrainSpec(optimizer="muon")
    ends = []
    for most in (1 << 24, 1):
        monkeypatch.setattr("brulee.training.muon._TOGETHER", most)
        own = _drawn(*[(12, 8)] * 3, (3, 12, 8))
        _steps(optimizer_of(spec, [ParameterGroup("all", own, maps=True)], 0.01), own, range(3))
        ends.append(own)
    _same(*ends, 1e-6)


def test_what_is_no_map_moves_by_adamw_at_the_rate_of_the_step() -> None:
    from brulee.training.optim import set_learning_rate

    spec = {"weight_decay": 0.1, "beta2": 0.9, "epsilon": 0.5}
    ends = []
    for kind, more in (("muon", _drawn((4, 4))), ("adamw", ())):
        own = _drawn((5, 3), (4,))
        groups = [ParameterGroup("maps", more, maps=True)] if more else []
        groups += [
            ParameterGroup("tables", own[:1]),
            ParameterGroup("vectors", own[1:], decay=False),
        ]
        optimizer = optimizer_of(TrainSpec.model_validate({"optimizer": kind, **spec}), groups, 1.0)
        for share in (0.1, 0.01):
            set_learning_rate(optimizer, share)
            _steps(optimizer, own, range(1))
        ends.append(own)
    _same(*ends, 0.0)


@pytest.mark.parametrize("kind", [k for k in OPTIMIZERS if "8bit" not in k])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_checkpoint_has_all_of_it(kind: str, steps: int, tmp_path: Path) -> None:
    def made() -> tuple[tuple[nn.Parameter, ...], torch.optim.Optimizer]:
        own = _drawn(*SHAPES, (7,))
        groups = [ParameterGroup("maps", own[:-1], maps=True), ParameterGroup("vectors", own[-1:])]
        return own, optimizer_of(TrainSpec.model_validate({"optimizer": kind}), groups, 0.01)

    straight, optimizer = made()
    _steps(optimizer, straight, range(steps))
    checkpoint.save(tmp_path, 1, straight, optimizer, {}, 1)
    _steps(optimizer, straight, range(steps, steps + 2))
    resumed, again = made()
    found = checkpoint.newest(tmp_path)
    assert found is not None
    checkpoint.restore(found, resumed, again)
    _steps(again, resumed, range(steps, steps + 2))
    _same(resumed, straight, 0.0)


def test_fewer_numbers_are_kept() -> None:
    held = {}
    for kind in ("adamw", "adafactor", "muon", "lion"):
        own = _drawn((40, 30))
        spec = TrainSpec.model_validate({"optimizer": kind})
        optimizer = optimizer_of(spec, [ParameterGroup("maps", own, maps=True)], 0.01)
        _steps(optimizer, own, range(1))
        kept = optimizer.state[own[0]].values()
        held[kind] = sum(v.numel() for v in kept if isinstance(v, torch.Tensor) and v.ndim)
    assert held == {"adamw": 2 * 1200, "adafactor": 70, "muon": 1200, "lion": 1200}


MAPS = {
    "full": ("llama", {}, 14),  # seven matrices in each of two layers
    "lora": ("llama", {"target": ["q_proj", "embed_tokens"]}, 4),
    "bottleneck": ("llama", {}, 4),
    "selective": ("llama", {"train": "layers", "layers": {"last": 1}}, 7),
    "prompt": ("llama", {}, 0),
    "prefix": ("llama", {}, 0),
    "ia3": ("llama", {}, 0),
}


@pytest.mark.parametrize("method", MAPS)
def test_which_parameters_are_matrices_of_maps(method: str, make_base: Callable[..., Base]) -> None:
    name, options, count = MAPS[method]
    model = make_base(name).model
    head, words = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    attached = build_method(MethodSpec(name=method, **options)).attach(model)
    groups = attached.groups()
    maps = [p for group in groups if group.maps for p in group.parameters]
    assert len(maps) == count
    assert all(p.ndim >= 2 and p is not head and p is not words for p in maps)
    every = [id(p) for group in groups for p in group.parameters]
    assert len(every) == len(set(every))
    assert sum(p.numel() for group in groups for p in group.parameters) == attached.trainable()


def test_matrices_of_experts_are_maps_and_routers_too(make_base: Callable[..., Base]) -> None:
    model = make_base("llama").model
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8}
    experts = Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            **small, num_key_value_heads=1, num_experts=4, num_experts_per_tok=2, vocab_size=40,
            moe_intermediate_size=8, intermediate_size=16, tie_word_embeddings=False,
        )
    )  # fmt: skip
    for one in (model, experts):
        one.requires_grad_(True)
    groups = build_method(MethodSpec(name="full")).attach(experts).groups()
    by_id = {id(p): n for n, p in experts.named_parameters()}
    maps = {by_id[id(p)] for group in groups if group.maps for p in group.parameters}
    stacked = {n for n, p in experts.named_parameters() if p.ndim == 3}
    assert stacked
    assert stacked <= maps
    assert not {n for n in maps if "embed" in n or "lm_head" in n or "norm" in n}


@pytest.mark.parametrize(("method", "said"), [("lora", False), ("prompt", True)])
def test_where_muon_has_nothing_to_move_it_is_said(
    method: str, said: bool, make_trainer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"tokens": 2} if method == "prompt" else {}
    with progress.shown(True):
        make_trainer(method=method, options=options, optimizer="muon", max_steps=1).train()
    assert ("so all moves by AdamW" in capsys.readouterr().err) == said


@pytest.mark.parametrize("key", ["beta1", "beta2", "epsilon"])
def test_what_adafactor_has_not_is_said(key: str) -> None:
    spec = TrainSpec.model_validate({"optimizer": "adafactor", key: 0.5})
    with pytest.raises(InputError, match=rf"train\.{key}: adafactor has none; leave it out"):
        check_optimizer(spec, on_gpu=False)
    check_optimizer(TrainSpec.model_validate({"optimizer": "muon", key: 0.5}), on_gpu=False)


def test_lion_has_no_epsilon() -> None:
    with pytest.raises(InputError, match=r"train\.epsilon: lion has none; leave it out"):
        check_optimizer(TrainSpec(optimizer="lion", epsilon=1e-6), on_gpu=False)
    check_optimizer(TrainSpec(optimizer="lion", beta1=0.95, beta2=0.98), on_gpu=False)
