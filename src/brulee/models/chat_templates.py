"""The chat template of a model: the tokenizer's or one from a file, with variables set in it.

Variables (`enable_thinking: false`) are set by a line prepended to the template, so that its text
alone is enough to frame prompts as in training. Further lines (from a request to a model whose
recipe already set some) go after the existing ones and override them.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from jinja2 import Environment, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from brulee.errors import InputError, nearest
from brulee.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Mode = Literal["auto", "none"]
_MODES: Final = ("auto", "none")
_VALID: Final = "valid: auto (the tokenizer's own), none (plain text), or a file with a template"
_GIVEN: Final = ("messages", "tools", "documents", "add_generation_prompt")
# Functions that transformers passes to every template, in addition to Jinja's globals.
_FUNCTIONS: Final = ("raise_exception", "strftime_now")
# The lines that set variables, as `with_variables` writes them: all values are literals.
_VALUE: Final = r'(?:"(?:[^"\\]|\\.)*"|true|false|none|[-+.\de\[\]{},: ])+'
_LINES: Final = re.compile(rf"(?:(?:{{%- set \w+ = {_VALUE} %}})+\n)*")


class _Generation(Extension):
    """transformers' tag `generation`, with which a template marks the learned text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Parse the tag's body."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


_JINJA: Final = Environment(extensions=["jinja2.ext.loopcontrols", _Generation])


def mode_of(recorded: object) -> Mode:
    """Whether a chat template is used at all, from the value in a recipe or a record."""
    return "none" if recorded == "none" else "auto"


def by_recipe(
    tokenizer: PreTrainedTokenizerBase, kind: Literal["causal", "seq2seq"], recipe: Recipe
) -> PreTrainedTokenizerBase:
    """The tokenizer with the chat template and the template variables of a recipe.

    Raises InputError for a file that cannot be read or is not a template, for a variable that the
    template does not read, and for either if no chat template is used.
    """
    spec, source = recipe.base, recipe.source
    named, variables = spec.chat_template, spec.chat_template_kwargs
    if named in _MODES and not variables:
        return tokenizer
    with source.placing():
        key = "model.chat_template" if named not in _MODES else "model.chat_template_kwargs"
        if kind == "seq2seq":
            raise InputError(f"{key}: an encoder-decoder reads its prompt without a chat template.")
        if named == "none":
            raise InputError(f"{key}: chat_template is none, which has no variables.")
        found = tokenizer
        if named != "auto":
            found = with_template(tokenizer, _read(named, recipe))
            _try(found, named)
        if variables:
            found = with_variables(found, variables, "model.chat_template_kwargs")
        return found


def recorded(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> object:
    """What to record of the template: `auto`, `none`, or its text if it is not the base's own.

    If the tokenizer has several templates, a mapping from names to texts.
    """
    spec = recipe.base
    if spec.chat_template in _MODES and not spec.chat_template_kwargs:
        return spec.chat_template
    return tokenizer.chat_template


def by_record(tokenizer: PreTrainedTokenizerBase, record: object) -> PreTrainedTokenizerBase:
    """The tokenizer with the template of a record made by `recorded`."""
    if record is None or record in _MODES:
        return tokenizer
    return with_template(tokenizer, record)


def with_template(tokenizer: PreTrainedTokenizerBase, texts: object) -> PreTrainedTokenizerBase:
    """A copy of a tokenizer with another chat template."""
    found = copy.copy(tokenizer)
    found.chat_template = texts
    return found


def _read(named: str, recipe: Recipe) -> str:
    if "{%" in named or "{{" in named:
        raise InputError(
            f"model.chat_template: that is the text of a template; write it into a file, and name "
            f"that. {_VALID.capitalize()}."
        )
    try:
        text = recipe.source.resolve(named).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise InputError(
            f"model.chat_template: {named!r} is no file; {_hint(named, _MODES)}{_VALID}."
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"model.chat_template: {named!r} is not text in UTF-8.") from None
    except OSError as error:
        raise InputError(f"model.chat_template: {named!r}: {error.strerror}.") from None
    if not text.strip():
        raise InputError(f"model.chat_template: {named!r} is empty; {_VALID}.")
    return text


def with_variables(
    tokenizer: PreTrainedTokenizerBase, variables: Mapping[str, Any], key: str
) -> PreTrainedTokenizerBase:
    """A copy of a tokenizer with variables set in its chat template.

    Raises InputError, starting with the `key` of the variables, for a variable that the template
    does not read, or if there is no template.
    """
    texts = tokenizer.chat_template
    if not texts:
        raise InputError(f"{key}: this model's tokenizer has no chat template of its own.")
    every = [texts] if isinstance(texts, str) else list(texts.values())
    read = {name for text in every for name in _read_by(text, key)}
    for name in variables:
        if name in _GIVEN:
            raise InputError(
                f"{key}.{name}: every chat template already gets this variable; leave it out."
            )
        if name not in read:
            raise InputError(
                f"{key}.{name}: the chat template does not read {name!r}; {_hint(name, read)}"
                + (f"valid: {', '.join(sorted(read))}." if read else "it has no variables to set.")
            )
    line = "".join(
        f"{{%- set {name} = {_literal(value, f'{key}.{name}')} %}}"
        for name, value in variables.items()
    )
    if isinstance(texts, str):
        return with_template(tokenizer, _headed(texts, line))
    return with_template(tokenizer, {name: _headed(text, line) for name, text in texts.items()})


def _read_by(text: str, key: str) -> set[str]:
    """The variables that a template reads but does not set, without those passed to every one."""
    rest = text[_length_of_lines(text) :]
    try:
        found = meta.find_undeclared_variables(_JINJA.parse(rest))
    except TemplateSyntaxError as error:
        raise InputError(
            f"{key}: the chat template, line {error.lineno}: {error.message}"
        ) from None
    return found - {*_GIVEN, *_FUNCTIONS, *_JINJA.globals}


def _headed(text: str, line: str) -> str:
    """Insert one more line that sets variables; its line break is removed by `trim_blocks`."""
    at = _length_of_lines(text)
    return f"{text[:at]}{line}\n{text[at:]}"


def _length_of_lines(text: str) -> int:
    found = _LINES.match(text)
    return found.end() if found else 0


def _hint(name: str, valid: Iterable[str]) -> str:
    close = nearest(name, sorted(valid))
    return f"did you mean {' or '.join(map(repr, close))}? " if close else ""


def _literal(value: Any, key: str) -> str:
    """A value as a Jinja literal; Jinja reads escapes in strings as JSON does."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_literal(one, key) for one in value)}]"
    if isinstance(value, dict):
        pairs = (f"{_literal(str(k), key)}: {_literal(one, key)}" for k, one in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{key}: {value} is no number.")
    if isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value):
        raise InputError(f"{key}: it contains a lone surrogate, which is not a character.")
    return json.dumps(value, ensure_ascii=False)


def _try(tokenizer: PreTrainedTokenizerBase, named: str) -> None:
    """Raise InputError for a syntax error; data/chat_framing.py checks what the template writes."""
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
    except TemplateSyntaxError as error:
        raise InputError(
            f"model.chat_template: {named!r}, line {error.lineno}: {error.message}"
        ) from None
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
        return
