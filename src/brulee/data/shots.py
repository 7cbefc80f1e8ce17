"""Few-shot prompts: solved rows of the train split before the query row."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from brulee.data.permutation import Permutation
from brulee.data.shot_styles import STYLES, Shown, Style, first_clear
from brulee.data.template import Rendered, Template
from brulee.data.template_text import pieces, prompt_pieces
from brulee.errors import InputError, unknown

# Rows tried per exemplar; most are unusable only if a template rarely applies.
_TRIES = 16
_STYLES = tuple(STYLES.values())
_SHUFFLE = Permutation(len(_STYLES))
# A template's text before its first field, up to the last paragraph that ends with a sentence.
_INSTRUCTION = re.compile(r"\A.*[.!?](?=\n\n)", re.DOTALL)


@dataclass(frozen=True)
class Exemplar:
    """A solved row: its index and its rendered prompt and completion."""

    row: int
    prompt: str
    completion: str


@dataclass(frozen=True)
class Exemplars:
    """The pool of a task's rows to draw exemplars from, and their groups.

    `rows` are the indices of the train split, never copied or iterated over; `values` returns a
    row; `groups` has the group number of every row of the task, in any split; `place` returns a
    row's location, for messages.
    """

    task: str
    rows: Sequence[int]
    values: Callable[[int], Mapping[str, Any]]
    groups: Sequence[int]
    place: Callable[[int], str] = "row {}".format

    def draw(self, template: Template, query: int, count: int, key: str) -> tuple[Exemplar, ...]:
        """Draw up to `count` exemplars for a row, all from different groups than it and each other.

        The choice is a pure function of `key` and `query`, and a larger `count` only adds to it.
        Rows are skipped if the template does not apply to them, or if they have no completion, or
        turns before their prompt (other than a system message); at most 16 rows are tried per
        exemplar, so there may be fewer. A query with turns before its prompt or with tools gets
        none. Raises InputError if all rows of the pool are in the query's group.
        """
        if template.chat and _is_chat(self.values(query)):
            return ()
        found: list[Exemplar] = []
        seen = {self.groups[query]}
        for row in self._order(query, count, key):
            if len(found) == count:
                break
            if self.groups[row] in seen:
                continue
            seen.add(self.groups[row])
            rendered = self._render(template, row, key)
            if rendered is not None and rendered.completion and _is_exchange(rendered):
                found.append(Exemplar(row, rendered.prompt, rendered.completion))
        if count and len(seen) == 1 and len(self.rows) <= _TRIES * count:
            raise InputError(
                f"task {self.task}: no example can be shown before {self.place(query)}: none of "
                f"the {len(self.rows)} train rows is of another group of split.group; shots need "
                "two groups to train on."
            )
        return tuple(found)

    def _order(self, query: int, count: int, key: str) -> Iterator[int]:
        secret = _secret(key, query, "rows")
        for position in range(min(len(self.rows), _TRIES * count)):
            yield self.rows[self._shuffle.at(position, secret)]

    @functools.cached_property
    def _shuffle(self) -> Permutation:
        return Permutation(len(self.rows))

    def _render(self, template: Template, row: int, key: str) -> Rendered | None:
        """Render a row with its own key, as one key would shuffle the options of all alike."""
        try:
            return template.render(self.values(row), f"{key}\x1f{row}")
        except InputError as error:
            shown = f"task {self.task}, {self.place(row)}, shown as an example"
            raise InputError(f"{shown}: {error}") from None


@dataclass(frozen=True)
class FewShot:
    """A template that renders a row after solved rows (exemplars).

    They are laid out in the given `style`, or in the first of the styles, shuffled by `secret`,
    whose markers do not occur in the texts. Without exemplars it renders like the template.
    """

    template: Template
    exemplars: tuple[Exemplar, ...]
    secret: int
    style: str | None = None

    @classmethod
    def draw(
        cls,
        template: Template,
        pool: Exemplars,
        query: int,
        count: int,
        key: str,
        style: str | None = None,
    ) -> FewShot:
        """Draw up to `count` exemplars; `style` is a name in shot_styles.STYLES, None to draw one.

        Raises InputError if no row of the pool can be shown, and for an unknown style.
        """
        if style is not None and style not in STYLES:
            raise unknown("style", style, list(STYLES), "shots")
        exemplars = pool.draw(template, query, count, key)
        return cls(template, exemplars, _secret(key, query, "style"), style)

    @property
    def shots(self) -> int:
        """The number of exemplars."""
        return len(self.exemplars)

    @property
    def fewer(self) -> FewShot | None:
        """The same without the exemplar drawn last; None if it has no exemplars."""
        return replace(self, exemplars=self.exemplars[:-1]) if self.exemplars else None

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns of the query row that may be cut."""
        return self.template.source_columns

    def render(self, row: Mapping[str, Any], key: str = "") -> Rendered | None:
        """The exemplars, the template's prompt and its completion; None like `Template.render`.

        An instruction at the start of the template is given once, before the exemplars.
        """
        rendered = self.template.render(row, key)
        if rendered is None or not self.exemplars:
            return rendered
        instruction, *prompts = self._taken_apart(
            [*(exemplar.prompt for exemplar in self.exemplars), rendered.prompt]
        )
        completions = [exemplar.completion for exemplar in self.exemplars]
        examples = list(zip(prompts[:-1], completions, strict=True))
        unfinished = _is_unfinished(self.template.jinja)
        shown = Shown(examples, prompts[-1], instruction, unfinished)
        return replace(rendered, prompt=first_clear(self.styles(), shown).lay_out(shown))

    def styles(self) -> Iterator[Style]:
        """The layouts for the exemplars, the preferred one first."""
        if self.style is not None:
            yield STYLES[self.style]
            return
        for position in range(len(_STYLES)):
            yield _STYLES[_SHUFFLE.at(position, self.secret)]

    def _taken_apart(self, prompts: list[str]) -> list[str]:
        """The instruction that all prompts start with, or "", then every prompt without it."""
        instruction = _instruction(self.template.jinja)
        rests = [prompt.removeprefix(instruction).strip() for prompt in prompts]
        if all(p.startswith(instruction) and rest for p, rest in zip(prompts, rests, strict=True)):
            return [instruction, *rests]
        return ["", *prompts]


def _is_chat(row: Mapping[str, Any]) -> bool:
    tools = row.get("tools") or row.get("asked_with") or row.get("answered_with")
    return bool(tools) or _has_turns(row.get("history") or ())


def _is_exchange(rendered: Rendered) -> bool:
    """Whether it is a prompt and its completion only, without earlier turns or tools."""
    tools = rendered.tools or rendered.asked_with or rendered.answered_with
    return not tools and not _has_turns(rendered.history)


def _has_turns(history: Sequence[Mapping[str, str]]) -> bool:
    return any(message["role"] != "system" for message in history)


@functools.lru_cache(maxsize=256)
def _instruction(jinja: str) -> str:
    first, *others = prompt_pieces(pieces(jinja))
    if first.kind != "text" or not others:
        return ""
    found = _INSTRUCTION.match(first.text.lstrip())
    return found.group() if found else ""


@functools.lru_cache(maxsize=256)
def _is_unfinished(jinja: str) -> bool:
    """Whether the template's prompt ends in the middle of a sentence."""
    last = [piece for piece in prompt_pieces(pieces(jinja)) if piece.text.strip()][-1]
    sign = last.text.rstrip()[-1]
    return last.kind == "text" and (sign.isalnum() or sign == ",")


def _secret(key: str, query: int, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{purpose}\x1f{query}\x1f{key}".encode()).digest()[:8])
