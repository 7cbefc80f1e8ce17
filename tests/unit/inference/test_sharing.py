"""Prompts are grouped where it spares the most keys and values; every prompt is in one wave."""

from __future__ import annotations

import random

import pytest

from brulee.inference.sharing import Group, group
from brulee.inference.waves import waves

A, B = tuple(range(100, 160)), tuple(range(200, 260))


def test_tasks_with_shots_of_their_own_are_groups_of_their_own() -> None:
    prompts = sorted([(*A, 1), (*A, 2, 3), (*B, 1), (*B, 2), (*B, 2)])
    assert group(prompts) == [Group(0, 2, 60), Group(2, 5, 60)]


def test_what_two_tasks_have_in_common_is_not_worth_losing_the_rest() -> None:
    system = tuple(range(30))
    prompts = sorted([(*system, *task, k) for task in (A, B) for k in range(3)])
    assert group(prompts) == [Group(0, 3, 90), Group(3, 6, 90)]


def test_a_chance_likeness_of_two_parts_no_group() -> None:
    prompts = sorted([(*A, 1, 1), (*A, 1, 2), *((*A, k) for k in range(2, 20))])
    assert group(prompts) == [Group(0, 20, 60)]


def test_little_is_not_shared() -> None:
    assert group([(1, 2, 3), (1, 2, 4)]) == [Group(0, 2, 0)]
    assert group([]) == []
    assert group([A]) == [Group(0, 1, 0)]


@pytest.mark.parametrize("seed", range(5))
def test_groups_follow_each_other_and_share_what_they_say(seed: int) -> None:
    draw = random.Random(seed)
    stems = [tuple(draw.choices(range(3), k=20)) for _ in range(3)]
    prompts = sorted(
        (*draw.choice(stems), *draw.choices(range(3), k=draw.randrange(9))) for _ in range(40)
    )
    found = group(prompts)
    assert [g.start for g in found] == [0, *(g.stop for g in found[:-1])]
    assert found[-1].stop == 40
    for one in found:
        inside = prompts[one.start : one.stop]
        assert len({p[: one.tokens] for p in inside}) == 1
        assert min(len(p) for p in inside) >= one.tokens


def test_every_prompt_is_in_one_wave_that_has_room_for_it() -> None:
    draw = random.Random(0)
    prompts = [[*draw.choice([A, B]), *range(draw.randrange(300))] for _ in range(50)]
    most = [draw.randrange(1, 40) for _ in prompts]
    found = waves(prompts, most, 1000)
    assert sorted(i for wave in found for i in wave.prompts) == list(range(50))
    for wave in found:
        assert wave.rows * wave.room <= 1000 or wave.rows == 1
        for one in wave.groups:
            inside = wave.prompts[one.start : one.stop]
            assert len({tuple(prompts[i][: one.tokens]) for i in inside}) == 1
            assert all(len(prompts[i]) - one.tokens + most[i] <= wave.room for i in inside)
    # Alike in size, or all at once.
    for wave in found:
        sizes = [
            len(prompts[i]) - one.tokens + most[i]
            for one in wave.groups
            for i in wave.prompts[one.start : one.stop]
        ]
        assert 2 * min(sizes) > wave.room or len(wave.prompts) == wave.rows
        assert [tuple(prompts[i]) for i in wave.prompts] == sorted(
            tuple(prompts[i]) for i in wave.prompts
        )


def test_prompts_that_all_have_room_are_one_wave() -> None:
    prompts = [[*A, *range(n)] for n in (1, 200, 3, 90)]
    (wave,) = waves(prompts, [10] * 4, 8192)
    assert wave.rows == 4
    assert len(waves(prompts, [10] * 4, 500)) > 1


def test_beams_share_their_prompt_and_nothing_else() -> None:
    (wave,) = waves([A, A, B], [8, 8, 8], 100, copies=4)
    assert [g.tokens for g in wave.groups] == [60, 60, 60]
    assert wave.rows == 12
    assert waves([A], [8], 1, copies=4)[0].rows == 4
