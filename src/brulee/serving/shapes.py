"""Responses in the format of OpenAI's API, complete and as chunks of a stream."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from brulee.data.messages import REASONING
from brulee.serving.logprobs import Logprobs
from brulee.serving.store import Version

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Choice:
    """A finished answer, with its tool calls in OpenAI's format and its reasoning."""

    text: str
    finish: str
    calls: Sequence[Mapping[str, Any]] = ()
    reasoning: str = ""
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Usage:
    """Number of tokens of the prompts, each once, of those cached, and of tokens generated."""

    prompt: int
    cached: int
    written: int

    def body(self) -> dict[str, Any]:
        """Its JSON."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.written,
            "total_tokens": self.prompt + self.written,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@dataclass(frozen=True)
class Shape:
    """Formats the response to one request; `fingerprint` names the version that answers."""

    kind: Literal["chat", "text"]
    model: str
    fingerprint: str
    with_usage: bool = False
    created: int = field(default_factory=lambda: int(time.time()))
    number: str = field(default_factory=lambda: uuid.uuid4().hex)

    def whole(self, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]:
        """The JSON of all choices."""
        kind = "chat.completion" if self.kind == "chat" else "text_completion"
        found = [self._choice(i, one) for i, one in enumerate(choices)]
        return {**self._head(kind), "choices": found, "usage": usage.body()}

    def begun(self, index: int) -> bytes:
        """The first chunk of a choice; nothing for a text completion."""
        if self.kind == "text":
            return b""
        return self._chunk(index, {"role": "assistant", "content": ""}, None)

    def piece(self, index: int, text: str, logprobs: Logprobs) -> bytes:
        """A chunk with more text, and the log-probabilities so far; nothing without any text."""
        return self._chunk(index, {"content": text}, None, logprobs.take()) if text else b""

    def reasoned(self, index: int, text: str) -> bytes:
        """A chunk with more reasoning; nothing without any."""
        return self._chunk(index, {REASONING: text}, None) if text else b""

    def called(self, index: int, calls: Sequence[Mapping[str, Any]]) -> bytes:
        """A chunk with complete tool calls; nothing without any."""
        if not calls:
            return b""
        told = [{"index": number, **call} for number, call in enumerate(calls)]
        return self._chunk(index, {"tool_calls": told}, None)

    def ended(self, index: int, finish: str, logprobs: Logprobs) -> bytes:
        """The last chunk of a choice, with the log-probabilities that are left."""
        return self._chunk(index, {}, finish, logprobs.take())

    def usage(self, usage: Usage) -> bytes:
        """The chunk with token counts; nothing if it was not requested."""
        if not self.with_usage:
            return b""
        return event({**self._head(self._chunk_kind), "choices": [], "usage": usage.body()})

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.kind == "chat" else "text_completion"

    def _head(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.kind == "chat" else "cmpl"
        return {
            "id": f"{prefix}-{self.number}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }

    def _choice(self, index: int, one: Choice) -> dict[str, Any]:
        end = {"logprobs": one.logprobs, "finish_reason": one.finish}
        if self.kind == "text":
            return {"index": index, "text": one.text, **end}
        message: dict[str, Any] = {"role": "assistant", "content": one.text, "refusal": None}
        if one.reasoning:
            message[REASONING] = one.reasoning
        if one.calls:
            message |= {"content": one.text or None, "tool_calls": list(one.calls)}
        return {"index": index, "message": message, **end}

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        finish: str | None,
        logprobs: Mapping[str, Any] | None = None,
    ) -> bytes:
        own: dict[str, Any] = {"delta": delta}
        if self.kind == "text":
            own = {"text": delta.get("content", "")}
        choice = {"index": index, **own, "logprobs": logprobs, "finish_reason": finish}
        usage = {"usage": None} if self.with_usage else {}
        return event({**self._head(self._chunk_kind), "choices": [choice], **usage})


def event(body: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def model_list(base: str, created: int, versions: Sequence[Version], context: int | None) -> Any:
    """`GET /v1/models`, with vLLM's `root` and `parent`."""
    common = {"object": "model", "owned_by": "brulee", "max_model_len": context}
    own = {"id": base, "created": created, "root": base, "parent": None, **common}
    found = [
        {"id": v.name, "created": v.created, "root": v.key, "parent": base, **common}
        for v in versions
    ]
    return {"object": "list", "data": [own, *found]}
