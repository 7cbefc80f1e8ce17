"""What `brulee sweep` refuses, in one sentence each."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from brulee import pipeline

pytestmark = [
    pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed"),
    pytest.mark.usefixtures("unforeseen"),
]


BAD: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "bad_inputs.py"))
SWEEP = Path("runs/recipe-sweep")


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        (["method.rnk=2,4"], "unknown key 'method.rnk'; did you mean 'rank'?"),
        (["method.rank=2,four"], "--set method.rank: method.rank = 'four' is not valid"),
        (["method.rank=2.5..8"], "method.rank = 2.5 is not valid"),
        (["train.learning_rate=-1..1"], "train.learning_rate = -1 is not valid"),
        (["method.name=lora,loar"], "unknown method 'loar'; did you mean 'lora'"),
        (["method.name=full,ia3", "method.rank=2,4"], "unknown key 'method.rank'"),
        (["data.split.test=0.1,0.2"], "data.split.test is not for a sweep"),
        (["method.target=all-linear,[nothing_here]"], "nothing_here"),
        (
            [f"train.{key}={','.join(map(str, range(1, 151)))}" for key in ("epochs", "max_steps")],
            "the lists make 22,500 settings",
        ),
        (["train.epochs=1"], "a sweep needs an axis"),
        (["train.epochs=1,2", "--objective", "rougL"], "unknown objective 'rougL'; did you mean"),
        (["train.epochs=1,2", "--timeout", "soon"], "--timeout soon: write a number"),
    ],
)
def test_bad_axes_are_told_before_anything_is_trained(
    at: Any, brulee: Any, axes: list[str], says: str
) -> None:
    words = [w for text in axes for w in (("--set", text) if "=" in text else (text,))]
    done = brulee("sweep", at.write(), *words)
    assert done.code == 2, done.out
    assert len(done.errors) == 1
    assert says in done.err
    assert not (at.folder / "runs").exists()


@pytest.mark.parametrize(
    ("section", "key", "says"),
    [
        ("evaluate", "metrics", "unknown metric 'mistyped'"),
        ("evaluate", "guards", "unknown guard 'mistyped'"),
        ("train", "trackers", "unknown tracker 'mistyped'"),
    ],
)
def test_a_name_that_is_none_is_told_before_a_folder_is_made(
    at: Any, brulee: Any, section: str, key: str, says: str
) -> None:
    at.recipe[section] = {**at.recipe[section], key: ["mistyped"]}
    done = brulee("sweep", at.write(), "--set", "method.rank=2,4")
    assert done.code == 2
    assert says in done.err
    assert not (at.folder / "runs").exists()


def test_without_validation_rows_there_is_nothing_to_choose_by(at: Any, brulee: Any) -> None:
    at.recipe["data"]["split"]["validation"] = 0
    done = brulee("sweep", at.write(), "--set", "method.rank=2,4")
    assert done.code == 2
    assert "a sweep chooses by validation rows, and there are none" in done.err


def test_a_score_that_only_describes_is_no_objective(at: Any, brulee: Any) -> None:
    at.recipe["evaluate"] = {**at.recipe["evaluate"], "metrics": ["rouge1", "extractiveness"]}
    asked = ("--set", "method.rank=2,4", "--objective", "coverage")
    done = brulee("sweep", at.write(), *asked)
    assert done.code == 2
    assert "neither a high nor a low coverage is better" in done.err
    assert "Valid: rouge1, validation_loss." in done.err


def test_a_score_of_some_tasks_alone_is_no_objective(at: Any, brulee: Any) -> None:
    data = at.recipe["data"]
    tasks = [{**data, "name": "labels", "metrics": ["accuracy"]}, {**data, "name": "others"}]
    at.recipe["data"] = {"tasks": tasks}
    done = brulee("sweep", at.write(), "--set", "method.rank=2,4", "--objective", "accuracy")
    assert done.code == 2
    assert (
        "--objective: accuracy is not a score of others, and a sweep chooses by one of" in done.err
    )


def test_another_sweep_in_the_folder_is_refused(at: Any, brulee: Any, once: Any) -> None:
    once("sweep", at.write(), "--set", "method.rank=2,4")
    for words, says in (
        (("--set", "method.rank=2,8"), "another axes"),
        (("--set", "method.rank=2,4", "--seeds", 2), "another seeds: 1 there and 2 now"),
        (("--set", "method.rank=2,4", "--set", "train.epochs=2"), "another recipe: train epochs"),
    ):
        done = brulee("sweep", "recipe.yaml", *words)
        assert done.code == 2
        assert says in done.err
    fresh = brulee("sweep", "recipe.yaml", "--set", "method.rank=2,8", "--fresh")
    assert fresh.code == 0, fresh.err
    assert (at.folder / "runs/recipe-sweep.1/sweep.json").is_file()


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        ("train.batch_size=2,4", "--prune compares losses at the same step"),
        ("method.rank=2,4", "set train.validate_every to 2 or less"),
    ],
)
def test_pruning_that_cannot_work_is_told(at: Any, brulee: Any, axis: str, says: str) -> None:
    done = brulee("sweep", at.write(), "--set", axis, "--prune")
    assert done.code == 2
    assert says in done.err


def test_changed_rows_are_refused(at: Any, brulee: Any, once: Any) -> None:
    once("sweep", at.write(), "--set", "method.rank=2,4")
    at.rows(BAD["ROWS"][:-1])
    done = brulee("sweep", "recipe.yaml", "--set", "method.rank=2,4")
    assert done.code == 2
    assert "this sweep was begun with another data or model" in done.err


def test_without_optuna_one_sentence_says_how_to_get_it(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brulee.pipeline.sweeps.study.find_spec", lambda _: None)
    done = brulee("sweep", at.write(), "--set", "method.rank=2,4")
    assert done.code == 2
    assert done.errors == ["error: a sweep needs the package optuna: pip install 'brulee[sweep]'."]


@pytest.mark.parametrize("url", ["nonsense", "foo://user:secret@host/x", "sqlite:////no/such/x.db"])
def test_a_storage_that_cannot_be_opened_is_told_without_its_password(
    at: Any, brulee: Any, url: str
) -> None:
    done = brulee("sweep", at.write(), "--set", "method.rank=2,4", "--storage", url)
    assert done.code == 2
    assert "error: --storage: " in done.err
    assert "secret" not in done.err


def test_under_torchrun_it_says_how_to_use_several_devices(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = brulee("sweep", at.write(), "--set", "method.rank=2,4")
    assert done.code == 2
    assert "start the sweep without torchrun" in done.err


def test_a_study_of_somebody_else_is_not_written_to(at: Any, brulee: Any) -> None:
    import optuna

    theirs = optuna.create_study(storage="sqlite:///shared.db", study_name="recipe-sweep")
    theirs.enqueue_trial({"x": 1})
    storage = ("--storage", "sqlite:///shared.db")
    done = brulee("sweep", at.write(), "--set", "method.rank=2,4", *storage)
    assert done.code == 2
    assert "holds a study named 'recipe-sweep' that is not a sweep" in done.err
    assert theirs.user_attrs == {}


def test_a_damaged_storage_or_record_is_told(at: Any, brulee: Any, once: Any) -> None:
    once("sweep", at.write(), "--set", "method.rank=2,4")
    (at.folder / SWEEP / "trial-000/trained.json").write_text("{")
    done = brulee("sweep", "recipe.yaml", "--set", "method.rank=2,4")
    assert done.code == 2
    assert "trial-000/trained.json: not a file that a training writes at its end" in done.err
    (at.folder / SWEEP / "sweep.db").write_text("no database\n" * 100)
    done = brulee("sweep", "recipe.yaml", "--set", "method.rank=2,4")
    assert done.code == 2
    assert "sweep.db: not the trials of a sweep" in done.err


def test_a_storage_that_is_lost_on_the_way_is_told(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optuna.exceptions import StorageInternalError

    from brulee.pipeline.sweeps.study import Study

    def lost(*_: Any) -> None:
        raise StorageInternalError("host=secret")

    with monkeypatch.context() as patched:
        patched.setattr(Study, "told", lost)
        done = brulee("sweep", at.write(), "--set", "method.rank=2,4")
    assert done.code == 2
    assert "the sweep's storage was lost" in done.err
    assert "secret" not in done.err
    again = brulee("sweep", "recipe.yaml", "--set", "method.rank=2,4")
    assert again.code == 0, again.err


def test_rows_that_change_while_a_sweep_goes_on_end_it(
    at: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials before and after were ranked together, as if they had read the same rows."""
    train = pipeline.train

    def then_edit(*given: Any, **options: Any) -> Any:
        done = train(*given, **options)
        at.text(rows.replace(" ", "  ", 1))
        return done

    file, rows = at.write(), (at.folder / "rows.jsonl").read_text(encoding="utf-8")
    monkeypatch.setattr(pipeline, "train", then_edit)
    done = brulee("sweep", file, "--set", "method.rank=2,4")
    assert done.code == 2
    assert "data changed while the sweep went on" in done.err
    assert not (at.folder / SWEEP / "trial-001").exists()
    at.text(rows)
    monkeypatch.setattr(pipeline, "train", train)
    again = brulee("sweep", file, "--set", "method.rank=2,4")
    assert again.code == 0, again.err
