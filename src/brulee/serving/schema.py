"""Requests in OpenAI's format; unsupported keys are refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from brulee.data.tool_calls import parsed
from brulee.errors import InputError, nearest
from brulee.inference.biases import MOST
from brulee.inference.sampling import Choice
from brulee.recipe.base import Strict
from brulee.serving.failures import ApiError

# Keys that are ignored with one of these values, since many clients send them.
_NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "top_logprobs": (0, None),
    "tool_choice": ("auto", "none", None),
    "parallel_tool_calls": (True, False, None),
    "verbosity": (None,),
    "web_search_options": (None,),
    "prompt_cache_retention": (None,),
    "moderation": (None,),
    "echo": (False, None),
    "suffix": ("", None),
    "best_of": (1, None),
    "functions": ([], None),
    "function_call": ("auto", "none", None),
    "modalities": (["text"], None),
    "audio": (None,),
    "prediction": (None,),
    "reasoning_effort": (None,),
    "service_tier": ("auto", "default", None),
    "store": (False, None),
}
_ID: Final = re.compile(r"0|[1-9][0-9]{0,17}")
# Keys that describe a request and do not affect the answer.
_ABOUT: Final = {"metadata", "prompt_cache_key"}

ModelT = TypeVar("ModelT", bound=BaseModel)
Tokens = Annotated[int, Field(ge=1)]
Bias = Annotated[float, Field(ge=-MOST, le=MOST)]
Likeliest = Annotated[int, Field(ge=0, le=20)]
Loaded = Annotated[str, Field(min_length=1, max_length=512)]


class StreamOptions(Strict):
    """Options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None  # OpenAI's padding, not supported here


class Common(Strict):
    """Keys of both kinds of completion."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0.0)] | None = None
    top_p: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2.0, le=2.0)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2.0, le=2.0)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None  # this one and the next two are vLLM's
    min_p: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0.0)] | None = None
    logit_bias: dict[str, Bias] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    stop: Any = None
    response_format: Any = None
    user: str | None = None
    safety_identifier: str | None = None  # `user` in newer clients

    @property
    def who(self) -> str:
        """The user named by the request, or ""."""
        return self.user or self.safety_identifier or ""

    @property
    def most(self) -> int | None:
        """The most new tokens, None if not given."""
        return self.max_tokens

    @property
    def likeliest(self) -> int | None:
        """How many likeliest tokens each log-probability comes with; None: none are asked for."""
        return None

    @property
    def echoes(self) -> bool:
        """Whether an answer begins with its prompt."""
        return False

    def choice(self) -> Choice:
        """The settings of sampling that the request gives."""
        given: Choice = {}
        if self.top_k is not None:
            given["top_k"] = max(0, self.top_k)  # vLLM's -1 is all tokens
        if self.min_p is not None:
            given["min_p"] = self.min_p
        if self.repetition_penalty is not None:
            given["repetition_penalty"] = self.repetition_penalty
        if self.frequency_penalty is not None:
            given["frequency_penalty"] = self.frequency_penalty
        if self.presence_penalty is not None:
            given["presence_penalty"] = self.presence_penalty
        return given

    def biases(self, known: int) -> tuple[tuple[int, float], ...]:
        """Biases by token id. Raises ApiError for an id that is none of the `known` tokens."""
        found = []
        for token, bias in (self.logit_bias or {}).items():
            if not _ID.fullmatch(token) or int(token) >= known:
                raise ApiError(
                    400,
                    f"logit_bias: {_shown(token)} is no token of this model, which has {known:,} "
                    '(ids from "0" on).',
                    "logit_bias",
                )
            found.append((int(token), bias))
        return tuple(found)

    def stops(self) -> tuple[str, ...]:
        """The stop texts. Raises ApiError for an invalid list."""
        given = [] if self.stop is None else self.stop
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
            raise ApiError(
                400, "stop must be a text, or a list of texts, none of them empty.", "stop"
            )
        if len(texts) > 16:
            raise ApiError(400, f"stop has {len(texts)} texts; at most 16 are looked for.", "stop")
        return tuple(texts)


class ChatRequest(Common):
    """`POST /v1/chat/completions`."""

    messages: list[dict[str, Any]]
    max_completion_tokens: Tokens | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # vLLM's
    logprobs: bool | None = None
    top_logprobs: Likeliest | None = None

    @property
    def likeliest(self) -> int | None:
        """The number of likeliest tokens. Raises ApiError if there are no log-probabilities."""
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            told = f"top_logprobs = {self.top_logprobs} needs logprobs: true beside it."
            raise ApiError(400, told, "top_logprobs")
        return None

    def tools_shown(self) -> list[dict[str, Any]]:
        """The tools to show to the model."""
        return [] if self.tool_choice == "none" else self.tools or []

    def tool_due(self) -> str | None:
        """The tool that must be called, "" for any of them, None if no call is required.

        Raises ApiError for an invalid choice, and for a required call without tools.
        """
        choice = self.tool_choice
        if choice in (None, "auto", "none"):
            return None
        named = choice.get("function") if isinstance(choice, dict) else None
        name = named.get("name") if isinstance(named, dict) else None
        if choice != "required" and not (
            isinstance(name, str) and choice == {"type": "function", "function": {"name": name}}
        ):
            raise ApiError(
                400,
                f"tool_choice = {_shown(choice)} is not supported here: it is auto, none, required "
                'or {"type": "function", "function": {"name": ...}}.',
                "tool_choice",
                "unsupported_parameter",
            )
        if not self.tools:
            told = f"tool_choice = {_shown(choice)} asks for a call, and there are no tools."
            raise ApiError(400, told, "tool_choice")
        return name or ""

    @property
    def most(self) -> int | None:
        """The most new tokens. Raises ApiError if two keys give different numbers."""
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) > 1:
            raise ApiError(
                400,
                f"max_tokens = {self.max_tokens} and max_completion_tokens = "
                f"{self.max_completion_tokens} say different things; give one.",
                "max_tokens",
            )
        return both.pop() if both else None


class TextRequest(Common):
    """`POST /v1/completions`."""

    prompt: Any
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Likeliest | None = None
    echo: bool | None = None
    best_of: int | None = None

    @model_validator(mode="after")
    def _all_are_given(self) -> Self:
        # HELM's client sends as many as it asks for.
        if self.best_of not in (1, None, self.n):
            raise ApiError(
                400,
                f"best_of = {self.best_of} is not supported here beside n = {self.n or 1}: all "
                "answers are given; ask for that many with n.",
                "best_of",
                "unsupported_parameter",
            )
        return self

    @field_validator("logprobs", mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        return None if value is False else value  # as chats say that they want none

    @property
    def most(self) -> int | None:
        """The most new tokens. Raises ApiError for none, unless the prompt is the answer."""
        if self.max_tokens == 0 and not self.echo:
            raise ApiError(
                400, "max_tokens = 0 asks for nothing, without echo: true.", "max_tokens"
            )
        return self.max_tokens

    @property
    def likeliest(self) -> int | None:
        """The number of likeliest tokens."""
        return self.logprobs

    @property
    def echoes(self) -> bool:
        """Whether an answer begins with its prompt."""
        return bool(self.echo)

    def prompts(self) -> dict[str, str] | dict[str, list[int]]:
        """The texts to continue, or their token ids, by place in the request.

        Raises ApiError for anything else.
        """
        given = self.prompt
        if isinstance(given, str) or (_is_ids(given) and given != []):
            return {"prompt": given}
        if isinstance(given, list) and given:
            for kind in (_is_text, _is_ids):
                if all(map(kind, given)):
                    return {f"prompt[{i}]": one for i, one in enumerate(given)}
        raise ApiError(
            400, "prompt must be a text, a list of texts, token ids or a list of them.", "prompt"
        )


class LoadRequest(Strict):
    """`POST /v1/load_lora_adapter`, as in vLLM."""

    lora_name: Loaded
    lora_path: Loaded | None = None
    load_inplace: bool = False


class UnloadRequest(Strict):
    """`POST /v1/unload_lora_adapter`, as in vLLM."""

    lora_name: Loaded
    lora_int_id: Literal[None] = None


def read_body(data: bytes) -> dict[str, Any]:
    """The JSON object of a request's body. Raises ApiError for anything else."""
    try:
        found = parsed(data.decode("utf-8"), "the body")
    except UnicodeDecodeError:
        raise ApiError(400, "the body is not UTF-8.") from None
    except InputError as error:
        raise ApiError(400, str(error)) from None
    if not isinstance(found, dict):
        raise ApiError(400, "the body must be a JSON object.")
    return found


def check(model: type[ModelT], values: Mapping[str, Any]) -> ModelT:
    """A request's values, validated. Raises ApiError with the key of the first invalid one."""
    fields = model.model_fields
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if key in _NEUTRAL and key not in fields and issubclass(model, Common):
            _check_neutral(key, value)
        elif not (key in _ABOUT and issubclass(model, Common)):
            kept[key] = value
    try:
        return model.model_validate(kept)
    except ValidationError as error:
        problem = error.errors()[0]
    place = _place(problem["loc"])
    if problem["type"] == "extra_forbidden":
        close = nearest(str(problem["loc"][-1]), fields, 1)
        hint = f" did you mean {close[0]!r}?" if close else ""
        valid = f" Valid: {', '.join(fields)}." if len(problem["loc"]) == 1 else ""
        raise ApiError(400, f"unknown key {place!r};{hint}{valid}", place, "unknown_parameter")
    if problem["type"] == "missing":
        raise ApiError(400, f"the key {place!r} is required.", place, "missing_required_parameter")
    wanted = problem["msg"].replace("Input should", "it should")
    raise ApiError(400, f"{place} = {_shown(problem['input'])} is not valid: {wanted}.", place)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int for one in value)


def _check_neutral(key: str, value: Any) -> None:
    allowed = _NEUTRAL[key]
    # 0 and False are equal in Python, but not in JSON.
    if not any(
        value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed
    ):
        raise ApiError(
            400,
            f"{key} = {_shown(value)} is not supported here; leave it out.",
            key,
            "unsupported_parameter",
        )


def _place(loc: tuple[str | int, ...]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc]
    return "".join(parts).removeprefix(".")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
