"""One request, from its values to its answers: on the event loop, while the worker computes.

In every case, the request's version is released, at the latest once its answers are computed (a
client may take as long as it likes to read them), and unfinished answers are cancelled.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace

from starlette.types import Receive

from brulee.errors import InputError, NotNumbersError
from brulee.inference.asked_texts import KWARGS, Variables
from brulee.inference.call_form import HeldCalls
from brulee.inference.json_form import Form, FormError
from brulee.inference.sampling import Sampling
from brulee.inference.thinking import Thinking, Told
from brulee.serving.calls import Listening
from brulee.serving.failures import ApiError, error_body
from brulee.serving.limits import Limits
from brulee.serving.logprobs import Logprobs
from brulee.serving.metrics import Metrics
from brulee.serving.response_format import read_response_format
from brulee.serving.schema import Common
from brulee.serving.shapes import DONE, Choice, Shape, Usage, event
from brulee.serving.sizes import Sizes
from brulee.serving.store import Store, Version
from brulee.serving.worker import Answer, Asked, BusyError, DeadError, Heard, Worker

_DEAD = "the server can compute no more; its log says why."


class GoneError(Exception):
    """The client disconnected."""


@dataclass(frozen=True)
class Question:
    """The texts of a prompt, and the function that encodes them for an adapter.

    `echo` is the text that stands for the prompt in an answer, None for that of its ids. Answers
    may call `tools`, at most once with `one`. `held` are the constraints on calls, None without
    any. `variables` are set in the chat template.
    """

    texts: Sequence[str]
    encode: Callable[[str | None], list[int]]
    echo: str | None = None
    tools: frozenset[str] = frozenset()
    one: bool = False
    held: HeldCalls | None = None
    variables: Variables = None


@dataclass(frozen=True)
class Serving:
    """The parts that answer requests.

    Tokenisation has its own thread, so that it blocks neither computation nor loading of adapters.
    """

    worker: Worker
    store: Store
    limits: Limits
    metrics: Metrics
    encoding: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "brulee-encoding"))


class Exchange:
    """The answers to one request, `n` to each of its prompts. Must be closed."""

    def __init__(self, serving: Serving, asked: Common, questions: Sequence[Question], shape: str):
        self._serving, self._asked, self._questions = serving, asked, questions
        self._schema = read_response_format(asked.response_format)
        self._likeliest = asked.likeliest
        self._kept = ExitStack()
        version = self._kept.enter_context(serving.store.pinned(asked.model))
        self._model = serving.store.base if version is None else version.name
        self._adapter = None if version is None else version.key
        self._began = time.monotonic()
        self._heard: asyncio.Queue[tuple[int, Heard] | None] = asyncio.Queue()
        self._answers: list[Answer] = []
        self._computing = 0
        self._watching: asyncio.Task[None] | None = None
        self._prompt_tokens = 0
        self._trained = 0
        self._spared: dict[int, int] = {}
        self._listening: list[Listening] = []
        self._thinking: list[Thinking] = []
        self._echoed: list[str] = []
        self._logprobs: list[Logprobs] = []
        self._form: Form | None = None
        options = asked.stream_options
        self.shape = Shape(
            "chat" if shape == "chat" else "text",
            asked.model,
            _fingerprint(serving.store.base, version),
            bool(options and options.include_usage),
        )

    async def begin(self, receive: Receive) -> None:
        """Submit the answers to the worker. Raises ApiError for what cannot be answered."""
        worker = self._serving.worker
        self._check_count()
        try:
            loop = asyncio.get_running_loop()
            prompts = await loop.run_in_executor(self._serving.encoding, self._encoded)
            wanted = self._wanted(prompts)
            self._logprobs = [Logprobs(self.shape.kind) for _ in wanted]

            def hear(index: int) -> Callable[[Heard], None]:
                def told(heard: Heard) -> None:
                    with suppress(RuntimeError):  # the loop has ended
                        loop.call_soon_threadsafe(self._hear, index, heard)

                return told

            self._answers = worker.submit([(one, hear(i)) for i, one in enumerate(wanted)])
        except InputError as error:
            named = KWARGS if str(error).startswith(KWARGS) else self._about
            raise ApiError(400, str(error), named) from None
        except BusyError as error:
            raise ApiError(429, f"too many requests: {error}; try again.", None, "busy") from None
        except DeadError:
            raise ApiError(503, _DEAD) from None
        self._computing = len(self._answers)
        self._prompt_tokens = sum(map(len, prompts))
        self._serving.metrics.count("prompt_tokens_total", self._prompt_tokens, model=self._model)
        self._watching = asyncio.create_task(self._watch(receive))

    def close(self) -> None:
        """Release the version and cancel unfinished answers."""
        self._serving.worker.cancel(self._answers)
        self._kept.close()
        if self._watching is not None:
            self._watching.cancel()

    async def whole(self) -> dict[str, object]:
        """The JSON of the complete answer. Raises GoneError, and ApiError for failures."""
        choices: dict[int, Choice] = {}
        written = 0
        async for index, heard in self._all():
            if heard.finish is not None:
                choice, _ = self._ended(index, heard)
                choices[index] = replace(choice, logprobs=self._logprobs[index].take())
                written += heard.tokens
        ordered = [choices[i] for i in range(len(self._answers))]
        return self.shape.whole(ordered, self._usage(written))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Server-sent events. A failure after the first is sent as the last event."""
        written = 0
        for index in range(len(self._answers)):
            yield self.shape.begun(index)
        try:
            async for index, heard in self._all():
                if heard.finish is None:
                    told = self._shown(index, heard.piece)
                    yield self.shape.reasoned(index, told.thoughts)
                    yield self.shape.piece(index, told.answer, self._logprobs[index])
                    continue
                written += heard.tokens
                choice, rest = self._ended(index, heard)
                yield self.shape.reasoned(index, rest.thoughts)
                yield self.shape.piece(index, rest.answer, self._logprobs[index])
                yield self.shape.called(index, choice.calls)
                yield self.shape.ended(index, choice.finish, self._logprobs[index])
        except ApiError as error:
            yield event(error_body(error.status, error.message, error.param, error.code))
            return
        yield self.shape.usage(self._usage(written))
        yield DONE

    def _shown(self, index: int, piece: str) -> Told:
        """The new text of an answer to send after a piece."""
        told = self._thinking[index].piece(piece) if self._thinking else Told(answer=piece)
        if self._listening:
            return replace(told, answer=self._listening[index].piece(told.answer))
        return told

    def _ended(self, index: int, heard: Heard) -> tuple[Choice, Told]:
        """A finished answer, and the part of its text not sent yet."""
        assert heard.finish is not None, "it is finished"
        whole, rest = Told(answer=heard.whole), Told(answer=heard.piece)
        if self._thinking:
            whole, rest = self._thinking[index].ended(heard.whole)
        if not self._listening:
            return Choice(whole.answer, heard.finish, reasoning=whole.thoughts), rest
        text, more, calls = self._listening[index].ended(whole.answer)
        finish = "tool_calls" if calls and heard.finish == "stop" else heard.finish
        return Choice(text, finish, calls, whole.thoughts), replace(rest, answer=more)

    def _encoded(self) -> list[list[int]]:
        """Token ids of the prompts. Raises ApiError for one much too long, and as `_formed`."""
        found, sizes, held = [], self._sizes, self._serving.worker.held
        self._trained = held.trained_ids(self._adapter)
        for question in self._questions:
            if held.asked.more_than(question.texts, sizes.room):
                raise sizes.too_long(f"more than {sizes.room}")
            found.append(question.encode(self._adapter))
            if self._asked.echoes:
                own = found[-1][self._trained :]
                text = held.asked.decoded(own) if question.echo is None else question.echo
                self._echoed.append(text)
            self._listen(question)
        self._form = self._formed()
        return self._think(found)

    def _think(self, prompts: list[list[int]]) -> list[list[int]]:
        """The prompts; if answers have a form, with the end of reasoning that a prompt begins."""
        if self.shape.kind == "text":
            return prompts
        held, variables = self._questions[0].held, self._questions[0].variables
        tags, ended = self._serving.worker.held.thoughts(self._adapter, variables)
        if self._form is not None and not (held and held.besides == "text"):
            return [prompt + ended for prompt in prompts]
        if tags is not None:
            self._thinking = [Thinking(tags) for _ in range(self._asked.n or 1)]
        return prompts

    def _formed(self) -> Form | None:
        """The form of answers, if constrained. Raises ApiError if it cannot be enforced."""
        held, asked = self._questions[0].held, self._serving.worker.held.asked
        try:
            if held is None:
                return None if self._schema is None else asked.form(*self._schema)
            written = self._serving.worker.held.written_calls(self._adapter)
            if written is None:
                raise InputError(
                    "the model's chat template writes a call's name outside of JSON, so its "
                    "calls cannot be constrained; leave out strict and response_format, or set "
                    "tool_choice: auto."
                )
            return asked.call_form(written, held, None if not held.besides else self._schema)
        except InputError as error:
            raise ApiError(400, str(error), self._held_by) from None

    @property
    def _held_by(self) -> str:
        """The key of the request that constrains answers."""
        if self._schema is None or self._questions[0].held is not None:
            return "tools"
        return self._schema[1]

    def _listen(self, question: Question) -> None:
        form = self._serving.worker.held.written_calls(self._adapter) if question.tools else None
        if form is not None:
            self._listening = [
                Listening(form, question.tools, question.one) for _ in range(self._asked.n or 1)
            ]

    def _hear(self, index: int, heard: Heard) -> None:
        """Queue news of an answer; after the last answer's, nothing needs the version any more."""
        self._heard.put_nowait((index, heard))
        if heard.finish is not None or heard.failed is not None:
            self._computing -= 1
            if not self._computing:
                self._kept.close()

    async def _all(self) -> AsyncIterator[tuple[int, Heard]]:
        """Events of the answers until all are finished."""
        metrics, left, first = self._serving.metrics, len(self._answers), True
        while left:
            told = await self._heard.get()
            if told is None:
                metrics.count("cancelled_total", left)
                raise GoneError
            index, heard = told
            if isinstance(heard.failed, FormError):
                raise ApiError(400, str(heard.failed), self._held_by)
            if isinstance(heard.failed, InputError):
                raise ApiError(400, str(heard.failed), self._about)
            if isinstance(heard.failed, NotNumbersError):
                raise ApiError(500, str(heard.failed), self._about)
            if heard.failed is not None:
                raise ApiError(503, _DEAD)
            if first:
                metrics.took("first_token_seconds", time.monotonic() - self._began)
                first = False
            heard = self._noted(index, heard)
            self._count_read(index, heard)
            if heard.finish is not None:
                left -= 1
                metrics.count("completion_tokens_total", heard.tokens, model=self._model)
            yield index, heard
        metrics.took("answer_seconds", time.monotonic() - self._began)

    def _noted(self, index: int, heard: Heard) -> Heard:
        """What was heard as it is to be sent: with the prompt, where it is part of the answer."""
        if self._asked.most == 0:  # the one token that was generated all the same is not sent
            finish = None if heard.finish is None else "length"
            heard = replace(heard, piece="", whole="", tokens=0, scores=(), finish=finish)
        logprobs = self._logprobs[index]
        if self._echoed:
            echo = self._echoed[index // (self._asked.n or 1)]
            if index not in self._spared:
                logprobs.add(heard.prompt_scores[self._trained :], echo)
                heard = replace(heard, piece=echo + heard.piece)
            heard = replace(heard, whole=echo + heard.whole)
        logprobs.add(heard.scores)
        return heard

    def _count_read(self, index: int, heard: Heard) -> None:
        """When an answer begins, count the tokens of its prompt that were read and cached."""
        if index in self._spared:
            return
        self._spared[index] = heard.spared
        prompt, count = len(self._answers[index].job.request.prompt), self._serving.metrics.count
        count("prompt_tokens_read_total", prompt - heard.spared, model=self._model)
        count("prompt_tokens_cached_total", heard.spared, model=self._model)

    def _usage(self, written: int) -> Usage:
        """Usage; of several answers to one prompt, only the first one's cached tokens count."""
        firsts = range(0, len(self._answers), self._asked.n or 1)
        return Usage(self._prompt_tokens, sum(self._spared[i] for i in firsts), written)

    async def _watch(self, receive: Receive) -> None:
        """Put None into the queue when the client disconnects."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._heard.put_nowait(None)

    @property
    def _about(self) -> str:
        return "messages" if self.shape.kind == "chat" else "prompt"

    @property
    def _sizes(self) -> Sizes:
        engine = self._serving.worker.held.engine.engines[self._adapter]
        return Sizes(self._asked.most, engine, self._serving.limits, self._about)

    def _check_count(self) -> None:
        count, most = (self._asked.n or 1) * len(self._questions), self._serving.limits.choices
        if count > most:
            about = "n" if len(self._questions) == 1 else self._about
            raise ApiError(
                400, f"{count} answers are asked for in one request; at most {most}.", about
            )

    def _wanted(self, prompts: Sequence[list[int]]) -> list[Asked]:
        """`n` answers for every prompt. Raises ApiError for an empty or too long prompt."""
        asked, most = self._asked, self._sizes.most(prompts)
        reads_back = asked.echoes and self._likeliest is not None
        if reads_back and self._sizes.engine.seq2seq:
            raise ApiError(
                400,
                "echo = True is not supported with logprobs here: an encoder reads the prompt, so "
                "its tokens have no log-probabilities; leave it out.",
                "echo",
                "unsupported_parameter",
            )
        seed = secrets.randbits(63) if asked.seed is None else asked.seed
        top_p = 1.0 if asked.top_p is None else asked.top_p
        usual = most, asked.temperature or 0.0, top_p, seed, asked.stops()
        biases = asked.biases(self._serving.worker.held.tokens)
        sampling = Sampling(*usual, form=self._form, biases=biases, **asked.choice())
        strip = self.shape.kind == "chat"
        scoring = self._likeliest, reads_back
        return [
            Asked(self._adapter, prompt, sampling, k, strip, asked.who, *scoring)
            for prompt in prompts
            for k in range(asked.n or 1)
        ]


def _fingerprint(base: str, version: Version | None) -> str:
    return base if version is None else version.key
