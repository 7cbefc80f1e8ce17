"""A pass recorded once as a CUDA graph and replayed: one launch instead of thousands.

A small model's pass is thousands of kernels of a few microseconds each, and Python launches them
more slowly than a GPU runs them. A graph needs one launch, but is only valid for one set of sizes.
Packs all have different lengths, so each is padded with a filler document that has no targets, up
to sizes that recur:

    |-- a --|- b -|---- c ----|~~ filler ~~|      rows, queries of the last layer, learned positions

Sizes are computed normally the first time and recorded the second time. A recording is replayed at
once and compared with the same pass unrecorded; if it differs, or cannot be made, everything is
computed normally. BRULEE_GRAPHS=1 turns this on; BRULEE_GRAPHS=auto only uses replays that,
including their filler, take less time than the pass itself, which is not the case if the GPU is
busy anyway. Not run on a GPU yet: the tests use a stand-in.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import nn

from brulee.data.batching import Batch, common_start, pack
from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods.lora_layer import LoRALinear
from brulee.models.allocator import is_exhaustion
from brulee.models.attention import takes_all_documents
from brulee.models.fused_decoder import FusedDecoder
from brulee.models.head import CompletionLoss
from brulee.models.prepared import Prepared
from brulee.progress import note
from brulee.training.graphs import Pass, Record, on_cuda

MOST = 24  # graphs; passes of further sizes are computed normally
SWITCH = "BRULEE_GRAPHS"
_MODES = ("", "0", "1", "auto")
# The longest document is rounded up to a power of two from here on: kernels use it to set the
# number of blocks, and blocks without rows end at once.
_LONGEST = 512
_TRIES = 3  # of a replay and of the pass itself; the fastest of each are compared
_LOSSES = 3  # slower replays after which nothing more is recorded
_TOLERANCE = 1e-2  # relative: loss and gradient norm of a replay, compared with the pass itself

Precision = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Sizes:
    """The sizes that a recording is valid for; `asked` are the last layer's queries."""

    rows: int
    asked: int
    learned: int
    documents: int
    shared: int
    longest: int


@dataclass(frozen=True)
class _Recording:
    """`reached`: indices of the parameters that get a gradient in the pass."""

    inputs: Prepared
    replay: Pass
    reached: tuple[int, ...]


class Captured:
    """Gradients of packs, replayed from recordings if their sizes were seen before.

    `gradient` adds to the parameters' gradients, like `torch.autograd.backward`. `keeps`: whether
    recordings hold memory. With `timed`, only recordings that are faster than the pass itself are
    used. `smoothing` is of the losses (`Batch`).
    """

    def __init__(
        self,
        loss: CompletionLoss,
        precision: Precision,
        record: Record,
        timed: bool = False,
        smoothing: float = 0.0,
    ) -> None:
        self._loss, self._precision, self._record, self._timed = loss, precision, record, timed
        self._smoothing = smoothing
        device = loss.model.device
        self._share = torch.ones((), device=device)  # a pass's summed loss is scaled by this
        self._found = torch.zeros((), device=device)  # the scaled loss
        self._met: set[Sizes] = set()
        self._recorded: dict[Sizes, _Recording] = {}
        self._slower: set[Sizes] = set()
        self._reached: tuple[int, ...] = ()  # by the last computed pass
        self._works = True
        self.keeps, self.replayed = False, 0

    def gradient(self, documents: Sequence[Encoded], over: float) -> torch.Tensor | None:
        """The summed loss / `over` with its gradient; None if it has to be computed normally.

        The returned scalar is overwritten by the next call.
        """
        if not self._works:
            return None
        if any(document.prompts for document in documents):
            note("passes with a loss of prompts are not recorded as CUDA graphs")
            self._works = False
            return None
        shared = common_start(documents)
        sizes = sizes_of(documents, shared)
        if sizes not in self._recorded and not self._to_be_recorded(sizes):
            self._met.add(sizes)
            return None
        self._share.fill_(1 / over)
        if sizes not in self._recorded:
            found = self._recording(documents, shared, sizes)
            if found is None:
                return None
            self._recorded[sizes] = found
        self._replay(self._recorded[sizes], documents, shared, sizes)
        self.replayed += 1
        return self._found

    def _to_be_recorded(self, sizes: Sizes) -> bool:
        room = len(self._recorded) < MOST and len(self._slower) < _LOSSES
        return room and sizes in self._met and sizes not in self._slower

    def _replay(
        self, recording: _Recording, documents: Sequence[Encoded], shared: int, sizes: Sizes
    ) -> None:
        """Add these documents' gradients to the parameters'."""
        prepared = self._prepared(documents, shared, sizes)
        self._take_gradients(recording.reached)
        for mine, new in zip(recording.inputs.tensors(), prepared.tensors(), strict=True):
            mine.copy_(new, non_blocking=True)
        recording.replay()

    def _prepared(self, documents: Sequence[Encoded], shared: int, sizes: Sizes) -> Prepared:
        batch = filled_up(documents, shared, sizes).to(self._share.device)
        return _lengthened(self._decoder.prepared(batch), sizes.longest)

    @functools.cached_property
    def _parameters(self) -> list[torch.nn.Parameter]:
        return [p for p in self._loss.model.parameters() if p.requires_grad]

    @functools.cached_property
    def _sums(self) -> list[torch.Tensor]:
        return [torch.zeros_like(p) for p in self._parameters]

    @property
    def _decoder(self) -> FusedDecoder:
        assert isinstance(self._loss.decoder, FusedDecoder), "only what it runs is recorded"
        return self._loss.decoder

    def _take_gradients(self, reached: Sequence[int]) -> None:
        """Make these parameters' gradients the tensors that recordings add to."""
        pairs = [(self._parameters[i], self._sums[i]) for i in reached]
        fresh = [total for parameter, total in pairs if parameter.grad is None]
        held = [
            (total, parameter.grad)
            for parameter, total in pairs
            if parameter.grad is not None and parameter.grad is not total
        ]
        if fresh:  # in few kernel launches
            torch._foreach_zero_(fresh)
        if held:
            torch._foreach_copy_([total for total, _ in held], [grad for _, grad in held])
        for parameter, total in pairs:
            parameter.grad = total

    def _pass(self, inputs: Prepared) -> None:
        """Forward and backward; adds the gradients to their sums."""
        self._decoder.held.renew()
        with self._precision():
            loss = self._loss.of_prepared(inputs, self._smoothing)
        share = self._share.to(loss.dtype)
        grads = torch.autograd.grad(loss, self._parameters, share, allow_unused=True)
        self._reached = tuple(i for i, grad in enumerate(grads) if grad is not None)
        torch._foreach_add_(
            [self._sums[i] for i in self._reached], [g for g in grads if g is not None]
        )
        self._found.copy_(loss.detach() * share)

    def _recording(
        self, documents: Sequence[Encoded], shared: int, sizes: Sizes
    ) -> _Recording | None:
        """Record a pass for these sizes; None if the recording cannot be used.

        Recording stops for good if it fails or gives different results.
        """
        self.keeps = True
        inputs = self._prepared(documents, shared, sizes)
        before = [total.clone() for total in self._sums]  # may contain an earlier pass of this step
        grads = [parameter.grad for parameter in self._parameters]
        pays = True
        try:
            replay = self._record(lambda: self._pass(inputs))
            found = _Recording(inputs, replay, self._reached)
            same = self._same(replay, lambda: self._pass(inputs))
            if same and self._timed:
                pays = self._pays(found, documents, shared, sizes)
        except RuntimeError as error:
            if is_exhaustion(error):
                raise
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            note(f"passes are not recorded as CUDA graphs: {first}")
            same = False
        finally:
            torch._foreach_copy_(self._sums, before)
            for parameter, grad in zip(self._parameters, grads, strict=True):
                parameter.grad = grad
        if not same:  # earlier recordings cannot be trusted either
            self._works = self.keeps = False
            self._recorded.clear()
        if not pays:
            self._slower.add(sizes)
            self.keeps = bool(self._recorded)
        return found if same and pays else None

    def _pays(
        self, recording: _Recording, documents: Sequence[Encoded], shared: int, sizes: Sizes
    ) -> bool:
        """Whether a replay, including its preparation, is faster than the pass itself."""

        def replayed() -> None:
            self._replay(recording, documents, shared, sizes)

        def plain() -> None:
            batch = pack(documents, shared).to(self._share.device)
            self._pass(self._decoder.prepared(batch))

        ours, its_own = (
            min(self._seconds(run) for _ in range(_TRIES)) for run in (replayed, plain)
        )
        if ours >= its_own:
            note(
                f"passes of {sizes.rows} rows are not replayed from CUDA graphs: that takes "
                f"{1e3 * ours:.1f} ms, and the pass itself {1e3 * its_own:.1f} ms"
            )
        return ours < its_own

    def _seconds(self, run: Pass) -> float:
        self._wait()
        started = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self._share.is_cuda:
            torch.cuda.synchronize(self._share.device)

    def _same(self, replay: Pass, plain: Pass) -> bool:
        ours, exact = self._outcome(replay), self._outcome(plain)
        near = [math.isclose(a, b, rel_tol=_TOLERANCE) for a, b in zip(ours, exact, strict=True)]
        if not all(near):
            note(f"passes are not recorded as CUDA graphs: loss and gradient {ours} for {exact}")
        return all(near)

    def _outcome(self, run: Pass) -> tuple[float, float]:
        """The loss of a pass, and its gradient norm."""
        torch._foreach_zero_(self._sums)
        run()
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(self._sums)))
        return float(self._found), float(length)


def sizes_of(documents: Sequence[Encoded], shared: int) -> Sizes:
    """The next recurring sizes for a pack of these documents and a filler."""
    lengths = [len(d.ids) for d in documents]
    learned = _next(sum(d.learned for d in documents) + 1, parts=2)
    filled = learned - sum(d.learned for d in documents)
    asked = sum(len(d.ids) - d.spans[0][0] + 1 for d in documents)
    every = _next(asked + filled + 1, parts=2)
    # The filler has at least as many rows as it has queries.
    rows = shared + sum(lengths) - shared * len(lengths)
    whole = _next(rows + every - asked, parts=8)
    longest = max(*lengths, shared + whole - rows)
    power = max(_LONGEST, 1 << (longest - 1).bit_length())
    return Sizes(whole, every, learned, len(documents), shared, power)


def filled_up(documents: Sequence[Encoded], shared: int, sizes: Sizes) -> Batch:
    """A pack of these sizes: the documents, and a filler without targets."""
    learned = sum(d.learned for d in documents)
    asked = sizes.asked - sum(len(d.ids) - d.spans[0][0] + 1 for d in documents)
    own = sizes.rows - shared - sum(len(d.ids) - shared for d in documents)
    ids = documents[0].ids[:shared] + (documents[0].ids[-1],) * own
    first = len(ids) - asked + 1
    filler = Encoded(ids, ((first, first + sizes.learned - learned),))
    batch = pack([*documents, filler], shared)
    batch.targets[learned:] = -1
    return batch


def _next(size: int, parts: int) -> int:
    """Round up to a multiple of 1 / `parts` of the power of two below, or of 64 if that is more."""
    step = max(64, (1 << size.bit_length() - 1) // parts)
    return -(-size // step) * step


def _lengthened(prepared: Prepared, longest: int) -> Prepared:
    """Set the longest document, a kernel argument that is part of the recording."""
    every = replace(prepared.every, longest=(longest, longest))
    last = replace(prepared.last, longest=(longest, longest))
    return replace(prepared, every=every, last=last)


def _drops(module: nn.Module) -> bool:
    own = module.p if isinstance(module, nn.Dropout) else 0.0
    return bool(module.dropout if isinstance(module, LoRALinear) else own)


def captured(
    loss: CompletionLoss,
    precision: Precision,
    dtype: torch.dtype,
    noise: bool = False,
    smoothing: float = 0.0,
) -> Captured | None:
    """Recordings for a model's passes, if requested and if an attention kernel is used.

    Notes the reason if they were requested but cannot be made; `noise` is drawn in every pass.
    Raises InputError for an invalid value of BRULEE_GRAPHS.
    """
    mode = os.environ.get(SWITCH, "")
    if mode not in _MODES:
        raise InputError(f"{SWITCH}={mode!r} in the environment; valid: 0, 1, auto.")
    if mode in ("", "0"):
        return None
    if (passes := "passes with noise" if noise else _unrecorded(loss, dtype)) is not None:
        note(f"{passes} are not recorded as CUDA graphs")
        return None
    record, timed = on_cuda(loss.model.device), mode == "auto"
    return Captured(loss, precision, record, timed, smoothing)


def _unrecorded(loss: CompletionLoss, dtype: torch.dtype) -> str | None:
    """Why a model's passes cannot be recorded, as a noun phrase; None if they can."""
    decoder = loss.decoder
    if loss.model.config.is_encoder_decoder:
        return "passes of an encoder-decoder"
    if not isinstance(decoder, FusedDecoder):
        return "passes through transformers' own code"
    if decoder.held.refreshes:  # a replay would not trigger writing trained values
        return "passes after each of which trained values are written"
    if any(layer.cap is not None or layer.sinks for layer in decoder.form.layers):
        # No kernel caps scores or has sinks, so a pass's launches depend on each document's length.
        return "passes with bent attention scores"
    if any(layer.extras.chunk or layer.extras.tempered for layer in decoder.form.layers):
        return "passes in which attention depends on how long a document is"
    if any(layer.mixes or layer.extras.mixer for layer in decoder.form.layers):
        # Their calls depend on each document's length.
        return "passes with layers without attention"
    if decoder.form.drops:
        return "passes with dropout"
    heads = [
        torch.empty(0, width, dtype=dtype, device=loss.model.device) for width in decoder.widths
    ]
    if not all(map(takes_all_documents, heads)):
        return "passes in which no kernel attends to all documents at once"
    # Random numbers drawn during recording would be missing from the later sequence.
    return "passes with dropout" if any(map(_drops, loss.model.modules())) else None
