"""What each tracker's library is asked; Weights & Biases and MLflow are made up here."""

from __future__ import annotations

import json
import struct
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from brulee import progress
from brulee.training.trackers.base import Opening
from brulee.training.trackers.mlflow import Mlflow
from brulee.training.trackers.tensorboard import TensorBoard
from brulee.training.trackers.wandb import WeightsAndBiases
from brulee.training.trackers.wandb_file import last_step

RECIPE = {"method.rank": 2, "train.trackers": "['wandb']"}


def module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(content)
    monkeypatch.setitem(sys.modules, name, made)
    return made


class Record:
    """As W&B's, but in JSON: a row of a step, or something else."""

    def ParseFromString(self, content: bytes) -> None:  # noqa: N802
        step = json.loads(content).get("step")
        self.kind = "run" if step is None else "history"
        self.history = SimpleNamespace(step=SimpleNamespace(num=step))

    def WhichOneof(self, _: str) -> str:  # noqa: N802
        return self.kind


class Wandb:
    """The runs that were begun, and what each was told."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.rows: list[int] = []
        self.exits: list[int] = []
        self.held = 0  # the last step of a run that is resumed online

    def init(self, **asked: Any) -> Any:
        self.asked.append(asked)
        return SimpleNamespace(
            id=asked["id"] or "new",
            resumed=asked["resume"] == "allow",
            step=self.held + 1,
            config=SimpleNamespace(update=lambda _, **__: None),
            log=lambda _, step: self.rows.append(step),
            finish=lambda exit_code: self.exits.append(exit_code),
        )


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    made = Wandb()
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_SILENT", raising=False)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    module(monkeypatch, "wandb", init=made.init, Settings=dict)
    module(monkeypatch, "wandb.proto")
    module(monkeypatch, "wandb.proto.wandb_internal_pb2", Record=Record)
    return made


def wandb_file(path: Path, *values: dict[str, Any]) -> Path:
    """A file as W&B writes it: blocks of 32 KiB of pieces of records."""
    content = bytearray(b":W&B\xe1\xbe\x00")
    for rest in (json.dumps(value).encode() for value in values):
        first = True
        while rest or first:
            room = 32768 - len(content) % 32768 - 7
            if room < 0:
                content += bytes(room + 7)
                continue
            piece, rest = rest[:room], rest[room:]
            kind = (2 if rest else 1) if first else (3 if rest else 4)
            content += struct.pack("<IHB", 0, len(piece), kind) + piece
            first = False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_wandb_is_offline_and_its_run_named_as_the_folder(wandb: Wandb, tmp_path: Path) -> None:
    tracker = WeightsAndBiases(Opening("tuned", tmp_path, RECIPE))
    (asked,) = wandb.asked
    kept = {key: asked[key] for key in ("project", "name", "id", "mode", "resume")}
    assert kept == {
        "project": "tuned",
        "name": "tuned",
        "id": None,
        "mode": "offline",
        "resume": None,
    }
    assert tracker.id == "new"
    tracker.log({"train/loss": 1.0}, 1)
    tracker.finish("finished")
    assert (wandb.rows, wandb.exits) == ([1], [0])


@pytest.mark.parametrize(("named", "project"), [("parcels", "parcels"), ("", "tuned")])
def test_the_environment_names_the_project_of_wandb(
    wandb: Wandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, project: str
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", named)
    WeightsAndBiases(Opening("tuned", tmp_path, RECIPE)).finish("finished")
    assert (wandb.asked[0]["project"], wandb.asked[0]["name"]) == (project, "tuned")


@pytest.mark.parametrize(("held", "expected"), [(2, [3, 4, 5]), (4, [5])])
def test_wandb_offline_gets_no_step_that_its_files_have(
    wandb: Wandb, tmp_path: Path, held: int, expected: list[int]
) -> None:
    for start, steps in (("20260101", range(1, held)), ("20260102", [held])):
        rows = ({"step": step} for step in steps)
        wandb_file(tmp_path / f"wandb/offline-run-{start}-r1/run-r1.wandb", {}, *rows)
    wandb_file(tmp_path / "wandb/offline-run-20260103-r2/run-r2.wandb", {"step": 90})
    tracker = WeightsAndBiases(Opening("tuned", tmp_path, RECIPE, step=3, id="r1"))
    assert (wandb.asked[0]["id"], wandb.asked[0]["resume"]) == ("r1", None)
    for step in range(1, 6):
        tracker.log({"train/loss": 1.0}, step)
    assert wandb.rows == expected
    tracker.finish("stopped")
    assert wandb.exits == [1]


def test_wandb_offline_whose_files_were_sent_goes_on_at_the_checkpoint(
    wandb: Wandb, tmp_path: Path
) -> None:
    tracker = WeightsAndBiases(Opening("tuned", tmp_path, RECIPE, step=3, id="r1"))
    for step in range(1, 6):
        tracker.log({"train/loss": 1.0}, step)
    assert wandb.rows == [4, 5]


def test_wandb_online_gets_no_step_that_it_has(
    wandb: Wandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb.held = 4
    tracker = WeightsAndBiases(Opening("tuned", tmp_path, RECIPE, step=3, id="r1"))
    assert wandb.asked[0]["resume"] == "allow"
    for step in range(1, 7):
        tracker.log({"train/loss": 1.0}, step)
    assert wandb.rows == [5, 6]


def test_wandb_is_still_where_nobody_looks_on(
    wandb: Wandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WeightsAndBiases(Opening("tuned", tmp_path, RECIPE))
    monkeypatch.setattr(progress, "_enabled", True)
    WeightsAndBiases(Opening("tuned", tmp_path, RECIPE))
    monkeypatch.setattr(progress, "_enabled", False)
    monkeypatch.setenv("WANDB_SILENT", "false")
    WeightsAndBiases(Opening("tuned", tmp_path, RECIPE))
    assert [asked["settings"] for asked in wandb.asked] == [{"silent": True}, None, None]


def test_the_last_step_of_a_wandb_file_is_that_of_its_last_whole_row(
    wandb: Wandb, tmp_path: Path
) -> None:
    rows = [{"step": i, "pad": "x" * 700 * i} for i in range(1, 80)]
    file = wandb_file(tmp_path / "run.wandb", {}, *rows)
    assert last_step(file) == 79
    file.write_bytes(file.read_bytes()[:-5])
    assert last_step(file) == 78
    file.write_bytes(file.read_bytes()[:7])
    assert last_step(file) == 0
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match="does not begin as those of W&B"):
        last_step(file)


class RefusedError(Exception):
    """As MLflow's MlflowException."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.error_code = code


class MlflowServer:
    """MLflow's client over runs in memory: what each was told as (key, step), and its status."""

    def __init__(self) -> None:
        self.where: list[str] = []
        self.runs: dict[str, Any] = {}
        self.error = "RESOURCE_DOES_NOT_EXIST"

    def __call__(self, where: str) -> MlflowServer:
        self.where.append(where)
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="3") if self.runs else None

    def create_experiment(self, name: str, artifacts: str | None) -> str:
        return "3"

    def create_run(self, experiment: str, run_name: str, tags: Any) -> Any:
        run = SimpleNamespace(
            info=SimpleNamespace(run_id=f"run-{len(self.runs)}", lifecycle_stage="active"),
            data=self,
            name=run_name,
            told=[],
            params=0,
            status="",
        )
        self.runs[run.info.run_id] = run
        return run

    def get_run(self, run: str) -> Any:
        if run not in self.runs:
            raise RefusedError(self.error)
        return self.runs[run]

    def to_proto(self) -> Any:
        last: dict[str, int] = {}
        for key, step in (pair for run in self.runs.values() for pair in run.told):
            last[key] = max(step, last.get(key, 0))
        return SimpleNamespace(metrics=[SimpleNamespace(key=k, step=s) for k, s in last.items()])

    def update_run(self, run: str, status: str) -> None:
        self.runs[run].status = status

    def set_terminated(self, run: str, status: str) -> None:
        self.runs[run].status = status

    def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
        assert len(params) <= 100
        self.runs[run].params += len(params)
        self.runs[run].told += [(key, step) for key, _, _, step in metrics]


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> MlflowServer:
    made = MlflowServer()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_REQUEST_MAX_RETRIES", "DISABLE_TELEMETRY", "LOGGING_LEVEL"):
        monkeypatch.setenv(f"MLFLOW_{name}", "1")  # put back afterwards, whatever is set meanwhile
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "1")
    module(monkeypatch, "mlflow", MlflowClient=made)
    module(monkeypatch, "mlflow.exceptions", MlflowException=RefusedError)
    entities = {name: lambda *values: values for name in ("Metric", "Param")}
    module(monkeypatch, "mlflow.entities", **entities)
    for name in ("mlflow.tracking", "mlflow.tracking.context"):
        module(monkeypatch, name)
    module(monkeypatch, "mlflow.tracking.context.registry", resolve_tags=dict)
    return made


def test_mlflow_has_one_run_however_often_it_starts(mlflow: MlflowServer, tmp_path: Path) -> None:
    many = {f"key{i}": i for i in range(250)}
    first = Mlflow(Opening("tuned", tmp_path, many))
    (run,) = mlflow.runs.values()
    assert (run.name, run.params, run.status) == ("tuned", 250, "RUNNING")
    assert mlflow.where == [f"sqlite:///{tmp_path}/mlflow.db"]
    for step in (1, 2, 3):
        first.log({"train/loss": 1.0}, step)
    first.finish("stopped")
    assert run.status == "KILLED"
    again = Mlflow(Opening("tuned", tmp_path, many, step=2, id=first.id))
    assert (again.id, run.params, run.status) == (first.id, 250, "RUNNING")
    for step in (1, 2, 3, 4):
        again.log({"train/loss": 1.0}, step)
        again.log({"validation/loss": 1.0}, step)
    assert [step for key, step in run.told if key == "train/loss"] == [1, 2, 3, 4]
    assert [step for key, step in run.told if key == "validation/loss"] == [1, 2, 3, 4]
    again.finish("failed")
    assert run.status == "FAILED"


def test_mlflow_that_lost_the_run_begins_another(mlflow: MlflowServer, tmp_path: Path) -> None:
    assert Mlflow(Opening("tuned", tmp_path, RECIPE, step=2, id="gone")).id == "run-0"
    mlflow.runs["run-0"].info.lifecycle_stage = "deleted"
    assert Mlflow(Opening("tuned", tmp_path, RECIPE, step=2, id="run-0")).id == "run-1"
    mlflow.error = "PERMISSION_DENIED"
    with pytest.raises(RefusedError):
        Mlflow(Opening("tuned", tmp_path, RECIPE, step=2, id="gone"))


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_a_full_disk_is_told_where_tensorboard_is_and_not_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()
    tracker = TensorBoard(Opening("tuned", tmp_path, RECIPE))
    assert threading.active_count() == before

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tracker._records, "write", full)
    with pytest.raises(OSError, match="No space left"):
        tracker.log({"train/loss": 1.0}, 1)
    assert tracker._file.closed
