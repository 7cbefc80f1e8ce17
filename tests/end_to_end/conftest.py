import hashlib
import json
import os
import runpy
import shutil
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


@pytest.fixture(scope="session")
def commands() -> Callable[[list[str]], Any]:
    """The command line, whose options typer takes longer to read than many commands take."""
    from typer.main import get_command

    from brulee.cli.main import build_app

    return get_command(build_app())


@pytest.fixture
def brulee(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    one_thread: None,
    commands: Callable[[list[str]], Any],
) -> Call:
    """Calls the command line in this process: brulee("run", "x.yaml", stdin="...").

    What it starts in another process has one thread too.
    """
    import io

    from brulee import progress

    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*arguments: object, stdin: str = "") -> Called:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        monkeypatch.setenv("COLUMNS", "100")
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            commands([str(argument) for argument in arguments])
        progress.enable(False)
        captured = capsys.readouterr()
        code = left.value.code
        return Called(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Called]]:
    """What `once` has called, and the folder of what that left."""
    return tmp_path_factory.mktemp("kept"), {}


@pytest.fixture
def once(at: Any, brulee: Call, kept: tuple[Path, dict[str, Called]]) -> Call:
    """`brulee` for what a test begins with, which has to succeed.

    Of equal arguments in folders of equal files the first call alone is made; the others get a
    copy of what it left. Not for calls in which anything is replaced.
    """
    folder, called = kept

    def call(*arguments: object) -> Called:
        before = {str(f.relative_to(at.folder)): f.read_bytes() for f in _files(at.folder)}
        asked = repr((sorted(before.items()), [str(argument) for argument in arguments]))
        key = hashlib.sha256(asked.encode()).hexdigest()
        if key not in called:
            done = brulee(*arguments)
            assert done.code == 0, done.err
            shutil.copytree(at.folder, folder / key)
            # Records that name the folder will name that of whoever gets the copy.
            for file in _files(folder / key):
                _replace(file, os.fsencode(at.folder), key.encode())
            called[key] = done
        else:
            shutil.copytree(folder / key, at.folder, dirs_exist_ok=True)
            for file in _files(at.folder):
                _replace(file, key.encode(), os.fsencode(at.folder))
        return called[key]

    return call


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def _replace(file: Path, old: bytes, new: bytes) -> None:
    if file.suffix in (".json", ".html") and old in (text := file.read_bytes()):
        file.write_bytes(text.replace(old, new))


@pytest.fixture(scope="session")
def kernels() -> Path:
    """Where compiled loops are kept: for processes with a cache of their own, which would wait."""
    from brulee.models.bundled import cache_folder

    folder = cache_folder() / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def tried_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plan tries, without the process of its own, which imports PyTorch once more."""

    class Here:
        def __init__(self, _: Any, prepare: Callable[..., Any], *arguments: Any) -> None:
            self.prepared = prepare(*arguments)

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def run(self, trial: Callable[..., Any], *arguments: Any) -> Any:
            return trial(self.prepared, *arguments)

    monkeypatch.setattr("brulee.pipeline.plan.Apart", Here)


@pytest.fixture
def environment() -> dict[str, str]:
    """For subprocesses: this source tree, and one thread, which is fastest for tiny matrices."""
    source = str(Path(__file__).parents[2] / "src")
    return {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
