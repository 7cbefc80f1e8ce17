"""A template renders one row into a prompt and a completion, as in promptsource."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jinja2
from jinja2 import meta, nodes

from brulee.data.messages import Message
from brulee.data.rows import spellings
from brulee.data.sandbox import FAILURES, LimitedEnvironment, render
from brulee.errors import InputError

SEPARATOR = "|||"
TEXT, GOES_ON = "text", "goes_on"
PLAIN = f"{SEPARATOR} {{{{ {TEXT} }}}}"  # plain text as a template
# Replaces the separator inside a row's own text: private-use characters, never in a template.
_SHIELD = "\ue0b0\ue0b1\ue0b2"
# A separator from the template itself: a `|` that ends the value before it is not part of it.
_WRITTEN = f"\ue0b2{SEPARATOR}\ue0b0"
_CHOICES = "answer_choices"
_CHAT = frozenset(("history", "speaker", "tools", "asked_with", "answered_with"))
# Jinja's error for `answer_choices[label]` where the label is a string or a float.
_NO_NUMBER = re.compile(r"list object'? has no (attribute '|element -?\d*\.)")
# Printed words without an operator between them, which can only be meant as a column's name.
_PRINTED = re.compile(r"\{\{\s*(\w[^{}|\"\[]*?)\s*\}\}")
_SPACED = re.compile(r"\w [\w(]|\w'\w|[?#$@]")
_OPERATORS = frozenset(("if", "else", "and", "or", "not", "in", "is"))
_ENVIRONMENT = LimitedEnvironment()
# Jinja does not report globals as undeclared names, so columns are found in an environment without.
_WITHOUT_GLOBALS = LimitedEnvironment()
_WITHOUT_GLOBALS.globals.clear()


@dataclass(frozen=True)
class TemplateMetadata:
    """What promptsource records about a template; None where the file does not say.

    `rationale` is an extension: the completion has reasoning before the answer.
    """

    original_task: bool | None = None
    choices_in_prompt: bool | None = None
    metrics: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    rationale: bool | None = None


@dataclass(frozen=True)
class Rendered:
    """The prompt, the completion to learn, and the answer choices.

    `history` are the chat turns before the prompt, each with role and content; with `learn_history`
    the assistant's turns among them are learned too. `speaker` is the role of the prompt's turn;
    `asked_with` and `answered_with` are the other fields of the prompt's and of the answer's turn.
    `tools` describes the tools that may be called, as JSON text. `plain`: there is no prompt, the
    completion is a text by itself, and `ends` says whether it is complete.
    """

    prompt: str
    completion: str
    choices: tuple[str, ...] | None
    history: tuple[Message, ...] = ()
    learn_history: bool = False
    speaker: str = "user"
    tools: str = ""
    asked_with: Message = field(default_factory=dict)
    answered_with: Message = field(default_factory=dict)
    plain: bool = False
    ends: bool = True

    @property
    def messages(self) -> list[Message]:
        """Every turn before the answer."""
        return [*self.history, {"role": self.speaker, "content": self.prompt, **self.asked_with}]

    @property
    def answer(self) -> Message:
        """The turn to be learned."""
        return {"role": "assistant", "content": self.completion, **self.answered_with}


class Template:
    """One phrasing: Jinja text with `|||` between prompt and completion.

    Rendering follows promptsource (values may hold `|||`, a column `a-b` is read as `a_b`, parts
    are stripped) with four differences: it is sandboxed, `choice` is seeded, a null prints
    nothing, and a missing column is an error. `chat`: rows hold the turns before the prompt in a
    column `history` (see also `chat_columns`), and every or only the last answer is learned.
    `plain`: a row is a text without a prompt, used as it is; the Jinja is not run. Raises
    InputError naming `where` if the Jinja is malformed.
    """

    fewer: None = None  # a template has no exemplars that could be dropped

    def __init__(
        self,
        name: str,
        jinja: str,
        answer_choices: str | None = None,
        metadata: TemplateMetadata = TemplateMetadata(),
        reference: str = "",
        where: str = "",
        chat: Literal["every", "last"] | None = None,
        plain: bool = False,
    ) -> None:
        self.name, self.jinja, self.answer_choices, self.chat = name, jinja, answer_choices, chat
        self.metadata, self.reference, self.where = metadata, reference, where
        self.plain = plain
        self.tree = self._parse(jinja, "jinja")
        self._choices_tree = self._parse(answer_choices or "", _CHOICES)
        if SEPARATOR not in jinja:
            raise InputError(f"{self.label}: put {SEPARATOR} between prompt and completion.")

    # Everything below is computed on first use, as few of a library's templates are ever used.

    @functools.cached_property
    def columns(self) -> frozenset[str]:
        """The row columns that prompt, completion or answer choices read."""
        read = _columns(self.tree) | self.choice_columns | self.chat_columns
        return read - {_CHOICES}

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of the Jinja and the answer choices; the name does not matter."""
        text = json.dumps([self.jinja, self.answer_choices], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def chat_columns(self) -> frozenset[str]:
        """The extra columns that rows made from chats may have."""
        return _CHAT if self.chat else frozenset()

    @functools.cached_property
    def choice_columns(self) -> frozenset[str]:
        """The row columns that the answer choices read."""
        return _columns(self._choices_tree)

    @functools.cached_property
    def source_columns(self) -> tuple[str, ...]:
        """The columns that the prompt reads and the completion does not, in reading order.

        For plain text it is the text itself, which identifies a row.
        """
        if self.plain:
            return (TEXT,)
        found = _source_columns(self.tree, self.columns, self.choice_columns)
        return ("history", *found) if self.chat else found

    @functools.cached_property
    def required(self) -> frozenset[str]:
        """The columns that no `if` tests, so every row must have them."""
        tested = _tested(self.tree) | _tested(self._choices_tree)
        return self.columns - tested - self.chat_columns

    def render(self, row: Mapping[str, Any], key: str = "") -> Rendered | None:
        """Render a row; None where the template does not apply to it (its prompt is empty).

        `key` seeds `choice`. An empty completion is kept, for rows without a label. Raises
        InputError naming the template for a column the row lacks, for an attribute the sandbox
        refuses, and past 1.5 seconds or a million characters.
        """
        if self.plain:
            return _plain(row)
        if _CHOICES in row:
            raise InputError(f"{self.label}: a column may not be called {_CHOICES!r}; rename it.")
        seed = f"{key}\x1f{self.name}"
        choices = self._choices(row, seed)
        values = self._values(row)
        if choices is not None:
            values[_CHOICES] = _fresh(list(choices))
        parts = self._run(self._program, values, row, seed).split(_WRITTEN)
        if len(parts) > 2:
            raise InputError(f"{self.label}: it rendered {SEPARATOR} {len(parts) - 1} times.")
        prompt, completion = [_unshield(part).strip() for part in [*parts, ""][:2]]
        speaker = (row.get("speaker") or "user") if self.chat else "user"
        if not prompt and speaker != "tool":  # a tool may return nothing
            return None
        if not self.chat:
            return Rendered(prompt, completion, choices)
        return Rendered(
            prompt,
            completion,
            choices,
            tuple(row.get("history") or ()),
            self.chat == "every",
            speaker,
            row.get("tools") or "",
            json.loads(row.get("asked_with") or "{}"),
            json.loads(row.get("answered_with") or "{}"),
        )

    def called(self, name: str) -> Template:
        """The same template under another name."""
        rest = (self.answer_choices, self.metadata, self.reference, self.where, self.chat)
        return Template(name, self.jinja, *rest, self.plain)

    @property
    def label(self) -> str:
        """The template's name and location, for messages."""
        return f"{self.where}: template {self.name!r}" if self.where else f"template {self.name!r}"

    @functools.cached_property
    def _program(self) -> jinja2.Template:
        return self._compile(self.jinja, "jinja")

    @functools.cached_property
    def _choices_program(self) -> jinja2.Template:
        return self._compile(self.answer_choices or "", _CHOICES)

    def _parse(self, text: str, part: str) -> nodes.Template:
        try:
            tree = _WITHOUT_GLOBALS.parse(text)
            _check_names(tree)
        except jinja2.TemplateSyntaxError as error:
            raise self._malformed(part, error) from None
        return tree

    def _compile(self, text: str, part: str) -> jinja2.Template:
        try:
            return _program(text)
        except jinja2.TemplateSyntaxError as error:
            raise self._malformed(part, error) from None

    def _malformed(self, part: str, error: jinja2.TemplateSyntaxError) -> InputError:
        where = f"malformed {part}, line {error.lineno} of it"
        reason = (error.message or "").rstrip(".")
        text = self.jinja if part == "jinja" else self.answer_choices or ""
        return InputError(f"{self.label}: {where}: {reason}{_hint_of_name(text)}.")

    def _choices(self, row: Mapping[str, Any], seed: str) -> tuple[str, ...] | None:
        if self.answer_choices is None:
            return None
        if "{" not in self.answer_choices:  # fixed choices, the usual case
            return tuple(choice.strip() for choice in self.answer_choices.split(SEPARATOR))
        text = self._run(self._choices_program, self._values(row), row, seed)
        return tuple(_unshield(choice).strip() for choice in text.split(_WRITTEN))

    def _values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The columns the template reads, as a copy that it may modify."""
        spelled = spellings(row)
        return {c: _fresh(row[spelled[c]]) for c in sorted(self.columns) if c in spelled}

    def _run(
        self, program: jinja2.Template, values: dict[str, Any], row: Mapping[str, Any], seed: str
    ) -> str:
        try:
            return render(program, values, seed)
        except FAILURES as error:
            reason = " ".join(str(error).split()).rstrip(".")
            if _NO_NUMBER.search(reason):
                reason += "; a list is asked for a whole number, as in answer_choices[label | int]"
            present = f"; columns present: {', '.join(row)}"
            shown = present if isinstance(error, jinja2.UndefinedError) else ""
            raise InputError(f"{self.label}: {reason or type(error).__name__}{shown}.") from None


def _plain(row: Mapping[str, Any]) -> Rendered | None:
    """A row's text, unchanged; None if it is blank."""
    text = row[TEXT]
    if text is not None and not isinstance(text, str):
        raise InputError(f"the column {TEXT!r} holds {type(text).__name__} where a text is needed.")
    if text is None or not text.strip():
        return None
    return Rendered("", text, None, plain=True, ends=not row.get(GOES_ON))


def _hint_of_name(text: str) -> str:
    """How to print a column whose name is no name in Jinja; "" if none is printed."""
    printed = (name for name in _PRINTED.findall(text) if _SPACED.search(name))
    odd = next((name for name in printed if not _OPERATORS & {*name.split()}), None)
    if odd is None:
        return ""
    own = json.dumps(odd, ensure_ascii=False)
    return f"; for the column {odd!r}, write {{{{text}}}} and data.columns: {{text: {own}}}"


def _check_names(tree: nodes.Template) -> None:
    """Reject unknown filters and tests when parsing; Jinja does so only when compiling."""
    for node in tree.find_all((nodes.Filter, nodes.Test)):
        kind = "filter" if isinstance(node, nodes.Filter) else "test"
        known = _ENVIRONMENT.filters if kind == "filter" else _ENVIRONMENT.tests
        if node.name not in known:
            raise jinja2.TemplateAssertionError(f"No {kind} named {node.name!r}.", node.lineno)


@functools.lru_cache(maxsize=256)
def _program(text: str) -> jinja2.Template:
    return _ENVIRONMENT.program(text.replace(SEPARATOR, _WRITTEN))


def _columns(tree: nodes.Template) -> frozenset[str]:
    if tree.find(nodes.Name) is None:
        return frozenset()
    called = [c.node.name for c in tree.find_all(nodes.Call) if isinstance(c.node, nodes.Name)]
    loaded = [n.name for n in tree.find_all(nodes.Name) if n.ctx == "load"]
    functions = {g for g in _ENVIRONMENT.globals if called.count(g) == loaded.count(g)}
    return frozenset(meta.find_undeclared_variables(tree) - functions)


def _tested(tree: nodes.Template) -> frozenset[str]:
    """Names that a condition tests: the template handles the case that they are empty."""
    tests = [branch.test for branch in tree.find_all(nodes.If)]
    tests += [branch.test for branch in tree.find_all(nodes.CondExpr)]
    names = [n for test in tests for n in (test, *test.find_all(nodes.Name))]
    return frozenset(n.name for n in names if isinstance(n, nodes.Name))


def _source_columns(
    tree: nodes.Template, columns: frozenset[str], choice_columns: frozenset[str]
) -> tuple[str, ...]:
    before: dict[str, None] = {}
    after: dict[str, None] = {}

    def visit(node: nodes.Node, passed: bool) -> bool:
        """Collect the names under a node; return whether the separator comes before its end."""
        if isinstance(node, nodes.TemplateData):
            return passed or SEPARATOR in node.data
        if isinstance(node, nodes.Name):
            names = sorted(choice_columns) if node.name == _CHOICES else [node.name]
            (after if passed else before).update(dict.fromkeys(names))
        if isinstance(node, nodes.If):
            visit(node.test, passed)
            return max([_visit_all(branch, passed) for branch in _branches(node)])
        return _visit_all(node.iter_child_nodes(), passed)

    def _visit_all(children: Iterable[nodes.Node], passed: bool) -> bool:
        for child in children:
            passed = visit(child, passed)
        return passed

    visit(tree, False)
    return tuple(name for name in before if name in columns and name not in after)


def _branches(node: nodes.If) -> list[list[nodes.Node]]:
    elifs: list[list[nodes.Node]] = [[branch] for branch in node.elif_]
    return [node.body, *elifs, node.else_]


def _fresh(value: Any) -> Any:
    """A deep copy of a row's value, with separators in its strings shielded."""
    if isinstance(value, str):
        return value.replace(SEPARATOR, _SHIELD)
    if isinstance(value, list):
        return [_fresh(item) for item in value]
    if isinstance(value, dict):
        return {_fresh(key): _fresh(item) for key, item in value.items()}
    return value


def _unshield(text: str) -> str:
    return text.replace(_SHIELD, SEPARATOR)
