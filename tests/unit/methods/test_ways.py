"""Each way of combining, on numbers that can be followed by hand."""

from __future__ import annotations

import pytest
import torch

from brulee.errors import InputError
from brulee.methods import ways
from brulee.methods.ways import WAYS, Settings, way_of

ONES = torch.tensor([1.0, 1.0])


def _applied(
    how: str, stack: list[list[float]], weights: list[float], **more: float
) -> list[float]:
    made = WAYS[how].apply(torch.tensor(stack), torch.tensor(weights), Settings(**more))  # type: ignore[arg-type]
    return [round(value, 6) for value in made.tolist()]


def test_a_sum_counts_each_by_its_weight_and_subtracts() -> None:
    assert _applied("sum", [[1.0, 2.0], [4.0, -8.0]], [0.5, -0.25]) == [-0.5, 3.0]


def test_pruning_keeps_the_largest_values_of_each() -> None:
    stack = [[1.0, -4.0, 2.0, 3.0], [8.0, 1.0, 1.5, 0.5]]
    assert _applied("prune", stack, [1.0, 1.0], density=0.5) == [8.0, -4.0, 1.5, 3.0]
    assert _applied("prune", stack, [1.0, 1.0]) == [9.0, -3.0, 3.5, 3.5]


def test_ties_averages_those_of_the_stronger_sign() -> None:
    #        agree  and not   and not   trimmed away
    stack = [[2.0, 5.0, 3.0, 0.1], [4.0, -3.0, -1.0, 0.2]]
    assert _applied("ties", stack, [1.0, 1.0], density=0.75) == [3.0, 5.0, 3.0, 0.0]
    assert _applied("ties", stack, [0.5, 1.0], density=0.75) == [2.5, 2.5, 1.5, 0.0]


def test_what_is_subtracted_votes_for_what_subtracting_it_does() -> None:
    # Less (5, 3) is (-5, -3): it outvotes 2 and joins -1.
    assert _applied("ties", [[2.0, -1.0], [5.0, 3.0]], [1.0, -1.0]) == [-5.0, -2.0]
    minus = _applied("ties", [[2.0, -1.0], [-5.0, -3.0]], [1.0, 1.0])
    assert minus == [-5.0, -2.0]


@pytest.mark.parametrize("how", ["dare", "dare-ties"])
def test_what_is_dropped_is_made_up_for_by_what_stays(how: str) -> None:
    stack = torch.ones(2, 100_000)
    made = WAYS[how].apply(stack, torch.tensor([0.5, 0.5]), Settings(0.25, 0, "w"))
    kept = (made != 0).float().mean()
    assert abs(float(kept) - (1 - 0.75**2)) < 0.01, "the two drop other values"
    if how == "dare":
        assert abs(float(made.mean()) - 1) < 0.02
        assert set(made.unique().tolist()) == {0.0, 2.0, 4.0}


def test_a_seed_and_a_name_decide_what_is_dropped() -> None:
    def drawn(seed: int, name: str) -> torch.Tensor:
        return WAYS["dare"].apply(torch.ones(2, 64), ONES, Settings(0.5, seed, name))

    assert torch.equal(drawn(0, "a"), drawn(0, "a"))
    assert not torch.equal(drawn(0, "a"), drawn(1, "a"))
    assert not torch.equal(drawn(0, "a"), drawn(0, "b"))
    one = WAYS["dare"].apply(torch.ones(2, 64), torch.tensor([1.0, -1.0]), Settings(0.5, 0, "a"))
    assert one.any(), "two adapters drop the same values"


@pytest.mark.parametrize("how", sorted(WAYS))
def test_every_way_takes_tensors_of_any_shape_and_leaves_them(how: str) -> None:
    stack = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    before = stack.clone()
    weights = torch.tensor([1.0, 0.5, -0.5])
    made = WAYS[how].apply(stack, weights, Settings(0.5, 0, "w"))
    flat = WAYS[how].apply(stack.flatten(1), weights, Settings(0.5, 0, "w"))
    assert torch.equal(made.flatten(), flat)
    assert torch.equal(stack, before)


def test_what_is_worked_out_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))
    how, weights = Settings(0.5, 0, "w"), torch.tensor([1.0, 0.5, -0.5])
    whole = WAYS["ties"].apply(stack, weights, how)
    monkeypatch.setattr("brulee.methods.ways._CHUNK", 4)
    assert torch.equal(WAYS["ties"].apply(stack, weights, how), whole)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cat", "here it is sum"),
        ("linear", "here it is sum with --factors"),
        ("dare_ties_svd", "here it is dare-ties"),
        ("tise", "did you mean 'ties'"),
        ("slerp", "Valid: dare, dare-ties, prune, sum, ties"),
    ],
)
def test_another_tools_name_is_told_what_it_is_called_here(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        way_of(name)


def test_a_tensor_taken_in_pieces_is_combined_as_one_taken_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = torch.randn(3, 7, 11, generator=torch.Generator().manual_seed(0))
    weights, how = torch.tensor([1.0, -0.5, 2.0]), Settings(0.6)
    whole = WAYS["ties"].apply(stack, weights, how)
    monkeypatch.setattr(ways, "_CHUNK", 5)
    assert torch.equal(WAYS["ties"].apply(stack, weights, how), whole)
