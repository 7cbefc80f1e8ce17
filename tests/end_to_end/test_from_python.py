"""brulee as a library: what was the caller's stays as it was, and what cannot be is said."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import brulee


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    pass


@pytest.fixture
def recipe(at: Any) -> brulee.Recipe:
    at.write()
    return brulee.load_recipe("recipe.yaml", ["evaluate.resamples=50"])


@pytest.fixture
def alarm() -> Iterator[None]:
    """An alarm of the caller's, long after the test."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def _state() -> dict[str, Any]:
    return {
        "random numbers": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)],
    }


def test_a_run_leaves_the_process_as_it_was(recipe: brulee.Recipe, alarm: None) -> None:
    torch.manual_seed(12345)
    before = _state()
    run = brulee.run(recipe, folder="runs/python")
    assert _state() == before
    assert 990 < signal.getitimer(signal.ITIMER_REAL)[0] < 1000, "the caller's alarm is gone"
    assert run.folder == Path("runs/python")
    assert brulee.resume("runs/python") == run, "a finished run is left alone"


def test_an_interrupted_run_gives_the_caller_its_alarm_back(
    recipe: brulee.Recipe, alarm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGALRM)

    def interrupted(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(10)

    monkeypatch.setattr("brulee.pipeline.stages.answer_items", interrupted)
    with pytest.raises(brulee.StoppedError, match="interrupted"):
        brulee.run(recipe)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] > 990


@pytest.mark.parametrize("given", [None, 3, [{"q": "a"}]])
@pytest.mark.parametrize("name", ["run", "train"])
def test_what_is_no_recipe_is_refused_with_how_to_get_one(name: str, given: Any) -> None:
    kind = type(given).__name__
    with pytest.raises(brulee.InputError, match=rf"brulee\.{name} takes .* {kind}; .*load_recipe"):
        getattr(brulee, name)(given)


def test_only_a_run_is_resumed(at: Any) -> None:
    with pytest.raises(brulee.InputError, match=r"takes a run or its folder, not .* NoneType"):
        brulee.resume(None)  # type: ignore[arg-type]


def test_a_recipe_is_taken_by_its_path_and_by_its_values(at: Any) -> None:
    run = brulee.train(Path(at.write(evaluate__resamples=50)))
    assert brulee.train(str(run.folder / "recipe.yaml")) == run
    assert brulee.train({**at.recipe, "name": "recipe"}) == run
    with pytest.raises(brulee.InputError, match="no such recipe file"):
        brulee.train("recipe.yml")
    with pytest.raises(brulee.InputError, match=r"the key 'data\.source' is required"):
        brulee.run({"data": {}})


def test_a_recipe_of_values_takes_paths_and_names_what_is_no_value(tmp_path: Path) -> None:
    found = brulee.recipe_from_dict({"data": {"source": tmp_path / "rows.jsonl"}})
    assert found.tasks[0][1].source == str(tmp_path / "rows.jsonl")
    with pytest.raises(brulee.InputError, match=r"recipe: \{1\}, of type set, is not a text"):
        brulee.recipe_from_dict({"data": {"source": {1}}})
    with pytest.raises(brulee.InputError, match="should be a mapping with the keys data"):
        brulee.recipe_from_dict(["data"])  # type: ignore[arg-type]
    with pytest.raises(brulee.InputError, match="recipe_from_dict"):
        brulee.load_recipe({"data": {}})  # type: ignore[arg-type]
    with pytest.raises(brulee.InputError, match=r"must be a list .* write \['train.seed=1'\]"):
        brulee.recipe_from_dict({"data": {"source": "x"}}, "train.seed=1")


def test_a_session_says_what_it_is_on_one_line_and_refuses_what_means_nothing(at: Any) -> None:
    session = brulee.load(Path(at.model))
    assert len(repr(session)) < 500
    for options, said in {
        "max_new_tokens": "max_new_tokens = 0 is not valid: it should be 1 or more",
        "beams": "beams = 0 is not valid: it should be 1 or more",
    }.items():
        with pytest.raises(brulee.InputError, match=said):
            session.complete(["Hi"], **{options: 0})
    with pytest.raises(brulee.InputError, match="temperature = -1 is not valid"):
        session.complete(["Hi"], temperature=-1)
    with pytest.raises(brulee.InputError, match=r"top_p = 1\.5 is not valid"):
        session.complete(["Hi"], top_p=1.5)
    with pytest.raises(brulee.InputError, match=r"not one text; write \[prompt\]"):
        session.complete("Hi")
    with pytest.raises(brulee.InputError, match="prompt 2 is None, of type NoneType"):
        session.complete(["Hi", None])  # type: ignore[list-item]


@pytest.mark.parametrize("target", [None, torch.nn.Linear(1, 1)])
def test_a_target_that_is_no_name_is_refused(target: Any) -> None:
    with pytest.raises(brulee.InputError, match=f"not an object of type {type(target).__name__}"):
        brulee.load(target)


@pytest.mark.parametrize("name", ["limit", "resamples"])
@pytest.mark.parametrize("count", [0, -1])
def test_a_count_that_means_nothing_is_refused_before_anything_is_asked(
    at: Any, name: str, count: int
) -> None:
    with pytest.raises(brulee.InputError, match=f"{name} = {count} is not valid"):
        brulee.evaluate(at.model, "bundled", **{name: count})


@pytest.mark.parametrize(
    ("call", "note"),
    [
        (lambda: brulee.evaluate("bundled", "bigbench"), "--data is data=DATA"),
        (
            lambda: brulee.sweep({"model": "bundled", "data": {"source": "a.csv"}}, []),
            "--set is axes={KEY: VALUES}",
        ),
    ],
)
def test_an_option_in_an_error_has_its_name_in_python(
    call: Callable[[], object], note: str
) -> None:
    with pytest.raises(brulee.InputError) as said:
        call()
    assert said.value.__notes__ == [f"In Python {note}."]


def test_every_public_name_is_there() -> None:
    for name in brulee.__all__:
        assert getattr(brulee, name) is not None


@pytest.mark.slow
def test_a_run_says_what_it_does_not_follow_of_a_models_settings(
    at: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(at.recipe["model"], tmp_path / "model")
    settings = json.loads((folder / "generation_config.json").read_text())
    named = json.dumps({**settings, "no_repeat_ngram_size": 3})
    (folder / "generation_config.json").write_text(named)
    values = {**at.recipe, "model": str(folder), "evaluate": {"resamples": 20, "limit": 2}}
    brulee.run({**values, "train": {**at.recipe["train"], "max_steps": 1}}, show=True)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("settings that are not followed (no_repeat_ngram_size 3)") == 1
