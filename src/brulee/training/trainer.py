"""The one training loop."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch

from brulee.data.encoding import Encoded
from brulee.errors import StoppedError
from brulee.methods.base import Attached
from brulee.models.loading import Base
from brulee.progress import Bar, bar
from brulee.recipe import TrainSpec
from brulee.training import checkpoint
from brulee.training.events import EventLog
from brulee.training.memory import current_bytes, peak_bytes, reset_peak
from brulee.training.optim import adamw, schedule, set_learning_rate
from brulee.training.passes import Passes
from brulee.training.signals import taken

_ROWS_NAMED = 8  # in a message; events.jsonl names them all


@dataclass(frozen=True)
class Document:
    """One training document and the name of its row, for messages."""

    row: str
    encoded: Encoded


@dataclass(frozen=True)
class Totals:
    """What training took. Tokens are real ones, without padding; seconds exclude validation."""

    steps: int
    tokens: int
    seconds: float
    peak_memory_bytes: int

    @property
    def tokens_per_second(self) -> float:
        """Real tokens trained on per second."""
        return self.tokens / self.seconds if self.seconds else 0.0


def planned_documents(spec: TrainSpec, count: int) -> int:
    """How many documents a training reads, where `count` of them are an epoch."""
    documents = math.ceil(spec.epochs * count)
    if spec.max_steps is None:
        return documents
    return min(documents, spec.max_steps * spec.batch_size * spec.accumulation)


class Trainer:
    """Trains what a method attached, on documents given by index.

    `document(i)` is a pure function of i, so that resuming needs one integer; `count` is how many
    documents make an epoch. The loss of a step is the sum over its learned tokens divided by their
    number, whatever the split into batches.
    """

    def __init__(
        self,
        base: Base,
        attached: Attached,
        document: Callable[[int], Document],
        count: int,
        spec: TrainSpec,
        *,
        learning_rate: float,
        folder: Path,
        validation: Sequence[Encoded] = (),
        autocast: bool = False,
    ) -> None:
        self.base, self.attached, self.document, self.spec = base, attached, document, spec
        self.validation, self.folder = validation, folder
        self.learning_rate = learning_rate
        self.per_step = spec.batch_size * spec.accumulation
        self.per_epoch = math.ceil(count / self.per_step)
        self.documents = math.ceil(spec.epochs * count)
        self.steps = math.ceil(planned_documents(spec, count) / self.per_step)
        self.passes = Passes(base, most=spec.batch_size, autocast=autocast)
        groups = attached.groups()
        self.parameters = [p for group in groups for p in group.parameters]
        self.optimizer = adamw(groups, learning_rate, spec.weight_decay)
        self.events = EventLog(folder / "events.jsonl")
        self.step, self.tokens, self.seconds, self.peak = 0, 0, 0.0, 0
        self._saved = 0  # the step of the newest checkpoint
        self._stop = False

    def train(self, resume_line: str = "") -> Totals:
        """Run to the end, from the newest checkpoint in the run folder if there is one.

        Raises StoppedError on a non-finite loss (naming the step and its rows) and, after saving a
        checkpoint, on Ctrl-C or SIGTERM (with `resume_line`, the command that goes on).
        """
        self._resume()
        self.base.model.train()
        reset_peak(self.base.device)
        shown = bar("Training", total=self.steps, unit="steps")
        with (
            self.passes.boundary(),
            shown as progress,
            taken(self._ask_to_stop, signal.SIGINT, signal.SIGTERM),
        ):
            progress.advance(self.step)
            while self.step < self.steps:
                self._one_step(progress)
                self._between_steps()
                if self._stop:
                    self._save()
                    raise StoppedError(
                        f"interrupted after step {self.step} of {self.steps}; the state is saved. "
                        f"Go on with: {resume_line}"
                    )
        self.base.model.eval()
        return Totals(self.step, self.tokens, self.seconds, self.peak)

    def validation_loss(self) -> float:
        """Mean loss per learned token over the validation documents."""
        training = self.base.model.training
        self.base.model.eval()
        total, learned = self.passes.total_loss(self.validation)
        self.base.model.train(training)
        return total / learned

    def _one_step(self, progress: Bar) -> None:
        started = time.perf_counter()
        first = self.step * self.per_step
        wanted = range(first, min(first + self.per_step, self.documents))
        documents = [self.document(i) for i in wanted]
        share = schedule(self.spec.schedule, self.step, self.steps, self.spec.warmup)
        rate = set_learning_rate(self.optimizer, share)
        loss, tokens = self.passes.backward([d.encoded for d in documents])
        limit = self.spec.max_grad_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit)
        # One transfer for both: the only point of a step at which a GPU is waited for.
        loss_value, norm_value = torch.stack([loss, norm.to(loss.dtype)]).tolist()
        self._check_finite(loss_value, norm_value, documents)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        seconds = time.perf_counter() - started
        self.tokens += tokens
        self.seconds += seconds
        self.peak = max(self.peak, peak_bytes(self.base.device))
        self._report(progress, loss_value, norm_value, rate, tokens, seconds)

    def _report(
        self, progress: Bar, loss: float, norm: float, rate: float, tokens: int, seconds: float
    ) -> None:
        self.events.write(
            "step",
            step=self.step,
            loss=loss,
            grad_norm=norm,
            lr=rate,
            tokens=tokens,
            tokens_per_s=tokens / seconds,
            memory_bytes=current_bytes(self.base.device),
            seconds=seconds,
        )
        progress.advance(1, loss=f"{loss:.3f}", tokens_s=f"{self.tokens / self.seconds:,.0f}")

    def _between_steps(self) -> None:
        last = self.step == self.steps
        if self.validation and (
            last or self.step % (self.spec.validate_every or self.per_epoch) == 0
        ):
            self.events.write("validation", step=self.step, loss=self.validation_loss())
        if last or self.step % (self.spec.save_every or self.per_epoch) == 0:
            self._save()

    def _check_finite(self, loss: float, norm: float, documents: Sequence[Document]) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient norm is {norm}"
        rows = [d.row for d in documents]
        self.events.write("stopped", step=self.step + 1, reason=what, rows=rows)
        more = f" ... (all {len(rows)} in {self.events.path})" if len(rows) > _ROWS_NAMED else ""
        self._diverged(
            f"step {self.step + 1}: {what}; its rows: {'; '.join(rows[:_ROWS_NAMED])}{more}",
            "; and look at these rows",
        )

    def _check_weights(self) -> None:
        """A step may end in weights that only the next one would show to be useless."""
        finite = torch.stack([torch.isfinite(p).all() for p in self.parameters])
        if not finite.all():
            self._diverged(f"step {self.step}: it left weights that are not finite")

    def _diverged(self, what: str, more: str = "") -> NoReturn:
        kept = f"The checkpoint of step {self._saved} is kept. " if self._saved else ""
        raise StoppedError(
            f"{what}. {kept}Try a lower train.learning_rate (it is {self.learning_rate:g}), a "
            f"longer train.warmup, or train.precision=float32{more}."
        )

    def _save(self) -> None:
        if self._saved == self.step:
            return
        self._check_weights()
        state = {"tokens": self.tokens, "seconds": self.seconds, "peak": self.peak}
        root = self.folder / "checkpoints"
        keep = self.spec.keep_checkpoints
        checkpoint.save(root, self.step, self.parameters, self.optimizer, state, keep)
        self._saved = self.step

    def _resume(self) -> None:
        saved = checkpoint.newest(self.folder / "checkpoints")
        torch.manual_seed(self.spec.seed)
        if saved is None:
            self.events.rewind(0)
            return
        checkpoint.restore(saved, self.parameters, self.optimizer)
        self.step = self._saved = saved.step
        self.tokens, self.seconds = saved.state["tokens"], saved.state["seconds"]
        self.peak = saved.state["peak"]
        self.events.rewind(self.step)

    def _ask_to_stop(self, number: int, _: FrameType | None) -> None:
        """First Ctrl-C or SIGTERM: finish the step and save. A second Ctrl-C stops at once."""
        if self._stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._stop = True
