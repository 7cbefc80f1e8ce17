"""Trials run where nothing else has: what they give, what they raise, and what they leave."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import BruleeError, InputError
from brulee.planning.apart import Apart

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="trials share a process elsewhere")


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Functions that the other process finds under the same name."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return importlib.import_module("trials")


def test_each_trial_begins_from_what_was_prepared(trials: Any) -> None:
    with Apart((), trials.prepared, "first") as apart:
        one = apart.run(trials.add, "second")
        two = apart.run(trials.add, "third")
    assert (one[0], one[2], two[0], two[2]) == ("first", "second", "first", "third")
    assert one[1] == two[1], "prepared once"
    assert len({str(os.getpid()), one[1], one[3], two[3]}) == 4


def test_what_goes_wrong_in_a_trial_is_raised_here(trials: Any) -> None:
    with Apart((), trials.prepared, "first") as apart:
        with pytest.raises(InputError, match="no such method"):
            apart.run(trials.fail, "input")
        with pytest.raises(RuntimeError, match="KeyError: 'other'"):
            apart.run(trials.fail, "other")
        with pytest.raises(BruleeError, match="memory ran out"):
            apart.run(trials.fail, "killed")
        with pytest.raises(BruleeError, match=r"^memory ran out in a trial; free some"):
            apart.run(trials.fail, "memory")
        assert apart.run(trials.add, "after")[2] == "after"


def test_what_cannot_be_prepared_is_raised_here(trials: Any) -> None:
    with (
        Apart((), trials.refused, "this") as apart,
        pytest.raises(InputError, match="this is not valid"),
    ):
        apart.run(trials.add, "second")


def test_where_nothing_is_tried_nothing_is_said(
    trials: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with Apart((), trials.prepared, "first"):
        pass
    assert capfd.readouterr().err == ""
