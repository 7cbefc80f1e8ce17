"""The one thread that computes: it owns the model, its adapters and the tokenizer of answers.

    event loop      submit(a)  submit(b)          cancel(a)      call(load)
                        |          |                  |              |
    this thread     --- step ---- step ---- step ---- step --------- load --- step ---

What others ask for is done between two steps, each of which writes a token of every answer.
While nothing is asked for, answers are read again for who goes on from them.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, TypeVar

from brulee.errors import InputError
from brulee.inference.adapters import Adapters
from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.mixed import Request
from brulee.inference.sampling import Sampling
from brulee.models.defaults import own_defaults
from brulee.serving.spoken import Spoken

T = TypeVar("T")
_DEAD: Final = "the thread that computes has ended; the server's log says why"


class BusyError(Exception):
    """More answers wait than may."""


class DeadError(Exception):
    """Nothing is computed any more."""


@dataclass(frozen=True)
class Asked:
    """An answer that is wanted of an adapter, or of the base (None); `strip` as in `Spoken`.

    `user` is whom a client asks for; each of an adapter's has a share of its own.
    """

    adapter: str | None
    prompt: Sequence[int]
    sampling: Sampling
    stream: int = 0
    strip: bool = False
    user: str = ""

    @property
    def who(self) -> tuple[str | None, str]:
        """Who has a share of what is computed."""
        return self.adapter, self.user


@dataclass(frozen=True)
class Heard:
    """What more was written of an answer; with `finish` that was all, and `whole` is the text.

    So many tokens were written, and so many of its prompt were `spared`.
    """

    piece: str
    tokens: int
    finish: str | None = None
    whole: str = ""
    failed: BaseException | None = None
    spared: int = 0


@dataclass(eq=False)
class Answer:
    """An answer on its way."""

    job: Job
    hear: Callable[[Heard], None]
    spoken: Spoken
    begun: bool = False


class Worker:
    """Answers as `Continuous` has them, of which at most `most_waiting` wait.

    Where so many do, who has fewer than a share of them waiting may still come, up to twice as
    many in all.

    `ended` is called in the thread as it ends, with whether it was asked to.
    """

    def __init__(
        self,
        held: Adapters,
        room: Room,
        most_waiting: int,
        ended: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.held, self._room, self._most_waiting, self._ended = held, room, most_waiting, ended
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._answers: dict[Job, Answer] = {}
        self._calls: set[Future[object]] = set()
        self._stopping = self._dead = False
        self._batch: Continuous | None = None
        self._thread = threading.Thread(target=self._run, name="brulee-worker", daemon=True)

    def start(self) -> None:
        """Begin to compute."""
        _ = self.held.asked  # a copy of the tokenizer, made while nobody uses it
        self._thread.start()

    def stop(self) -> None:
        """End after the step that is being computed; what is unanswered fails."""
        self._stopping = True
        self._orders.put(lambda: None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it computes."""
        return self._thread.is_alive() and not self._dead

    @property
    def running(self) -> int:
        """Answers that are being written."""
        return self._batch.running if self._batch is not None else 0

    @property
    def cache_tokens(self) -> int:
        """Tokens that there is room held for."""
        return self._batch.tokens if self._batch is not None else 0

    @property
    def kept_tokens(self) -> int:
        """Tokens whose keys and values are kept for who begins alike."""
        return self._batch.kept_tokens if self._batch is not None else 0

    @property
    def waiting(self) -> int:
        """Answers of which nothing is written yet."""
        with self._turn:
            return self._waiting().total()

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Do something between two steps; what it raises is raised to who asks for the result."""
        future: Future[T] = Future()

        def done() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # it belongs to who asked
                    future.set_exception(error)

        with self._turn:
            self._check_alive()
            self._calls.add(future)  # type: ignore[arg-type]
        future.add_done_callback(self._calls.discard)
        self._orders.put(done)
        return future

    def submit(self, asked: Sequence[tuple[Asked, Callable[[Heard], None]]]) -> list[Answer]:
        """Have answers written, all of one request; each is heard of in this thread.

        Raises BusyError where too many wait, DeadError where nothing is computed.
        """
        texts = [self.held.engine.engines[None].texts(one.sampling) for one, _ in asked]
        answers = [
            Answer(
                Job(Request(one.adapter, one.prompt), one.sampling, one.stream, one.who),
                hear,
                Spoken(text.decode, one.sampling.stop, one.strip),
            )
            for (one, hear), text in zip(asked, texts, strict=True)
        ]
        with self._turn:
            self._check_alive()
            self._check_room([answer.job.who for answer in answers])
            self._answers |= {answer.job: answer for answer in answers}
        for answer in answers:
            self._orders.put(lambda answer=answer: self._add(answer))  # type: ignore[misc]
        return answers

    def cancel(self, answers: Sequence[Answer]) -> None:
        """Write no more of these; nothing is heard of them any more."""
        with self._turn:
            for answer in answers:
                answer.job.cancelled = True
                self._answers.pop(answer.job, None)

    def _waiting(self) -> Counter[Hashable]:
        return Counter(a.job.who for a in self._answers.values() if not a.begun)

    def _check_room(self, wanted: Sequence[Hashable]) -> None:
        waiting, most = self._waiting(), self._most_waiting
        total = waiting.total() + len(wanted)
        if not waiting or total <= most:
            return
        new = waiting + Counter(wanted)
        share = most // len(new)
        if total > 2 * most or any(new[who] > share for who in wanted):
            raise BusyError(f"{waiting.total()} answers wait, of at most {most}")

    def _check_alive(self) -> None:
        if self._dead or self._stopping:
            raise DeadError(_DEAD)

    def _run(self) -> None:
        try:
            with own_defaults():
                self._batch = Continuous(self.held.engine, self._room)
                while not self._stopping:
                    self._obey()
                    for job in self._batch.step():
                        self._tell(job)
        finally:
            self._end()

    def _obey(self) -> None:
        """Do what was asked for meanwhile; wait for it where there is nothing else to do."""
        assert self._batch is not None
        if self._batch.idle:
            # What nobody asked for yet is done a little at a time, while nobody asks for anything.
            while self._orders.empty() and self._batch.read_ahead():
                pass
            self._orders.get()()
        while not self._orders.empty():
            self._orders.get()()

    def _add(self, answer: Answer) -> None:
        assert self._batch is not None
        if answer.job.cancelled:
            return
        try:
            self._batch.add(answer.job)
        except InputError as error:
            self.cancel([answer])
            answer.hear(Heard("", 0, failed=error))

    def _tell(self, job: Job) -> None:
        with self._turn:
            answer = self._answers.get(job)
            if answer is None:
                return
            answer.begun = True
            if job.live is not None and job.live.ended:
                del self._answers[job]
        answer.hear(self._heard(answer))

    def _heard(self, answer: Answer) -> Heard:
        live = answer.job.live
        assert live is not None, "a job that is told of has been begun"
        if live.broken is not None:
            return Heard("", len(live.ids), failed=live.broken)
        piece = answer.spoken.piece(live.ids)
        if not live.ended:
            return Heard(piece, len(live.ids), spared=answer.job.spared)
        texts = self.held.engine.engines[None].texts(answer.job.sampling)
        whole, rest = answer.spoken.rest(texts.completion(live.ids).text)
        finish = "length" if live.cut else "stop"
        return Heard(piece + rest, len(live.ids), finish, whole, spared=answer.job.spared)

    def _end(self) -> None:
        """Let everybody know that nothing more comes."""
        with self._turn:
            asked, self._dead = self._stopping, True
            answers, calls = list(self._answers.values()), list(self._calls)
            self._answers.clear()
        for answer in answers:
            answer.hear(Heard("", 0, failed=DeadError(_DEAD)))
        for future in calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(DeadError(_DEAD))
        self._ended(asked)
