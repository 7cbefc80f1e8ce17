"""A run's folder says what was done, whatever a later version's defaults are."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from brulee.errors import InputError
from brulee.methods import METHODS, build_method
from brulee.methods.continuing import resolved
from brulee.pipeline import run, train
from brulee.pipeline.folder import open_run, reopen_run
from brulee.pipeline.lock import run_lock
from brulee.recipe import Recipe, load_recipe


def _recipe(tmp_path: Path, method: dict[str, Any], **train: Any) -> Recipe:
    file = tmp_path / "r.yaml"
    data = {"source": "rows.jsonl", "templates": "summarise"}
    values = {"data": data, "method": method, "train": train, "runs": str(tmp_path / "runs")}
    file.write_text(yaml.safe_dump(values))
    return load_recipe(file)


# Options that leave another one unread.
INSTEAD: list[dict[str, Any]] = [
    {"name": "bottleneck", "width": 4},
    {"name": "selective", "train": "layers", "layers": [0]},
    {"name": "selective", "train": "sparse", "mask": "magnitude"},
    {"name": "prefix", "projection": True, "hidden": 5},
    {"name": "prompt", "init_text": "Say it short"},
    {"name": "lora", "layers": {"last": 1}},
]


@pytest.mark.parametrize("given", [*({"name": name} for name in METHODS), *INSTEAD])
def test_a_methods_defaults_are_written_out_and_read_back(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    name = given["name"]
    where = open_run(_recipe(tmp_path, given), "train", None, False)
    where.begin({"base": 1, "framing": 1, "data": 1, "templates": 1}, {})
    written = yaml.safe_load((where.path / "recipe.yaml").read_text())
    method = build_method(where.recipe.method)
    assert written["method"] == {"name": name, **method.options()}
    assert written["train"]["learning_rate"] == method.learning_rate
    again = reopen_run(where.path).recipe
    assert again.to_dict() == where.recipe.to_dict() == resolved(again).to_dict()


def test_a_default_spelled_out_is_the_same_recipe(tmp_path: Path) -> None:
    where = open_run(_recipe(tmp_path, {"name": "lora"}), "train", None, False)
    where.begin({"base": 1, "framing": 1, "data": 1, "templates": 1}, {})
    rate = build_method(where.recipe.method).learning_rate
    same = _recipe(tmp_path, {"name": "lora", "alpha": 16, "rank": 8}, learning_rate=rate)
    assert open_run(same, "train", None, False).begun
    other = _recipe(tmp_path, {"name": "lora", "alpha": 32})
    with pytest.raises(InputError, match=r"method\.alpha is 16.* there and 32.* now"):
        open_run(other, "train", None, False)


def test_a_run_goes_on_with_other_trackers_and_keeps_them(tmp_path: Path) -> None:
    facts = {"base": 1, "framing": 1, "data": 1, "templates": 1}
    where = open_run(_recipe(tmp_path, {}, trackers=["wandb"]), "train", None, False)
    where.begin(facts, {})
    where = open_run(_recipe(tmp_path, {}, trackers=[]), "train", None, False)
    assert where.begun
    where.begin(facts, {})
    assert reopen_run(where.path).recipe.train.trackers == []
    with pytest.raises(InputError, match=r"train\.epochs is"):
        open_run(_recipe(tmp_path, {}, trackers=["wandb"], epochs=1), "train", None, False)


def test_lion_takes_smaller_steps_unless_told(tmp_path: Path) -> None:
    usual = resolved(_recipe(tmp_path, {"name": "lora"})).train.learning_rate
    assert usual is not None
    own = resolved(_recipe(tmp_path, {"name": "lora"}, optimizer="lion"))
    assert own.train.learning_rate == pytest.approx(usual / 5)
    given = resolved(_recipe(tmp_path, {"name": "lora"}, optimizer="lion", learning_rate=0.5))
    assert given.train.learning_rate == 0.5


def test_a_rate_that_is_given_stays(tmp_path: Path) -> None:
    recipe = resolved(_recipe(tmp_path, {"name": "lora"}, learning_rate=0.5))
    assert recipe.train.learning_rate == 0.5
    assert "r.yaml" in recipe.source.at(("method",)), "errors still name the file"


def test_an_edited_recipe_of_a_begun_run_is_refused(tmp_path: Path) -> None:
    where = open_run(_recipe(tmp_path, {"name": "lora"}), "train", None, False)
    where.begin({"base": 1, "framing": 1, "data": 1, "templates": 1}, {})
    file = where.path / "recipe.yaml"
    file.write_text(file.read_text().replace("seed: 0", "seed: 7", 1))
    with pytest.raises(InputError, match=r"recipe\.yaml: .*seed was 0 when .* and is 7 now"):
        reopen_run(where.path)
    with pytest.raises(InputError, match=r"rank is 8 there and 4 now"):
        open_run(_recipe(tmp_path, {"name": "lora", "rank": 4}), "train", None, False)


@pytest.mark.parametrize("folder", [".", "../here", "sub/.."])
def test_the_working_directory_holds_a_run_with_its_name_and_is_not_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    where = open_run(recipe := _recipe(tmp_path, {}), "train", Path(folder), False)
    where.begin({"base": 1, "framing": 1, "data": 1, "templates": 1}, {})
    assert where.path.name == reopen_run(Path(folder)).path.name == "here"
    with pytest.raises(InputError, match="--fresh would move the working directory aside"):
        open_run(recipe, "train", Path(folder), True)


def test_a_run_is_worked_on_by_one_process(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, {"name": "lora"})
    where = open_run(recipe, "train", None, False)
    said = "another process is working on this run"
    with run_lock(where.path):
        with pytest.raises(InputError, match=said):
            train(recipe)
        with pytest.raises(InputError, match=said):
            run(recipe)
    assert not where.path.exists()
    with pytest.raises(InputError, match="rows"), run_lock(tmp_path / "another"):
        train(recipe)


def test_a_lock_goes_with_the_work_and_is_never_held_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRULEE_CACHE", str(tmp_path / "cache"))
    at_work, most, done = list[int](), list[int](), list[int]()

    def work(number: int) -> None:
        for _ in range(10):
            with suppress(InputError), run_lock(tmp_path / "run"):
                at_work.append(number)
                most.append(len(at_work))
                at_work.remove(number)
                done.append(number)

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done
    assert max(most) == 1
    assert [file.name for file in (tmp_path / "cache" / "locks").glob("[!.]*")] == []
