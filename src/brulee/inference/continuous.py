"""Continuous batching of requests: each joins the batch at the next token after it arrives.

    step         1          2          3          4          5
    reading      b, a part  c          b          d          b, the rest
    lane         a          a c        a c        a c d      a b c d    the base, mixed adapters
    lane                    m          m          m          m          one that cannot be mixed

A step prefills a chunk of the waiting prompts, sized to take about the same time whatever its depth
(pace.py), then generates a token for every row, or several where guesses are right. Fair scheduling
decides whose prompt is next (fair.py), except that every second pass goes to the shortest waiting
prompt if it is shorter than what is left of the current one. Cached prefixes are not read again
(kept.py). As with `Engine`, a completion depends only on its request, not on the other requests or
the time of arrival. An encoder reads prompts whole, those of one adapter in one step together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from brulee.errors import InputError, NotNumbersError
from brulee.inference.fair import WRITTEN, FairQueue
from brulee.inference.generation import Live, advance, follow, without_ended
from brulee.inference.jobs import Job, Lane, Reading, Room
from brulee.inference.joining import Arriving, JoinedRows, lies_aside
from brulee.inference.kept import BLOCK, Kept
from brulee.inference.mixed import MixedEngine
from brulee.inference.pace import PASS, Pace
from brulee.inference.padded import padded_parts, prompt_logits
from brulee.inference.padded_decoder import PaddedDecoder
from brulee.inference.pair_rows import PairRows
from brulee.inference.row import Voice
from brulee.inference.same_bits import ROWS

__all__ = ["Continuous", "Job", "Room"]

_AHEAD = 64  # tokens of an answer that are read at a time while idle
_ANSWERS = 64  # answers still to be read


class Continuous:
    """Runs jobs on the adapters of an engine; one thread adds, cancels and steps.

    Adapters may be added and removed between steps, except those with jobs.
    """

    def __init__(self, engine: MixedEngine, room: Room) -> None:
        self._engine, self.room = engine, room
        self._base = engine.engines[None]
        self._waiting: FairQueue[Job] = FairQueue()
        self._kept = Kept(room.kept_bytes)
        self._answered: deque[Job] = deque(maxlen=_ANSWERS)
        self._pace = Pace.of(self._base.model)
        self._readings: list[Reading] = []  # the one whose turn it is, and one that overtakes it
        self._together: list[Job] = []  # whose prompts an encoder reads at the end of this step
        self._overtook = False
        self._lanes: dict[object, Lane] = {}
        self._aside = self._base.reads_streams and lies_aside(self._base.voice)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._waiting or self._readings or self._lanes)

    @property
    def running(self) -> int:
        """Number of requests that are being generated."""
        # Another thread may count while lanes are added and removed.
        return sum(len(lane.jobs) for lane in list(self._lanes.values()))

    @property
    def tokens(self) -> int:
        """Number of tokens that rows have room for."""
        lanes = list(self._lanes.values())
        joined = [lane.decoder for lane in lanes if not isinstance(lane.decoder, PaddedDecoder)]
        return sum(rows.tokens for rows in joined)

    @property
    def kept_tokens(self) -> int:
        """Number of tokens in the prefix cache."""
        return self._kept.tokens

    def add(self, job: Job) -> None:
        """Queue a job after earlier jobs of the same client.

        Raises InputError for a prompt that is empty, leaves no room for a completion, or exceeds
        the room there is.
        """
        if not job.request.prompt:
            raise InputError("a prompt is empty: there is nothing to continue.")
        asked, engine = job.request, self._engine.engines[job.request.adapter]
        job.order = engine.order(0, asked.prompt, job.stream, job.sampling)
        tokens = len(asked.prompt) + job.most
        if tokens > self.room.tokens:
            raise InputError(
                f"a prompt of {len(asked.prompt)} tokens and {job.most} new ones are more than "
                f"the {self.room.tokens} that are held at once."
            )
        self._waiting.add(job.who, job)

    @torch.no_grad()
    def step(self) -> list[Job]:
        """Prefill, then generate; returns the jobs with new tokens, some of which have ended.

        Cancelled jobs are dropped and not returned.
        """
        with self._engine.turn:
            self._engine.swap.use(None)
            self._let_go()
            changed = self._read_on()
            for key, lane in list(self._lanes.items()):
                with self._in_force(lane.in_force):
                    advance(lane.decoder, lane.live())
                changed += [job for job in lane.jobs if job not in changed]
                self._without_ended(key)
            for job in changed:
                self._count_written(job)
            return changed

    @torch.no_grad()
    def read_ahead(self) -> bool:
        """Cache some tokens of a finished answer for a follow-up; returns whether there were any.

        They are read again, since keys and values from generation are not bitwise those of prefill.
        To be called while idle.
        """
        with self._engine.turn:
            self._kept.only(self._engine.voices.values())
            while self._answered:
                job = self._answered[-1]
                if self._read_answer(job):
                    return True
                self._answered.pop()
        return False

    def _read_answer(self, job: Job) -> bool:
        voice = self._engine.voices.get(job.request.adapter)
        if voice is None or job.live is None:
            return False
        text = [*job.request.prompt, *job.live.ids]
        whole = text[: len(text) - len(text) % BLOCK]
        known = self._kept.find(voice, whole).tokens
        if known == len(whole):
            return False
        with self._in_force(self._alone(job)):
            # One pass only: it is cached, and the next one continues from there.
            Arriving(voice, whole[: known + _AHEAD], self._kept).read_out()
        return self._kept.find(voice, whole).tokens > known  # else the cache is full

    def _count_written(self, job: Job) -> None:
        assert job.live is not None, "a job of which something is written"
        tokens = len(job.live.ids)
        self._waiting.count(job.who, WRITTEN * (tokens - job.counted))
        job.counted = tokens
        streams = self._base.reads_streams and not self._stretches(job)
        if job.live.ended and self.room.kept_bytes and streams:
            self._answered.append(job)

    def _let_go(self) -> None:
        self._kept.only(self._engine.voices.values())
        self._waiting.keep(lambda job: not job.cancelled)
        self._readings = [one for one in self._readings if not one.job.cancelled]
        for key, lane in list(self._lanes.items()):
            for job in lane.jobs:
                if job.live is not None and job.cancelled:
                    job.live.ended = True
            self._without_ended(key)

    def _without_ended(self, key: object) -> None:
        lane = self._lanes[key]
        jobs = {id(job.live): job for job in lane.jobs}
        going, _ = without_ended(lane.decoder, lane.live())
        lane.jobs = [jobs[id(row)] for row in going]
        if not lane.jobs:
            del self._lanes[key]

    def _read_on(self) -> list[Job]:
        """Prefill some tokens of prompts; returns the jobs that have become rows."""
        begun: list[Job] = []
        left = float(self.room.pass_tokens // 2 if self.running else self.room.pass_tokens)
        first = True
        while left > 0 and (reading := self._next()) is not None:
            depth = len(reading.job.request.prompt) - reading.left
            most = self._pace.tokens(left, depth)
            whole = reading.arriving is None
            if not first and most < (reading.left if whole else min(ROWS, reading.left)):
                break  # a separate pass would cost more than it reads
            self._overtook = reading is not self._readings[0]
            with self._in_force(self._alone(reading.job)):
                read = self._read(reading, most)
            self._waiting.count(reading.job.who, read)
            left, first = left - self._cost(reading, read, depth), False
            if reading not in self._readings:
                begun.append(reading.job)
        self._begin_together()
        return begun

    def _cost(self, reading: Reading, read: int, depth: int) -> float:
        """The cost of what was read; a pass shared with others of its voice is counted once."""
        asked = reading.job.request.adapter
        others = [job for job in self._together if job is not reading.job]
        shared = reading.arriving is None and asked in {job.request.adapter for job in others}
        return self._pace.cost(read, depth) - PASS * shared

    def _read(self, reading: Reading, most: int) -> int:
        """Read one pass, after which the job may be a row; returns the number of tokens read."""
        left, arriving = reading.left, reading.arriving
        if isinstance(arriving, Arriving) and not arriving.ready(most):
            return arriving.read_on(most)
        self._readings.remove(reading)
        if arriving is None:
            self._together.append(reading.job)
        else:
            self._begin(reading.job, arriving)
        return left

    def _next(self) -> Reading | None:
        """The prompt to read next: alternately the one whose turn it is and one overtaking it."""
        if not self._readings:
            return self._take(self._waiting.first()) if self._waiting else None
        overtaking = None if self._overtook else self._overtaking()
        return overtaking or self._readings[0]

    def _overtaking(self) -> Reading | None:
        """The prompt that overtakes the one whose turn it is: the shortest that is waiting."""
        if len(self._readings) > 1:
            return self._readings[1]
        if not self._waiting or not isinstance(self._readings[0].arriving, Arriving):
            return None
        job = self._waiting.least(lambda one: len(one.request.prompt))
        if len(job.request.prompt) >= self._readings[0].left:
            return None
        return self._take(job)

    def _take(self, job: Job) -> Reading | None:
        """Begin to read a waiting prompt, if there is room for its row."""
        if self.running + len(self._readings) + len(self._together) >= self.room.rows:
            return None
        voice, prompt = self._engine.voices[job.request.adapter], job.request.prompt
        arriving: Arriving | PaddedDecoder | None = None
        far = self._stretches(job)
        if joins := self._engine.joins(job.request.adapter) and not far:
            key = self._alone(job)
            if self._needed(key, job) > self._left_for(key):
                return None
        if self._base.reads_streams and not far:
            score = job.score_prompt if job.reads_back else None
            arriving = Arriving(voice, prompt, self._kept, self._aside, score)
            job.spared = arriving.spared
        elif not joins:
            arriving = PaddedDecoder(voice.model, [prompt], self._base.pad_id, way=self._base.way)
        if self._readings:
            self._waiting.remove(job)
        else:
            self._waiting.take()
        self._readings.append(Reading(job, arriving))
        return self._readings[-1]

    def _begin(self, job: Job, arriving: Arriving | PaddedDecoder) -> None:
        """Read the last pass of a prompt, which makes it a row, and generate its first token."""
        alone = self._alone(job)
        if isinstance(arriving, PaddedDecoder):
            key: object = job
            lane = self._lanes.setdefault(key, Lane(alone, arriving, []))
            if job.reads_back:
                job.score_prompt(prompt_logits(arriving.model, job.request.prompt))
            _, logits = arriving.admit(1)
        else:
            key = alone
            lane = self._lanes.setdefault(key, Lane(alone, self._rows(alone), []))
            assert isinstance(lane.decoder, JoinedRows)
            logits = lane.decoder.join(arriving, job.most, self._left_for(key))
        self._write_first(key, [job], logits)

    def _begin_together(self) -> None:
        """Read the prompts for encoders into rows, those of one voice together."""
        jobs, most = self._together, self.room.pass_tokens
        voices = dict.fromkeys(job.request.adapter for job in jobs)
        for voice, alone in ((self._engine.voices[name], self._apart(name)) for name in voices):
            own = [job for job in jobs if job.request.adapter == voice.name]
            for part in padded_parts([len(job.request.prompt) for job in own], most):
                with self._in_force(alone):
                    self._join(voice, alone, [own[i] for i in part])
        self._together = []

    def _join(self, voice: Voice, alone: str | None, jobs: Sequence[Job]) -> None:
        lane = self._lanes.setdefault(alone, Lane(alone, self._rows(alone), []))
        assert isinstance(lane.decoder, PairRows)
        read = PaddedDecoder(voice.model, [job.request.prompt for job in jobs], self._base.pad_id)
        _, logits = read.admit(len(jobs))
        lane.decoder.join(read, voice, [job.sizes for job in jobs], self._left_for(alone))
        self._write_first(alone, jobs, logits)

    def _write_first(self, key: object, jobs: Sequence[Job], logits: torch.Tensor) -> None:
        """Generate the first tokens of jobs that have become the last rows of a lane."""
        lane = self._lanes[key]
        live = []
        for job in jobs:
            texts = self._base.texts(job.sampling)
            assert job.order is not None, "a job has its order once it is added"
            several, likeliest = lane.decoder.several, job.likeliest
            job.live = Live.begun(job.order, job.sampling, texts.reached, several, likeliest)
            if not all(one.known for one in job.prompt_scores):
                job.live.broken = NotNumbersError()
            live.append(job.live)
        lane.jobs += jobs
        follow(live, [[]] * len(live), logits)
        self._without_ended(key)

    def _rows(self, alone: str | None) -> JoinedRows | PairRows:
        """The rows of a lane; new, empty ones if there is no such lane yet."""
        if alone in self._lanes:
            rows = self._lanes[alone].decoder
            assert not isinstance(rows, PaddedDecoder)
            return rows
        router = self._engine.router if alone is None else None
        if self._engine.pairs:
            return PairRows(self.room.rows, self._base.device, router)
        return JoinedRows(self.room.rows, self._base.device, self._aside, router)

    def _left_for(self, alone: str | None) -> int:
        """Tokens left for a lane's rows besides those of other lanes and of prompts being read."""
        lanes = {lane.in_force for lane in self._lanes.values()}
        others = {*lanes, *map(self._alone, self._begun())} - {alone}
        return self.room.tokens - sum(map(self._needed, others))

    def _needed(self, alone: str | None, *more: Job) -> int:
        """Tokens a lane needs once the prompts being read and `more` are its rows."""
        jobs = [job for job in self._begun() if self._alone(job) == alone]
        sizes = [job.sizes for job in (*jobs, *more)]
        rows = self._rows(alone)
        return max(rows.tokens if not more else 0, rows.needed(sizes))

    def _begun(self) -> list[Job]:
        """Jobs whose prompts are being read, and which are not rows yet."""
        return [*(one.job for one in self._readings), *self._together]

    def _stretches(self, job: Job) -> bool:
        """Whether a job is computed by itself, as rotary angles may change while it is."""
        return self._engine.engines[job.request.adapter].stretches(sum(job.sizes))

    def _alone(self, job: Job) -> str | None:
        """The adapter that must be active while a job is computed; None if it can be mixed."""
        return self._apart(job.request.adapter)

    def _apart(self, name: str | None) -> str | None:
        return name if name in self._engine.apart else None

    @contextmanager
    def _in_force(self, name: str | None) -> Iterator[None]:
        if name is None:
            yield
            return
        self._engine.swap.use(name)
        try:
            yield
        finally:
            self._engine.swap.use(None)
