"""Decoding constrained to JSON by a schema: which tokens may come next.

    generated   {"name": "An
    allowed     tokens that continue a string, or end it; all others get the logit -inf

A schema is compiled into a grammar once; each answer has its own state in it, and other rows of a
batch are not affected. Grammars are those of llguidance, an optional package. Whitespace between
JSON tokens is limited to one space, or a newline with up to 32 spaces: an uncertain model would
generate it forever.

Shapes: `V` logits.
"""

from __future__ import annotations

import json
import math
import os
import re
import weakref
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch

from brulee.data.json_schema import Schema, need_llguidance, read_schema
from brulee.errors import InputError
from brulee.inference.on_device import on_device
from brulee.inference.schema_place import inexact_number, place_of
from brulee.inference.token_bytes import check_writable, read_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPACES: Final = r" |\n {0,32}"
_STATES: Final = 25_000  # limit on a lexer's states, of one or two kilobytes each
_FETCHED: Final = re.compile(r"Resource '([^']*)' is not present in a registry.*", re.DOTALL)
# What is valid, for messages of llguidance that do not say so.
_VALID: Final = {
    "Invalid type:": "array, boolean, integer, null, number, object, string",
    "Unknown format:": "date, date-time, duration, email, hostname, ipv4, ipv6, time, uri, uuid",
}
_CONTEXT: Final = re.compile(r"\s*while processing json-schema:\S*")
# All options are set, since a schema could set the others itself ("x-guidance").
_OPTIONS: Final[Mapping[str, Any]] = {
    "item_separator": ",",
    "key_separator": ":",
    "whitespace_flexible": True,
    "whitespace_pattern": _SPACES,
    "coerce_one_of": False,
    "lenient": False,
    "json_allow_general_unicode_escapes": False,
}


class FormError(InputError):
    """Raised if an answer cannot continue within its schema."""


@final
class Form:
    """A compiled constraint on answers, for one tokenizer; made by `json_form` or `form_of`.

    `schema` is the text of the schema, or of the grammar.
    """

    def __init__(self, schema: str, grammar: Any, ends: Collection[int]) -> None:
        self.schema, self._grammar, self._ends = schema, grammar, ends

    def begin(self) -> Walk:
        """The state of a new answer."""
        return Walk(self._grammar.deep_copy(), self._ends)


@final
class Walk:
    """One answer's state. `ended`: nothing may follow; `problem`: why nothing can, though it must.

    `ends` are the grammar's end tokens, which are replaced by a model's stop ids.
    """

    def __init__(self, grammar: Any, ends: Collection[int]) -> None:
        self._grammar, self._ends = grammar, ends
        self.ended, self.problem = False, ""

    def hide(
        self, logits_V: torch.Tensor, stop_ids: Collection[int], barred: Collection[int] = ()
    ) -> None:
        """Set the logits of tokens that may not come next to -inf, in place; NaN stays NaN.

        Tokens of `stop_ids` are allowed where the JSON is complete, those of `barred` nowhere. If
        no token is allowed, logits stay unchanged and `problem` says why.
        """
        allowed_V = self._allowed(len(logits_V), stop_ids, barred)
        if not self.problem:
            hidden_V = torch.zeros(len(logits_V), dtype=logits_V.dtype)
            hidden_V[~torch.from_numpy(allowed_V)] = -math.inf
            logits_V += on_device(hidden_V, logits_V.device)

    def take(self, token: int) -> None:
        """Advance by a token other than a stop id."""
        if not self._grammar.consume_token(token):
            self.problem = _told(self._grammar.get_error())
        else:
            self.ended = bool(self._grammar.is_stopped())

    def forced(self) -> list[int]:
        """Tokens of the only possible continuation, such as the rest of a key."""
        return list(self._grammar.compute_ff_tokens())

    def _allowed(
        self, count: int, stop_ids: Collection[int], barred: Collection[int]
    ) -> np.ndarray[Any, np.dtype[np.bool]]:
        bits = np.frombuffer(self._grammar.compute_bitmask(), dtype=np.uint8)
        if self._grammar.is_error():
            self.problem = self.problem or _told(self._grammar.get_error())
        found = np.unpackbits(bits, bitorder="little", count=count).astype(np.bool)
        found[[i for i in self._ends if i < count]] = False
        found[[i for i in stop_ids if i < count]] = self._grammar.is_accepting()
        found[list(barred)] = False
        if not found.any():
            self.problem = self.problem or "no token of the model's vocabulary goes on from there"
        return found


def json_form(
    tokenizer: PreTrainedTokenizerBase, schema: Mapping[str, Any], place: str = "the JSON schema"
) -> Form:
    """The form of a JSON Schema with at most `strict_json.DEEPEST` levels.

    Raises InputError naming the part of the schema that cannot be enforced, or saying that the
    vocabulary cannot spell it, or that llguidance is missing.
    """
    need_llguidance(place)
    if lost := inexact_number(schema):
        raise InputError(
            f"{place}{lost[0]} cannot be enforced: {lost[1]} has too many digits: at most 15, or "
            f"for an integer those of {2**53}; use a text instead."
        )
    known = _tokens(tokenizer)
    check_writable(known, "".join(_spelled(schema)))
    found = _compiled(known, schema)
    if isinstance(found, str):
        where = place_of(schema, found, lambda part: _problem(known, part))
        raise InputError(f"{place}{where} cannot be enforced: {found}.")
    return Form(json.dumps(schema), found, frozenset(known.eos_tokens))


def form_of(tokenizer: PreTrainedTokenizerBase, grammar: str, spelled: str) -> Form:
    """The form of a grammar in llguidance's language, which contains the characters `spelled`.

    Raises InputError for a vocabulary that lacks one of them, and for a grammar that is too large.
    """
    known = _tokens(tokenizer)
    check_writable(known, spelled)
    found = _matching(known, grammar)
    if isinstance(found, str):
        raise InputError(f"the answer cannot be constrained to its tools: {found}.")
    return Form(grammar, found, frozenset(known.eos_tokens))


def json_grammar(schema: Mapping[str, Any]) -> str:
    """A JSON Schema as a part of a grammar in llguidance's language."""
    return f"%json {json.dumps({**schema, 'x-guidance': dict(_OPTIONS)})}"


def form_by(tokenizer: PreTrainedTokenizerBase, schema: Schema | None) -> Form | None:
    """The form of a schema or its file, None without one. Raises InputError naming the file."""
    if schema is None:
        return None
    place = "the JSON schema" if isinstance(schema, Mapping) else os.fspath(schema)
    return json_form(tokenizer, read_schema(schema), place)


def _spelled(schema: Any) -> Iterator[str]:
    """Text that answers contain literally: names of properties, and constant values."""
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            names = part.get("properties")
            yield from names if isinstance(names, dict) else ()
            for key in ("required", "enum", "const"):
                yield json.dumps(part.get(key), ensure_ascii=False)
            left += part.values()
        elif isinstance(part, list):
            left += part


def _problem(known: Any, schema: Mapping[str, Any]) -> str:
    found = _compiled(known, schema)
    return found if isinstance(found, str) else ""


def _compiled(known: Any, schema: Mapping[str, Any]) -> Any:
    """A grammar, or the reason why there is none."""
    from llguidance import LLMatcher

    try:
        text = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=dict(_OPTIONS))
    except ValueError as error:
        return _told(str(error))
    return _matching(known, text)


def _matching(known: Any, text: str) -> Any:
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(max_lexer_states=_STATES, verbose_errors=False)
    try:
        grammar = LLMatcher(known, text, limits=limits, log_level=0)
    except ValueError as error:
        return _told(str(error))
    if grammar.is_error():
        return _told(grammar.get_error())
    grammar.compute_bitmask()  # without this, an unsatisfiable grammar goes unnoticed
    return "nothing is valid by it" if grammar.is_error() else grammar


def _told(error: str) -> str:
    """An error message of llguidance on one line."""
    if error.startswith("oneOf constraints"):  # it names an option that does not exist here
        return "an answer may fit several parts of its oneOf; write anyOf"
    bare = _CONTEXT.sub("", error.replace("<non-verbose/>", ""))
    bare = _FETCHED.sub(r"it refers to \1, and nothing is fetched", bare)
    found = " ".join(bare.split()).rstrip(".") or "it stopped"
    valid = next((names for begun, names in _VALID.items() if found.startswith(begun)), "")
    return f"{found}; valid: {valid}" if valid else found


# A tokenizer's tokens are read once: for 49,152 tokens that takes a second.
_READ: MutableMapping[Any, Any] = weakref.WeakKeyDictionary()


def _tokens(tokenizer: PreTrainedTokenizerBase) -> Any:
    if tokenizer not in _READ:
        _READ[tokenizer] = read_tokens(tokenizer)
    return _READ[tokenizer]
