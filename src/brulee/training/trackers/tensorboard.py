"""TensorBoard's event files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from brulee.training.trackers.base import Opening, Outcome

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event


class TensorBoard:
    """One file per start of a training, all in one folder, shown as one curve.

    A later file begins by discarding later steps of the earlier ones. We do not use torch's
    SummaryWriter, whose thread prints a traceback when the disk is full.
    """

    package: ClassVar[str | None] = "tensorboard"
    name = "tensorboard"

    def __init__(self, at: Opening) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.id = at.id or at.run
        self._has = at.step if at.id else 0
        folder = at.folder / self.id
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in order of their names.
        self._file = (folder / f"events.out.tfevents.{time.time_ns()}").open("xb")
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=at.step + 1, session_log=SessionLog(status=SessionLog.START)))
        if at.id is None:
            self._write(Event(summary=hparams_pb(dict(at.recipe))))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write immediately, so that a kill loses no logged step."""
        if step <= self._has:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=found)))

    def finish(self, outcome: Outcome) -> None:  # noqa: ARG002  TensorBoard knows no outcome
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        try:
            self._records.write(event.SerializeToString())
            self._file.flush()
        except OSError:
            with suppress(OSError):
                self._file.close()
            raise
