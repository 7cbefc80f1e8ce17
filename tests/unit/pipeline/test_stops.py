"""What interrupts a run is told with the command that continues it, once there is something to."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from brulee.errors import AskedToStopError
from brulee.pipeline.stops import interruptible

FULL = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM]


def _run(begun: bool) -> Any:
    return SimpleNamespace(begun=begun, path=Path("runs/a"), resume_line="brulee resume runs/a")


@pytest.mark.parametrize("number", FULL)
def test_a_disk_that_takes_no_more_is_told_with_how_to_go_on(number: int) -> None:
    said = rf"a\.jsonl: {os.strerror(number).lower()}; .* continue with: brulee resume runs/a"
    with pytest.raises(AskedToStopError, match=said), interruptible(_run(begun=True)):
        raise OSError(number, os.strerror(number), "a.jsonl")


@pytest.mark.parametrize(("number", "begun"), [(errno.ENOSPC, False), (errno.ENOENT, True)])
def test_an_error_before_the_run_or_of_ours_is_passed_on(number: int, begun: bool) -> None:
    with pytest.raises(OSError, match="a") as raised, interruptible(_run(begun)):
        raise OSError(number, os.strerror(number), "a.jsonl")
    assert not isinstance(raised.value, AskedToStopError)
    assert raised.value.errno == number
