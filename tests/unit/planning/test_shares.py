"""What a process has of a sharded model; that it is what `shard` gives it, several.py checks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import PreTrainedModel

from brulee.models.shard_layers import shard_layers
from brulee.planning.memory import Memory
from brulee.planning.shares import in_each, shares_of
from brulee.training.world import sharing_processes

WHOLE = Memory(
    weights=1_000_000, gradients=8_000, optimizer=16_000,
    activations=5, logits=4, runtime=3, saving=2,
)  # fmt: skip


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_rows_are_divided_and_layers_gathered(
    make_model: Callable[..., PreTrainedModel], processes: int
) -> None:
    model = make_model("llama", tie_word_embeddings=False, num_hidden_layers=3)
    layers = [sum(4 * p.numel() for p in m.parameters()) for m in model.model.layers]
    size = sum(4 * p.numel() for p in model.parameters())
    found = shares_of(model, (), processes)
    assert found.whole == size
    # The first has a row more of what cannot be divided.
    assert size / processes <= found.held <= 1.1 * size / processes
    assert found.gathered == size - sum(layers) + 2 * layers[0]
    half = shares_of(model, (), processes, itemsize=2)
    assert (2 * half.held, 2 * half.peak) == (found.held, found.peak)


def test_layers_that_share_weights_are_outside_of_layers(
    make_model: Callable[..., PreTrainedModel],
) -> None:
    """FSDP shards no parameter twice (Zamba 2 repeats a block, BERT's embeddings are its head)."""
    model = make_model("llama", num_hidden_layers=3)
    first, second, third = model.model.layers
    assert shard_layers(model) == [first, second, third]
    third.mlp.up_proj.weight = first.mlp.up_proj.weight
    assert shard_layers(model) == [second]
    size = sum(4 * p.numel() for p in model.parameters())
    assert shares_of(model, (), 2).gathered == size
    model.lm_head.weight = second.mlp.up_proj.weight
    assert shard_layers(model) == []


def test_what_a_method_added_is_not_divided(make_model: Callable[..., PreTrainedModel]) -> None:
    model = make_model("llama")
    norm = model.model.norm.weight
    all_, but = (shares_of(model, apart, 2) for apart in ((), (norm,)))
    assert but.whole == all_.whole
    assert but.held == all_.held + 2 * norm.numel()
    assert but.gathered == all_.gathered - 4 * norm.numel()
    assert but.trained([norm]) == norm.numel() == 2 * all_.trained([norm])


@pytest.mark.parametrize("trains_base", [False, True])
def test_a_plan_for_each_process_divides_what_is_divided(
    make_model: Callable[..., PreTrainedModel], trains_base: bool
) -> None:
    shares = shares_of(make_model("llama"), (), 4)
    found = in_each(WHOLE, shares, trains_base)
    assert found.weights == WHOLE.weights - shares.whole + shares.peak
    divided = (2_000 + shares.gathered, 4_000) if trains_base else (8_000, 16_000)
    assert (found.gradients, found.optimizer) == divided
    assert (found.activations, found.logits, found.runtime) == (5, 4, 3)


@pytest.mark.parametrize(
    ("flag", "size", "expected"), [("true", "8", 8), ("false", "8", 1), (None, "8", 1)]
)
def test_the_environment_says_how_many_share(
    monkeypatch: pytest.MonkeyPatch, flag: str | None, size: str, expected: int
) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    if flag is not None:
        monkeypatch.setenv("ACCELERATE_USE_FSDP", flag)
    assert sharing_processes() == expected
