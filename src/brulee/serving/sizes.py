"""How many tokens a request may have, and the refusal of one that has more, with the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brulee.inference.engine import Engine
from brulee.serving.failures import ApiError
from brulee.serving.limits import DEFAULT_TOKENS, Limits


@dataclass(frozen=True)
class Sizes:
    """Sizes of a request that asks for `asked` new tokens (None: not given) from an engine.

    `about` is the key of the request that holds the prompts.
    """

    asked: int | None
    engine: Engine
    limits: Limits
    about: str

    def most(self, prompts: Sequence[Sequence[int]]) -> int:
        """The most new tokens after any of the prompts, at least one.

        Raises ApiError for an empty prompt, and for one that is too long.
        """
        if not all(prompts):
            raise ApiError(
                400, f"{self._which(prompts)} is empty: there is nothing to continue.", self.about
            )
        asked, limits, prompt = self.asked, self.limits, max(map(len, prompts))
        if asked is not None and asked > limits.tokens:
            raise ApiError(
                400, f"max_tokens = {asked}; at most {limits.tokens} are allowed.", "max_tokens"
            )
        engine = self.engine
        room = limits.cache_tokens - prompt
        if engine.context is not None:
            room = min(room, engine.context - (1 if engine.seq2seq else prompt))
            if engine.seq2seq and prompt > engine.context:
                room = 0
        if room < max(1, asked or 0):
            raise self.too_long(str(prompt))
        return max(1, min(DEFAULT_TOKENS if asked is None else asked, room, limits.tokens))

    @property
    def room(self) -> int:
        """The most tokens of a prompt and its answer."""
        context, most = self.engine.context, self.limits.cache_tokens
        return most if context is None else min(context, most)

    def too_long(self, prompt: str) -> ApiError:
        """The refusal of a prompt of so many tokens."""
        told = (
            f"too long: the prompt has {prompt} tokens and {self.asked or 1} are requested; "
            f"there is room for {self.room}."
        )
        return ApiError(400, told, self.about, "context_length_exceeded")

    def _which(self, prompts: Sequence[Sequence[int]]) -> str:
        """The key of the first empty prompt in the request."""
        at = next(at for at, prompt in enumerate(prompts) if not prompt)
        return self.about if len(prompts) == 1 else f"{self.about}[{at}]"
