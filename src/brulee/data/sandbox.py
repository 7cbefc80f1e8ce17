"""Sandboxed Jinja: no Python internals, limits on time and text, seeded `choice`.

Template files are untrusted. They render in Jinja's sandbox (the mutable one, as promptsource
templates append to lists), with every loop, call, filter, test, operator and literal checked by a
`sandbox_watch.Watch`, which tracks the time, the text built so far and the draws of `choice`.
"""

from __future__ import annotations

import functools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from brulee.data.sandbox_sizes import MAX_LENGTH, check_arguments, check_operands, weigh
from brulee.data.sandbox_watch import Watch

__all__ = ["FAILURES", "MAX_LENGTH", "MAX_SECONDS", "LimitedEnvironment", "render"]

MAX_SECONDS = 1.5
# What a template can raise while it is read or rendered.
FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
_MOST_TEXT, _DEEPEST = 200_000, 60
# Filters that take quadratic time, or are only for web pages.
_LEFT_OUT = ("forceescape", "pprint", "striptags", "urlize", "wordwrap", "xmlattr")
# Names that a template cannot spell, and so can neither call nor replace.
_TICK, _SIZED, _CONCAT = " tick", " sized", " concat"
# The filter `format` is %-formatting, unlike the method of that name.
_CALLED = {"format": "%"}
_LITERALS = (nodes.List, nodes.Tuple, nodes.Dict)
_RUNNING = threading.local()


class LimitedEnvironment(SandboxedEnvironment):
    """The sandbox with limits; a missing column is an error."""

    intercepted_binops = frozenset(["+", "*", "**", "%", "//", "/", "-"])

    def __init__(self) -> None:
        # No constant folding: it would run without time limit.
        super().__init__(undefined=StrictUndefined, finalize=_printable, optimized=False)
        kept: dict[str, Callable[..., Any]] = {
            n: f for n, f in self.filters.items() if n not in _LEFT_OUT
        }
        self.filters = {n: _watched(_CALLED.get(n, n), f) for n, f in kept.items()}
        self.filters |= {
            "choice": _watched("choice", _choice),
            "random": _watched("random", _choice),
            "most_frequent": _watched("most_frequent", _most_frequent),
            "tojson": _watched("tojson", _to_json),
            "highlight": _highlight,
            _TICK: _tick,
            _SIZED: _sized,
            _CONCAT: _concat,
        }
        tests: dict[str, Any] = dict(self.tests)
        self.tests = {name: _watched(name, function) for name, function in tests.items()}
        self.globals = {
            "range": self.globals["range"],
            "dict": dict,
            "namespace": self.globals["namespace"],
            "zip": zip,
            "choice": _choice,
        }

    def program(self, text: str) -> jinja2.Template:
        """Compile a template; jinja2.TemplateSyntaxError if it is malformed."""
        try:
            code = self.compile(_guard(self.parse(text), self))
        except (SyntaxError, RecursionError, MemoryError) as error:
            reason = getattr(error, "msg", None) or "nested too deeply"
            raise jinja2.TemplateSyntaxError(f"it cannot be compiled: {reason}", 1) from None
        return jinja2.Template.from_code(self, code, self.make_globals(None))

    def parse(
        self, source: str, name: str | None = None, filename: str | None = None
    ) -> nodes.Template:
        """Parse a template; jinja2.TemplateSyntaxError if it is malformed, too long or too deep."""
        if len(source) > _MOST_TEXT:
            message = f"it has {len(source):,} characters; at most {_MOST_TEXT:,} may be"
            raise jinja2.TemplateSyntaxError(message, 1)
        try:
            tree = super().parse(source, name, filename)
        except (RecursionError, ValueError, MemoryError) as error:
            reason = " ".join(str(error).split()) or "nested too deeply"
            raise jinja2.TemplateSyntaxError(f"it cannot be read: {reason}", 1) from None
        _check_depth(tree)
        return tree

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Subscript an object, checking the time; fails at compile time, so nothing is folded."""
        _watch().check_time()
        return super().getitem(obj, argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Like `getitem`, for `row.name`."""
        _watch().check_time()
        return super().getattr(obj, attribute)

    def call(self, context: Context, target: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function from a template, within the limits."""
        method = getattr(target, "__wrapped__", target)
        owner = getattr(method, "__self__", None)
        name = getattr(method, "__name__", "")
        args = tuple(_watch().materialised(argument) for argument in args)
        check_arguments(name, (owner, *args), kwargs)
        return _watch().built(super().call(context, target, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Apply an operator, unless its result would be huge."""
        _watch().check_time()
        check_operands(operator, left, right)
        return _watch().built(super().call_binop(context, operator, left, right))


def render(program: jinja2.Template, columns: Mapping[str, Any], key: str) -> str:
    """Render a template; jinja2.TemplateError past MAX_LENGTH characters or MAX_SECONDS.

    `key` seeds the random choices.
    """
    _RUNNING.watch = watch = Watch(MAX_SECONDS, key)
    parts: list[str] = []
    length = 0
    try:
        for part in program.generate(columns):
            parts.append(part)
            length += len(part)
            if length > MAX_LENGTH:
                raise SecurityError(f"it renders more than {MAX_LENGTH:,} characters")
            watch.check_time()
    except (RuntimeError, MemoryError, AssertionError) as error:
        raise jinja2.TemplateRuntimeError(str(error) or type(error).__name__) from None
    finally:
        del _RUNNING.watch
    return "".join(parts)


def _watch() -> Watch:
    """The watch over this thread's rendering."""
    watch: Watch = _RUNNING.watch
    return watch


def _guard(tree: nodes.Template, env: jinja2.Environment) -> nodes.Template:
    """Add a time check to every loop, and a size check to every literal, comparison and `~`."""
    for loop in list(tree.find_all(nodes.For)):
        text = sum(len(data.data) for data in loop.find_all(nodes.TemplateData))
        loop.iter = _filter(loop.iter, _TICK, nodes.Const(text))
    for compare in list(tree.find_all(nodes.Compare)):
        compare.expr = _filter(compare.expr, _SIZED)
        for operand in compare.ops:
            operand.expr = _filter(operand.expr, _SIZED)
    for joined in list(tree.find_all(nodes.Concat)):
        joined.nodes = [_filter(nodes.List(joined.nodes, lineno=joined.lineno), _CONCAT)]
    _size_literals(tree)
    tree.set_environment(env)
    return tree


def _size_literals(parent: nodes.Node) -> None:
    for name, value in parent.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(parent, name, _size_literal(value))
        elif isinstance(value, list):
            setattr(parent, name, [_size_literal(v) for v in value])


def _size_literal(value: Any) -> Any:
    if not isinstance(value, nodes.Node):
        return value
    _size_literals(value)
    loaded = isinstance(value, _LITERALS) and getattr(value, "ctx", "load") == "load"
    return _filter(value, _SIZED) if loaded else value


def _filter(inner: nodes.Node, name: str, *args: nodes.Node) -> nodes.Filter:
    return nodes.Filter(inner, name, list(args), [], None, None, lineno=inner.lineno)


def _check_depth(tree: nodes.Node) -> None:
    level = [tree]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    raise jinja2.TemplateSyntaxError("it is nested too deeply", level[0].lineno)


def _watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter or a test with the limits."""
    passed = int(hasattr(function, "jinja_pass_arg"))  # an argument that Jinja inserts first

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        watch = _watch()
        given = tuple(watch.materialised(argument) for argument in args[passed:])
        check_arguments(name, given, kwargs)
        return watch.built(function(*args[:passed], *given, **kwargs))

    return call


def _tick(items: Iterable[Any], text: int) -> Iterator[Any]:
    """Yield the items, checking the time; each prints `text` characters of the template."""
    watch = _watch()
    for item in items:
        watch.spend(text)
        yield item


def _sized(value: Any) -> Any:
    weigh(value)
    return value


def _concat(items: list[Any]) -> Any:
    weigh(items)
    return _watch().built("".join(str("" if item is None else item) for item in items))


def _choice(items: Any) -> Any:
    """One item, drawn by a hash of the row's key and the number of earlier draws."""
    items = list(items)
    if not items:
        raise jinja2.TemplateRuntimeError("choice has nothing to choose from")
    return items[_watch().draw(len(items))]


def _most_frequent(items: Iterable[Any]) -> list[Any]:
    """All items with the highest count."""
    counts = Counter(items)
    most = max(counts.values(), default=0)
    return [item for item, count in counts.items() if count == most]


def _to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON with order and characters kept, unlike Jinja's filter, which escapes HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)


def _highlight(value: Any) -> Any:
    """The value unchanged: highlighting is for display, not for training text."""
    return value


@jinja2.pass_context  # otherwise Jinja would call it at compile time for constants
def _printable(_context: Context, value: Any) -> Any:
    """The text that `{{ }}` prints: nothing for a null, like a missing value in a CSV file."""
    if callable(value) and not isinstance(value, jinja2.Undefined):
        name = getattr(value, "__name__", "a function")
        raise jinja2.TemplateRuntimeError(f"it prints {name} itself; call it with ()")
    return "" if value is None else _watch().built(_watch().materialised(value))
