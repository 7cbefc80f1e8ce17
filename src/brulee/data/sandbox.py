"""Jinja with limits: no attribute of Python's own, no endless loop, no huge text, seeded choice.

Template files come from strangers. They render in Jinja's sandbox (the mutable one: promptsource
templates append to lists) with every loop, call, filter, operator and printed value bounded.
"""

from __future__ import annotations

import functools
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

MAX_LENGTH = 1_000_000
MAX_SECONDS = 1.5
_MAX_BITS = 4096
# Names a template cannot spell, so that it can neither call nor replace them.
_DEADLINE, _KEY, _DRAWS = " deadline", " key", " draws"
_TICK, _CONCAT = " tick", " concat"
_PADDING = {"center", "ljust", "rjust", "zfill", "expandtabs", "indent", "wordwrap", "format"}


class LimitedEnvironment(SandboxedEnvironment):
    """The sandbox with size limits, and an error in place of a missing column."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_printable)
        self.filters = {name: _bounded(name, function) for name, function in self.filters.items()}
        self.filters |= {
            "choice": _choice,
            "most_frequent": _most_frequent,
            "highlight": _highlight,
            _TICK: _tick,
            _CONCAT: _concat,
        }
        self.globals = {
            "range": self.globals["range"],
            "dict": dict,
            "namespace": self.globals["namespace"],
            "zip": zip,
            "choice": _choice,
        }

    def program(self, text: str) -> jinja2.Template:
        """Compile a template; jinja2.TemplateSyntaxError where it is malformed."""
        code = self.compile(_guard(self.parse(text), self))
        return jinja2.Template.from_code(self, code, self.make_globals(None))

    def call(self, context: Context, target: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call from a template, inside the time and size limits."""
        _check_time(context)
        method = getattr(target, "__wrapped__", target)
        owner = getattr(method, "__self__", None)
        _check_padding(getattr(method, "__name__", ""), (owner, *args), kwargs)
        result = super().call(context, target, *args, **kwargs)
        _check_size(owner)
        return _check_size(result)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Apply an operator, unless its result would be huge."""
        _check_time(context)
        _check_operands(operator, left, right)
        return super().call_binop(context, operator, left, right)


def render(program: jinja2.Template, columns: Mapping[str, Any], key: str) -> str:
    """The rendered text; raises jinja2.TemplateError past MAX_LENGTH or MAX_SECONDS."""
    deadline = time.monotonic() + MAX_SECONDS
    values = {**columns, _DEADLINE: deadline, _KEY: key, _DRAWS: [0]}
    parts: list[str] = []
    length = 0
    for part in program.generate(values):
        parts.append(part)
        length += len(part)
        if length > MAX_LENGTH:
            raise SecurityError(f"it renders more than {MAX_LENGTH:,} characters")
        if time.monotonic() > deadline:
            raise SecurityError(f"it runs for more than {MAX_SECONDS:g} seconds")
    return "".join(parts)


def _guard(tree: nodes.Template, env: jinja2.Environment) -> nodes.Template:
    """Put a clock into every loop and a size check into every `~`."""
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = _filter(loop.iter, _TICK)
    for joined in list(tree.find_all(nodes.Concat)):
        joined.nodes = [_filter(nodes.List(joined.nodes, lineno=joined.lineno), _CONCAT)]
    tree.set_environment(env)
    return tree


def _filter(inner: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(inner, name, [], [], None, None, lineno=inner.lineno)


@jinja2.pass_context
def _tick(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _check_time(context)
        yield item


def _concat(items: list[Any]) -> Any:
    return _check_size("".join(str(_printable(item)) for item in items))


@jinja2.pass_context
def _choice(context: Context, items: Any) -> Any:
    """One item, drawn by a hash of the row's key and how many draws the render made before."""
    items = list(items)
    if not items:
        raise jinja2.TemplateRuntimeError("choice has nothing to choose from")
    draws = context.resolve(_DRAWS)
    seed = f"{context.resolve(_KEY)}\x1f{draws[0]}".encode()
    draws[0] += 1
    return items[int.from_bytes(hashlib.sha256(seed).digest()[:8]) % len(items)]


def _most_frequent(items: Iterable[Any]) -> list[Any]:
    """Every item that occurs as often as the most frequent one."""
    counts = Counter(items)
    most = max(counts.values(), default=0)
    return [item for item, count in counts.items() if count == most]


def _highlight(value: Any) -> Any:
    """The value itself: highlighting is a matter of the screen, never of training text."""
    return value


def _printable(value: Any) -> Any:
    """What `{{ }}` prints: a null prints nothing, as a missing value in a CSV does."""
    return "" if value is None else _check_size(value)


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _check_padding(name, args, kwargs)
        return _check_size(function(*args, **kwargs))

    return call


def _check_time(context: Context) -> None:
    if time.monotonic() > context.resolve(_DEADLINE):
        raise SecurityError(f"it runs for more than {MAX_SECONDS:g} seconds")


def _check_size(value: Any) -> Any:
    if isinstance(value, (str, list, tuple, dict)) and len(value) > MAX_LENGTH:
        raise SecurityError(f"it builds a value longer than {MAX_LENGTH:,}")
    return value


def _check_padding(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    if name not in _PADDING:
        return
    for value in (*args, *kwargs.values()):
        wide = isinstance(value, int) and abs(value) > MAX_LENGTH
        if wide or (name == "format" and _has_wide_field(value)):
            raise SecurityError(f"{name} pads past {MAX_LENGTH:,} characters")


def _has_wide_field(value: Any) -> bool:
    return isinstance(value, str) and re.search(r"[{%][^}%]*\d{6}", value) is not None


def _check_operands(operator: str, left: Any, right: Any) -> None:
    sized = [len(v) for v in (left, right) if isinstance(v, (str, list, tuple))]
    numbers = [abs(v) for v in (left, right) if isinstance(v, int)]
    too_long = (
        (operator == "+" and sum(sized) > MAX_LENGTH)
        or (operator == "*" and sized and numbers and sized[0] * numbers[0] > MAX_LENGTH)
        or (operator == "%" and _has_wide_field(left))
    )
    if too_long:
        raise SecurityError(f"{operator} makes a value longer than {MAX_LENGTH:,}")
    if len(numbers) == 2 and _bits(operator, *numbers) > _MAX_BITS:
        raise SecurityError(f"{operator} makes a number of more than {_MAX_BITS} bits")


def _bits(operator: str, left: int, right: int) -> int:
    if operator == "**":
        return left.bit_length() * right
    return left.bit_length() + right.bit_length()
