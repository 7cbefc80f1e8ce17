import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brulee.reporting.results import Results

_EXAMPLE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "example_run.py"))


@pytest.fixture
def example() -> Results:
    """The numbers of a realistic run."""
    made: Results = _EXAMPLE["results"]()
    return made


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A realistic run folder on disk."""
    make: Callable[[Path], Path] = _EXAMPLE["make"]
    return make(tmp_path / "run")
