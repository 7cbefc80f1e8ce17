"""The literal text of a template, which is the same for every row."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from jinja2 import nodes

from brulee.data.sandbox import LimitedEnvironment
from brulee.data.template import SEPARATOR, Template

Kind = Literal["text", "field", "block"]
# The placeholder for a printed value: a letter, so that adjacent words stay joined.
VALUE = "X"
_ENVIRONMENT = LimitedEnvironment()


@dataclass(frozen=True)
class Piece:
    """A run of literal text, a `{{ field }}` or a `{% block %}`; `line` counts from 1."""

    kind: Kind
    text: str
    line: int


@functools.lru_cache(maxsize=256)
def pieces(jinja: str) -> tuple[Piece, ...]:
    """Split a template into literal text, fields and blocks; comments are dropped.

    White space that `{%-` or `-%}` removes is in no piece.
    """
    found: list[Piece] = []
    inside: Kind | None = None
    for line, token, value in _ENVIRONMENT.lex(jinja):
        if token in ("variable_begin", "block_begin"):
            inside = "field" if token == "variable_begin" else "block"
            found.append(Piece(inside, "", line))
        elif token in ("variable_end", "block_end"):
            inside = None
        elif inside is not None:
            found[-1] = Piece(inside, found[-1].text + value, found[-1].line)
        elif token == "data" and value:
            found.append(Piece("text", value, line))
    return tuple(found)


def prompt_pieces(found: Iterable[Piece]) -> list[Piece]:
    """The pieces before the first separator."""
    kept: list[Piece] = []
    for piece in found:
        before, separator, _ = piece.text.partition(SEPARATOR)
        if piece.kind == "text" and separator:
            return [*kept, Piece("text", before, piece.line)]
        kept.append(piece)
    return kept


def names(found: Iterable[Piece]) -> frozenset[str]:
    """The words in the expressions of fields and blocks: every column read, and other names."""
    texts = [piece.text for piece in found if piece.kind != "text"]
    return frozenset(word for text in texts for word in re.findall(r"[A-Za-z_]\w*", text))


def readings(template: Template) -> list[str]:
    """The literal text with the first branch of every `if`, and that with the last, if different.

    Printed expressions are replaced by `VALUE`; printed constants are kept.
    """
    first, last = ("".join(_read(template.tree, pick)) for pick in (0, -1))
    return [first] if first == last else [first, last]


def _read(node: nodes.Node, pick: int) -> Iterator[str]:
    if isinstance(node, nodes.TemplateData):
        yield node.data
    elif isinstance(node, nodes.Const):
        yield str(node.value)
    elif isinstance(node, nodes.CondExpr):
        chosen = (node.expr1, node.expr2)[pick]
        yield from _read(chosen, pick) if chosen is not None else ()
    elif isinstance(node, nodes.Expr):
        yield VALUE
    elif isinstance(node, nodes.If):
        elifs = [branch.body for branch in node.elif_]
        yield from _read_all([node.body, *elifs, node.else_][pick], pick)
    elif isinstance(node, nodes.For):
        yield from _read_all(node.body, pick)
    elif isinstance(node, nodes.Template | nodes.Output | nodes.With | nodes.Scope):
        yield from _read_all(node.nodes if isinstance(node, nodes.Output) else node.body, pick)


def _read_all(children: Iterable[nodes.Node], pick: int) -> Iterator[str]:
    for child in children:
        yield from _read(child, pick)
