"""The one training loop."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from brulee.data.encoding import Encoded
from brulee.errors import AskedToStopError
from brulee.methods.base import Attached
from brulee.models.allocator import is_exhaustion
from brulee.models.loading import Base
from brulee.progress import Bar, bar, note
from brulee.recipe import TrainSpec
from brulee.training import together
from brulee.training.checkpoints import Checkpoints
from brulee.training.documents import Document, Documents, course
from brulee.training.events import EventLog, read_events
from brulee.training.exhaustion import Relief
from brulee.training.guards import Guards, frozen_damage
from brulee.training.memory import current_bytes, peak_bytes, reset_peak
from brulee.training.optim import optimizer_of, set_learning_rate
from brulee.training.passes import Passes
from brulee.training.randomness import isolated_rng, rng_snapshot
from brulee.training.recorder import OpenTrackers, Recorder
from brulee.training.schedules import schedule
from brulee.training.selection import Best
from brulee.training.sharding import shard
from brulee.training.signals import handling_signals
from brulee.training.totals import Totals
from brulee.training.untouched import Untouched
from brulee.training.validation import validation_loss
from brulee.training.world import ALONE, World


@dataclass(frozen=True)
class Glimpse:
    """The model's current outputs: mean scores, and sample prompts with outputs and references."""

    scores: dict[str, float]
    samples: list[dict[str, str]]


class Trainer:
    """Trains what a method attached, on documents given by index.

    `count` is the number of documents per epoch. The loss of a step is the sum over its learned
    tokens divided by their number, however the step is split into passes and processes. If the
    world shards, the model is taken from the CPU, with the first process's values. `glimpse` is
    called as `generate_every` says; `pass_tokens` lowers the device's own limit on a pass.
    `validated` is called with the step and loss of each validation, and may raise to end the
    training.
    """

    def __init__(
        self,
        base: Base,
        attached: Attached,
        document: Documents,
        count: int,
        spec: TrainSpec,
        *,
        learning_rate: float,
        folder: Path,
        validation: Sequence[Encoded] = (),
        autocast: bool = False,
        world: World = ALONE,
        pass_tokens: int | None = None,
        glimpse: Callable[[], Glimpse] | None = None,
        trackers: OpenTrackers | None = None,
    ) -> None:
        self.base, self.attached, self.document, self.spec = base, attached, document, spec
        self.validation, self.folder, self.world, self.glimpse = validation, folder, world, glimpse
        self.learning_rate = learning_rate
        self.course = course(spec, count)
        self.steps = self.course.steps
        sharded = shard(base.model, world, attached.replicated()) if world.shards else None
        self.passes = Passes(
            base,
            most=spec.batch_size,
            autocast=autocast,
            noise=spec.neftune_alpha,
            smoothing=spec.label_smoothing,
            sharded=sharded,
        )
        self.passes.pass_tokens = min(self.passes.pass_tokens, pass_tokens or sys.maxsize)
        groups = attached.groups()
        self.parameters = attached.parameters()
        of_tokens = attached.of_tokens()
        self.optimizer = optimizer_of(spec, groups, learning_rate, of_tokens)
        if spec.embedding_learning_rate is not None and not of_tokens:
            note("train.embedding_learning_rate: no token embedding and no head is trained")
        if spec.optimizer == "muon" and not any(group.maps for group in groups):
            note("train.optimizer: no matrix of a linear map is trained, so all moves by AdamW")
        self.events = EventLog(folder / "events.jsonl", world.writes)
        self.recorder = Recorder(self.events, trackers)
        self.guards = Guards(
            self.events, spec.max_skips, learning_rate, lambda: frozen_damage(base.model)
        )
        held = self.parameters, self.optimizer
        self.checkpoints = Checkpoints(folder, *held, spec, world, learning_rate)
        self.untouched = Untouched(base.model)
        self.relief = Relief(self.passes, allowed=not world.shards)
        self.best = Best()
        self.step, self.tokens, self.seconds, self.peak = 0, 0, 0.0, 0
        self.validated: Callable[[int, float], None] | None = None
        self._resume_line = ""
        self._early = self._stop = False
        self._validated = self._looked = 0  # the steps after which that was done last

    @property
    def done(self) -> bool:
        """Whether the last step was taken, or the training stopped early."""
        return self._early or self.step == self.steps

    def train(self, resume_line: str = "") -> Totals:
        """Train to the end, resuming from the newest checkpoint in the run folder if there is one.

        Raises StoppedError when too many steps in a row are not finite (naming the rows) and, after
        saving a checkpoint, on Ctrl-C or SIGTERM (with `resume_line`, the command to resume).
        """
        self._resume_line = resume_line
        with isolated_rng(self.base.device):
            self._resume()
            if not self.done or self._left:
                with self.recorder.tracked(self.step):
                    self._go_on()
        kept = self._take_best()
        self.base.model.eval()
        spent = (self.step, self.tokens, self.seconds, self.peak)
        return Totals(*spent, self.steps, kept, self._early, self.best)

    def _go_on(self) -> None:
        self.base.model.train()
        reset_peak(self.base.device)
        with (
            bar("Training", total=self.steps, unit="steps") as progress,
            handling_signals(self._ask_to_stop, signal.SIGINT, signal.SIGTERM),
        ):
            progress.known(self.step)
            stop = False
            while not self.done or self._left:
                # A training that was stopped between two steps goes on there.
                if not self._left:
                    with self.passes.boundary():
                        stop = self._one_step(progress)
                stop = self._between_steps(progress, stop)
                self.peak = max(self.peak, peak_bytes(self.base.device))
                if stop:
                    self._save()
                    raise AskedToStopError(
                        f"interrupted after step {self.step} of {self.steps}; the state is saved. "
                        f"Continue with: {self._resume_line}"
                    )

    def validation_loss(self) -> float | None:
        """Mean loss per learned token over the validation documents; None if asked to stop."""
        documents, asked = self.validation, lambda: self._stop
        return validation_loss(self.base, self.passes, documents, self.world, asked)

    def _one_step(self, progress: Bar) -> bool:
        """Take a step; returns whether some process was asked to stop after it."""
        started = time.perf_counter()
        documents = [self.document(i) for i in self.world.mine(self.course.of(self.step))]
        share = schedule(self.spec, self.step, self.steps)
        rate = set_learning_rate(self.optimizer, share)
        found = self._gradient([d.encoded for d in documents])
        limit = self.spec.max_grad_norm or math.inf
        self.untouched.look()
        norm = together.clip(self.world, self.parameters, limit)
        # One transfer for both: the only GPU synchronisation in a step.
        loss, norm_value = torch.stack([found.loss, norm.to(found.loss.dtype)]).tolist()
        finite = math.isfinite(loss) and math.isfinite(norm_value)
        if finite:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if not finite:
            rows = self._rows(documents)
            final = self.step + 1 == self.steps
            self.guards.skip(self.step + 1, loss, norm_value, rows, self.checkpoints.step, final)
        self.step += 1
        seconds = time.perf_counter() - started
        self.seconds += seconds
        if finite:
            self.tokens += found.tokens
            self._report(progress, loss, norm_value, rate, found.tokens, seconds)
            self.guards.passed(self.step, loss, self._rows(documents))
        return found.stop

    def _gradient(self, documents: Sequence[Encoded]) -> together.Share:
        """This step's loss and counts, with its gradient in place, over all processes."""
        weight = sum(d.weight for d in documents)
        if self.world.size == 1:
            loss, tokens = self._backward(documents, weight)
            return together.Share(loss, tokens, weight, False)
        constant = self.course.per_step
        missing = together.missing(self.world, self.passes, documents)
        loss, tokens = self._backward(documents, constant)
        if missing:
            filler = documents or [self.document(self.course.of(self.step)[0]).encoded]
            together.fill(self.passes, missing, filler[0])
        own = together.Share(loss, tokens, weight, self._stop)
        return together.combine(self.world, self.parameters, own, constant)

    def _backward(self, documents: Sequence[Encoded], over: float) -> tuple[torch.Tensor, int]:
        """The gradient of the summed loss / `over`; in smaller passes if memory runs out."""
        rewind = rng_snapshot(self.base.device)
        try:
            return self.passes.backward(documents, over)
        except (MemoryError, RuntimeError) as error:
            if not is_exhaustion(error):
                raise
        # Outside the handler, because its traceback keeps the pass's tensors alive.
        self.optimizer.zero_grad(set_to_none=True)
        rewind()
        said = self.relief.take_less(self.step + 1, documents, self._resume_line)
        self.recorder.said("out_of_memory", self.step + 1, said)
        return self._backward(documents, over)

    def _rows(self, documents: Sequence[Document]) -> Callable[[], list[str]]:
        """The names of the step's rows, gathered from the other processes when called."""

        def names() -> list[str]:
            return [row for part in self.world.gather([d.row for d in documents]) for row in part]

        return names

    def _report(
        self, progress: Bar, loss: float, norm: float, rate: float, tokens: int, seconds: float
    ) -> None:
        self.recorder.step(
            self.step,
            loss=loss,
            grad_norm=norm,
            lr=rate,
            tokens=tokens,
            tokens_per_s=tokens / seconds,
            memory_bytes=current_bytes(self.base.device),
            seconds=seconds,
        )
        progress.advance(1, loss=f"{loss:.3f}", tokens_s=f"{self.tokens / self.seconds:,.0f}")

    def _between_steps(self, progress: Bar, stop: bool) -> bool:
        """Do what is due after a step, until asked to `stop`; returns whether it was.

        What was not done then is due again when the training goes on.
        """
        alone = self.world.size == 1
        stop = stop or (self._stop and alone)
        if self._validates and not stop:
            stop = not self._validate(progress)
        if self._looks and not stop:
            self._look()
        if self._due(None) and (said := self.untouched.told()):
            self.recorder.said("no_gradient", self.step, said)
        if self._due(self.spec.save_every) and not stop:
            self._save()
        return stop or (self._stop and alone)

    @property
    def _validates(self) -> bool:
        due = self._due(self.spec.validate_every)
        return bool(self.validation) and due and self._validated < self.step

    @property
    def _looks(self) -> bool:
        due = self._due(self.spec.generate_every)
        return self.glimpse is not None and due and self._looked < self.step

    @property
    def _left(self) -> bool:
        """Whether something is due before the next step."""
        return self._validates or self._looks

    def _due(self, every: float | None) -> bool:
        """Whether an action of that interval (`Course.interval`), and of the end, is due."""
        return self.done or self.course.due(self.step, every)

    def _validate(self, progress: Bar) -> bool:
        """Validate, and keep the best weights; returns False if asked to stop before the end."""
        loss = self.validation_loss()
        if loss is None:
            return False
        self._validated = self.step
        self.recorder.validation(self.step, loss)
        progress.show(validation=f"{loss:.3f}")
        if self.validated:
            self.validated(self.step, loss)
        better = self.best.see(self.step, loss)
        if better and self.spec.keep_best:
            self.checkpoints.save_best(self.step, self._state())
        if self.spec.patience is not None and self.best.waited >= self.spec.patience:
            self._early = True
            self.recorder.said(
                "early_stop",
                self.step,
                f"stopped early at step {self.step} of {self.steps}: the validation loss was "
                f"{self.best.told()}",
            )
        return True

    def _look(self) -> None:
        """Generate samples without changing the model or the random state."""
        assert self.glimpse is not None
        self.base.model.eval()
        with isolated_rng(self.base.device):
            found = self.passes.led(self.glimpse)
        self.base.model.train()
        if found is not None:
            self.recorder.completions(self.step, found.scores, found.samples)
        self._looked = self.step

    def _take_best(self) -> int:
        """Restore the best weights, if requested; returns the step of the final weights."""
        if not (self.spec.keep_best and self.best.step):
            if self._early and self.best.step:
                best = self.best.step
                note(f"kept step {self.step}, the last; train.keep_best keeps step {best}")
            return self.step
        self.checkpoints.restore_best(self.best.step)
        note(f"kept step {self.best.step} (validation {self.best.loss:.4f})")
        return self.best.step

    def _save(self) -> None:
        self.checkpoints.save(self.step, self._state(), self.best.step)

    def _state(self) -> dict[str, Any]:
        """What a checkpoint holds besides tensors."""
        return {
            "tokens": self.tokens,
            "seconds": self.seconds,
            "peak": self.peak,
            "early": self._early,
            "validated": self._validated,
            "looked": self._looked,
            "skipped": self.guards.skipped,
            "best": self.best.state(),
            "relieved": self.relief.used,
            "pass_tokens": self.passes.pass_tokens,
            "recomputes": self.passes.recomputes,
        }

    def _resume(self) -> None:
        torch.manual_seed(self.spec.seed + self.world.rank)
        saved = self.checkpoints.restore_newest(self._state())
        if saved is None:
            self.events.rewind(0)
            return
        state = saved.state
        self.step = saved.step
        self.tokens, self.seconds, self.peak = state["tokens"], state["seconds"], state["peak"]
        self._early = state["early"]
        self._validated, self._looked = state["validated"], state["looked"]
        self.best = Best(**state["best"])
        self.relief.used, self.passes.pass_tokens = state["relieved"], state["pass_tokens"]
        if state["recomputes"]:
            self.passes.recompute()
        again = ("validation", "early_stop") if self._validates else ()
        self.events.rewind(self.step, {*again, *(("completions",) if self._looks else ())})
        self.guards.go_on(state["skipped"], read_events(self.events.path))

    def _ask_to_stop(self, number: int, _: FrameType | None) -> None:
        """First Ctrl-C or SIGTERM: finish the step and save. A second Ctrl-C stops at once.

        Unless that save has begun, which would otherwise be lost with all steps since the last.
        """
        if self._stop and number == signal.SIGINT and not self.checkpoints.writing:
            raise KeyboardInterrupt
        self._stop = True
