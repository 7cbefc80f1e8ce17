"""Learning rates worked out by hand, and beside those of transformers."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch

from brulee.errors import InputError
from brulee.recipe import TrainSpec, recipe_from_dict
from brulee.training.schedules import SCHEDULES, schedule


def _shares(kind: str, total: int, warmup: float, **more: float) -> list[float]:
    spec = TrainSpec(schedule=kind, warmup=warmup, **more)
    return [schedule(spec, step, total) for step in range(total)]


def test_cosine_falls_along_half_a_wave() -> None:
    half = math.sqrt(0.5)
    expected = [1.0, (1 + half) / 2, 0.5, (1 - half) / 2]
    assert _shares("cosine", 4, 0.0) == pytest.approx(expected)


def test_linear_falls_by_equal_parts() -> None:
    assert _shares("linear", 4, 0.0) == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_constant_stays() -> None:
    assert _shares("constant", 3, 0.0) == [1.0, 1.0, 1.0]


def test_warm_up_rises_to_one_before_the_fall_begins() -> None:
    # A quarter of ten steps is three, rounded up; the fall then has seven steps.
    rising = [1 / 3, 2 / 3, 1.0]
    falling = [1 - n / 7 for n in range(7)]
    assert _shares("linear", 10, 0.25) == pytest.approx([*rising, *falling])
    assert _shares("constant", 4, 0.5) == pytest.approx([0.5, 1.0, 1.0, 1.0])


def test_wsd_stays_and_falls_by_a_root_at_the_end() -> None:
    falling = [1.0, 1 - math.sqrt(1 / 4), 1 - math.sqrt(2 / 4), 1 - math.sqrt(3 / 4)]
    rising = [0.5, 1.0]
    # Two of ten steps rise; the fall is half of the eight after them, or the number that is said.
    assert _shares("wsd", 10, 2, cooldown=0.5) == pytest.approx([*rising, *[1.0] * 4, *falling])
    assert _shares("wsd", 8, 0.0, cooldown=4) == pytest.approx([*[1.0] * 4, *falling])
    assert _shares("wsd", 3, 0.0, cooldown=0) == [1.0, 1.0, 1.0]
    assert _shares("wsd", 4, 0.0, cooldown=9) == pytest.approx(falling)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5, 0.99])
@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_no_step_is_spent_at_zero_or_above_the_rate(kind: str, warmup: float, total: int) -> None:
    assert all(0 < share <= 1 for share in _shares(kind, total, warmup))


def test_warm_up_is_so_many_steps_from_one_on() -> None:
    assert _shares("constant", 5, 2) == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0])
    assert _shares("linear", 3, 6) == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert TrainSpec(warmup=3).warmup == 3
    with pytest.raises(ValueError, match="a number of steps, which must be a whole number"):
        TrainSpec(warmup=2.5)


def test_the_rate_ends_at_its_lowest_share() -> None:
    def share(kind: str, step: int) -> float:
        return schedule(TrainSpec(schedule=kind, warmup=0.0, min_rate=0.2, cooldown=2), step, 4)

    assert [share("linear", i) for i in range(5)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert [share("cosine", i) for i in (0, 2, 4)] == pytest.approx([1.0, 0.6, 0.2])
    assert [share("wsd", i) for i in (2, 4)] == pytest.approx([1.0, 0.2])
    assert share("constant", 3) == 1.0


def test_a_recipe_takes_what_is_computed_and_nothing_else() -> None:
    assert get_args(TrainSpec.model_fields["schedule"].annotation) == tuple(SCHEDULES)
    with pytest.raises(InputError, match="unknown schedule 'cosin'; did you mean 'cosine'"):
        schedule(TrainSpec.model_construct(schedule="cosin"), 5, 10)


def _theirs(name: str, warmup: int, total: int, settings: dict[str, Any]) -> list[float]:
    """The shares of transformers' schedule, whose warm-up begins at zero, one step before ours."""
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    counts = {} if name == "constant" else {"num_warmup_steps": warmup}
    if name not in ("constant", "constant_with_warmup", "inverse_sqrt"):
        counts["num_training_steps"] = total
    given = {"scheduler_specific_kwargs": settings} if settings else {}
    scheduler = get_scheduler(name, optimizer, **counts, **given)
    found = []
    for _ in range(total + 1):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return [*found[1 : warmup + 1], *found[warmup:-1]]


@pytest.mark.parametrize(("warmup", "total"), [(0, 1), (0, 30), (3, 30), (7, 101), (1, 500)])
@pytest.mark.parametrize(
    ("own", "name", "settings"),
    [
        ({"schedule": "cosine"}, "cosine", {}),
        ({"schedule": "cosine", "min_rate": 0.1}, "cosine_with_min_lr", {"min_lr_rate": 0.1}),
        ({"schedule": "linear"}, "linear", {}),
        ({"schedule": "constant"}, "constant_with_warmup", {}),
        ({"schedule": "inverse_sqrt"}, "inverse_sqrt", {}),
        ({"schedule": "cosine_with_restarts"}, "cosine_with_restarts", {}),
        (
            {"schedule": "cosine_with_restarts", "num_cycles": 4},
            *("cosine_with_restarts", {"num_cycles": 4}),
        ),
        ({"schedule": "polynomial"}, "polynomial", {"lr_end": 0.0}),
        (
            {"schedule": "polynomial", "power": 2.5, "min_rate": 0.05},
            *("polynomial", {"power": 2.5, "lr_end": 0.05}),
        ),
        *(
            (
                {"schedule": "wsd", "decay_type": kind},
                *("warmup_stable_decay", {"decay_type": kind}),
            )
            for kind in ("1-sqrt", "linear", "cosine")
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_every_step_has_the_rate_of_transformers(
    own: dict[str, Any], name: str, settings: dict[str, Any], warmup: int, total: int
) -> None:
    if name == "warmup_stable_decay":
        falling = max(1, (total - warmup) // 3)
        settings = {"num_decay_steps": falling, **settings}
        own = {"cooldown": falling, **own}
    spec = TrainSpec.model_validate({"warmup": warmup, **own})
    found = [schedule(spec, step, total) for step in range(total)]
    assert found == pytest.approx(_theirs(name, warmup, total, settings), abs=1e-12)


@pytest.mark.parametrize("cycles", range(1, 30))
def test_no_restart_is_missed_by_rounding(cycles: int) -> None:
    total = 7 * cycles
    shares = _shares("cosine_with_restarts", total, 0.0, num_cycles=cycles)
    assert [step for step, share in enumerate(shares) if share == 1.0] == [*range(0, total, 7)]


@pytest.mark.parametrize(
    ("key", "value", "owner"),
    [
        ("power", 2.0, "polynomial"),
        ("num_cycles", 3, "cosine_with_restarts"),
        ("decay_type", "linear", "wsd"),
    ],
)
def test_a_key_of_another_schedule_is_refused(key: str, value: Any, owner: str) -> None:
    def read(**train: Any) -> TrainSpec:
        return recipe_from_dict({"data": {"source": "rows.jsonl"}, "train": train}).train

    said = f"train.{key} = {value!r} is not valid: only train.schedule: {owner} has it, and here it"
    with pytest.raises(InputError, match=f"{said} is cosine; leave it out"):
        read(**{key: value})
    assert getattr(read(schedule=owner, **{key: value}), key) == value
    # A recipe with every default written out is one too.
    written = read(schedule="linear").model_dump()
    assert read(**written).model_dump() == written
    with pytest.raises(InputError, match=r"train\.schedule = 'cosin' is not valid"):
        read(schedule="cosin", **{key: value})
