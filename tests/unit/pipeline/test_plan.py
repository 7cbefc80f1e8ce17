"""What a plan says of a machine with little memory."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.pipeline import plan as planning
from brulee.recipe import recipe_from_dict


@pytest.mark.parametrize(
    ("micro_batch", "bounds"),
    [("auto", [None, 256]), (400, [None])],
)
@pytest.mark.slow
def test_passes_are_tried_as_small_as_training_would_make_them(
    micro_batch: Any,
    bounds: list[int | None],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(f'{{"question": "{"why " * 20}{i}", "answer": "{i}"}}\n' for i in range(40))
    )
    recipe = recipe_from_dict(
        {
            "model": str(tiny_model_folder),
            "data": {
                "source": str(rows),
                "templates": {"prompt": "{{ question }}", "completion": "{{ answer }}"},
            },
            "method": {"name": "lora", "rank": 2},
            "train": {"micro_batch": micro_batch, "max_steps": 2, "precision": "float32"},
        }
    )
    asked, run = [], planning.Apart.run

    def tell(apart: Any, trial: Any, *arguments: Any) -> Any:
        found = run(apart, trial, *arguments)
        *_, bound, _by_ours = arguments
        asked.append((bound, found.pass_tokens))
        return found

    monkeypatch.setattr(planning.Apart, "run", tell)
    monkeypatch.setattr(planning, "room", lambda _: 10**6)
    (line,) = planning.plan(recipe, ["lora"]).lines
    assert not line.fits
    # A model of two layers is tried at its full depth.
    assert [bound for bound, _ in asked] == bounds
    assert asked[0][1] > 256
    assert (asked[-1][1] <= 256) == (micro_batch == "auto")


@pytest.mark.slow
def test_a_plan_for_several_processes_is_of_each(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"question": "why {i}", "answer": "{i}"}}\n' for i in range(9)))
    recipe = recipe_from_dict(
        {
            "model": str(tiny_model_folder),
            "data": {
                "source": str(rows),
                "templates": {"prompt": "{{ question }}", "completion": "{{ answer }}"},
            },
            "method": {"name": "full"},
            "train": {"max_steps": 2, "precision": "float32"},
        }
    )
    alone = planning.plan(recipe, ["full"])
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("WORLD_SIZE", "4")
    each = planning.plan(recipe, ["full", "selective"])
    assert (alone.processes, each.processes) == (1, 4)
    whole, share = alone.lines[0].memory, each.lines[0].memory
    assert whole is not None
    assert share is not None
    assert share.optimizer == whole.optimizer // 4
    # Two layers are gathered, which is all that this model has; so its shard comes on top.
    assert whole.weights < share.weights < 1.3 * whole.weights
    assert each.room < 0.5 * alone.room, "processes on a CPU share its memory"
    assert each.lines[1].refusal is None


def test_an_unknown_tracker_is_refused_before_anything_is_tried() -> None:
    recipe = recipe_from_dict({"data": {"source": "rows.jsonl"}, "train": {"trackers": "wandbb"}})
    with pytest.raises(InputError, match="unknown tracker 'wandbb'; did you mean 'wandb'"):
        planning.plan(recipe)


def test_a_method_that_is_added_later_is_planned(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(planning.METHODS, "later", planning.METHODS["ia3"])
    monkeypatch.setattr(planning, "Apart", lambda *_: nullcontext())
    monkeypatch.setattr(planning, "_line", lambda _trials, name, _options: name)
    recipe = recipe_from_dict({"data": {"source": "rows.jsonl"}, "model": str(tiny_model_folder)})
    assert "later" in planning.plan(recipe).lines
