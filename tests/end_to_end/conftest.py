import json
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BAD: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "bad_inputs.py"))


@dataclass
class Called:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


Call = Callable[..., Called]


@pytest.fixture
def at(tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A working directory with rows and a recipe for the tiny model; see tests/bad_inputs.py."""
    monkeypatch.chdir(tmp_path)
    return BAD["Place"](tmp_path, tiny_model_folder)


@pytest.fixture
def unforeseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps without the forecast, which takes longer than these trainings."""
    monkeypatch.setattr("brulee.pipeline.sweeps.tell_forecast", lambda _: None)


@pytest.fixture
def brulee(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> Call:
    """Calls the command line in this process: brulee("run", "x.yaml", stdin="...")."""
    import io

    from brulee import progress
    from brulee.cli.main import build_app

    def call(*arguments: object, stdin: str = "") -> Called:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        monkeypatch.setenv("COLUMNS", "100")
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            build_app()([str(argument) for argument in arguments])
        progress.enable(False)
        captured = capsys.readouterr()
        code = left.value.code
        return Called(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call


@pytest.fixture
def environment() -> dict[str, str]:
    """For subprocesses: this source tree, and one thread, which is fastest for tiny matrices."""
    source = str(Path(__file__).parents[2] / "src")
    return {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
