"""The computing thread, which owns the model, its adapters and the tokenizer of answers.

    event loop      submit(a)  submit(b)          cancel(a)      call(load)
                        |          |                  |              |
    this thread     --- step ---- step ---- step ---- step --------- load --- step ---

Calls of other threads run between two steps; a step generates a token of every answer. While idle,
the thread reads finished answers into the prefix cache for follow-ups.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from brulee.errors import InputError
from brulee.inference.adapters import Adapters
from brulee.inference.continuous import Continuous, Job, Room
from brulee.inference.generation import Live
from brulee.inference.mixed import Request
from brulee.inference.sampling import Sampling
from brulee.inference.scored import Scored
from brulee.inference.token_texts import TokenTexts
from brulee.models.defaults import own_defaults
from brulee.serving.logprobs import TokenScore, token_scores
from brulee.serving.spoken import Spoken

T = TypeVar("T")
_DEAD: Final = "the thread that computes has ended; the server's log says why"


class BusyError(Exception):
    """Too many answers are waiting."""


class DeadError(Exception):
    """The computing thread has ended."""


@dataclass(frozen=True)
class Asked:
    """A requested answer of an adapter, or of the base (None); `strip` as in `Spoken`.

    `user` is the user named by a request; each user of an adapter has a separate fair share.
    `likeliest` and `reads_back` are those of a `Job`: whose tokens are scored.
    """

    adapter: str | None
    prompt: Sequence[int]
    sampling: Sampling
    stream: int = 0
    strip: bool = False
    user: str = ""
    likeliest: int | None = None
    reads_back: bool = False

    @property
    def who(self) -> tuple[str | None, str]:
        """The unit of fair scheduling."""
        return self.adapter, self.user


@dataclass(frozen=True)
class Heard:
    """New text of an answer; with `finish` it is complete, and `whole` is its text.

    `tokens` have been generated so far; `spared` tokens of its prompt came from the cache. `scores`
    are those of new tokens, `prompt_scores` those of the prompt, at first.
    """

    piece: str
    tokens: int
    finish: str | None = None
    whole: str = ""
    failed: BaseException | None = None
    spared: int = 0
    scores: Sequence[TokenScore] = ()
    prompt_scores: Sequence[TokenScore] = ()


@dataclass(eq=False)
class Answer:
    """An answer that is waiting or being generated; `told` of its scores have been passed on."""

    job: Job
    hear: Callable[[Heard], None]
    spoken: Spoken
    begun: bool = False
    told: int = 0


class Worker:
    """Runs `Continuous` in a thread; at most `most_waiting` answers wait.

    Beyond that, clients with fewer waiting answers than their share may still add some, up to twice
    as many in all. `ended` is called in the thread when it ends, with whether `stop` was called.
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
        self._texts: TokenTexts | None = None  # once a request asks for it
        self._thread = threading.Thread(target=self._run, name="brulee-worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        _ = self.held.asked  # copies the tokenizer while nobody uses it
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current step; unfinished answers fail."""
        self._stopping = True
        self._orders.put(lambda: None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive() and not self._dead

    @property
    def running(self) -> int:
        """Number of answers being generated."""
        return self._batch.running if self._batch is not None else 0

    @property
    def cache_tokens(self) -> int:
        """Number of tokens that memory is allocated for."""
        return self._batch.tokens if self._batch is not None else 0

    @property
    def kept_tokens(self) -> int:
        """Number of tokens in the prefix cache."""
        return self._batch.kept_tokens if self._batch is not None else 0

    @property
    def waiting(self) -> int:
        """Number of answers without any token yet."""
        with self._turn:
            return self._waiting().total()

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Run `work` between two steps; its future has the result or the exception."""
        future: Future[T] = Future()

        def done() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # the caller gets it
                    future.set_exception(error)

        with self._turn:
            self._check_alive()
            self._calls.add(future)  # type: ignore[arg-type]
        future.add_done_callback(self._calls.discard)
        self._orders.put(done)
        return future

    def submit(self, asked: Sequence[tuple[Asked, Callable[[Heard], None]]]) -> list[Answer]:
        """Queue all answers of one request; callbacks run in the computing thread.

        Raises BusyError if too many are waiting, DeadError if the thread has ended.
        """
        texts = [self.held.engine.engines[None].texts(one.sampling) for one, _ in asked]
        answers = [
            Answer(
                Job(
                    Request(one.adapter, one.prompt),
                    one.sampling,
                    one.stream,
                    one.who,
                    likeliest=one.likeliest,
                    reads_back=one.reads_back,
                ),
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
        """Cancel answers; their callbacks are not called any more."""
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
        """Run pending calls; wait for one while idle."""
        assert self._batch is not None
        if self._batch.idle:
            # Speculative work is done in small steps, until a call arrives.
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
        more = {"spared": answer.job.spared, **self._scores(answer, live)}
        if not live.ended:
            return Heard(piece, len(live.ids), **more)
        texts = self.held.engine.engines[None].texts(answer.job.sampling)
        whole, rest = answer.spoken.rest(texts.completion(live.ids).text)
        finish = "length" if live.cut else "stop"
        return Heard(piece + rest, len(live.ids), finish, whole, **more)

    def _scores(self, answer: Answer, live: Live) -> dict[str, Any]:
        """The scores that were not passed on yet: of new tokens, and first of the prompt."""
        job, told = answer.job, answer.told
        if job.likeliest is None:
            return {}
        if self._texts is None:
            self._texts = TokenTexts(self.held.base.tokenizer)
        answer.told = len(live.scores)
        found = {"scores": token_scores(self._texts, live.scores[told:])}
        if not told and job.reads_back:
            scores = [Scored(job.request.prompt[0], None), *job.prompt_scores]
            found["prompt_scores"] = token_scores(self._texts, scores)
        return found

    def _end(self) -> None:
        """Fail all answers and calls that are left."""
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
