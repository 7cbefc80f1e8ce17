"""Few-shot prompts: solved rows of the train split before the row that is asked about."""

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

# Rows looked at for every exemplar wanted; most are of no use only where a template rarely applies.
_TRIES = 16
_STYLES = tuple(STYLES.values())
_SHUFFLE = Permutation(len(_STYLES))
# What a template says before its first field, up to the last paragraph that ends a sentence.
_INSTRUCTION = re.compile(r"\A.*[.!?](?=\n\n)", re.DOTALL)


@dataclass(frozen=True)
class Exemplar:
    """A solved row: its index, and what a template made of it."""

    row: int
    prompt: str
    completion: str


@dataclass(frozen=True)
class Exemplars:
    """The rows of a task that may be shown, and their groups.

    `rows` are the indices of the train split, which are never copied or walked; `values` gives a
    row; `groups` holds the group number of every row of the task, trained on or not; `place` says
    where a row stands, for messages.
    """

    task: str
    rows: Sequence[int]
    values: Callable[[int], Mapping[str, Any]]
    groups: Sequence[int]
    place: Callable[[int], str] = "row {}".format

    def draw(self, template: Template, query: int, count: int, key: str) -> tuple[Exemplar, ...]:
        """Up to `count` exemplars for a row, all of other groups than it and than each other.

        Which ones is a pure function of `key` and `query`, and the first are the same whatever
        `count`. Rows that the template does not apply to, that have no completion or have turns
        before their prompt (other than a system message) are passed over, at most 16 for each
        exemplar wanted, so that there may be fewer; before a row with turns of its own there are
        none, nor before one with tools. Raises InputError where every row of the pool is of the
        query's group.
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
        """A row under a key of its own: one seed for all would give all the same options' order."""
        try:
            return template.render(self.values(row), f"{key}\x1f{row}")
        except InputError as error:
            shown = f"task {self.task}, {self.place(row)}, shown as an example"
            raise InputError(f"{shown}: {error}") from None


@dataclass(frozen=True)
class FewShot:
    """A template with solved rows before the one that it renders.

    They are laid out in the named `style`, or in the order of styles that `secret` draws; one is
    passed over where its marks occur in the texts. Without exemplars it renders what the template
    does.
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
        """With up to `count` exemplars, and a style of shot_styles.STYLES or one drawn by the key.

        Raises InputError where the pool has no row to show, and for an unknown style.
        """
        if style is not None and style not in STYLES:
            raise unknown("style", style, list(STYLES), "shots")
        exemplars = pool.draw(template, query, count, key)
        return cls(template, exemplars, _secret(key, query, "style"), style)

    @property
    def shots(self) -> int:
        """How many exemplars it shows."""
        return len(self.exemplars)

    @property
    def fewer(self) -> FewShot | None:
        """The same without the exemplar drawn last; None where there is none."""
        return replace(self, exemplars=self.exemplars[:-1]) if self.exemplars else None

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns that may be cut, of the row that is asked about."""
        return self.template.source_columns

    def render(self, row: Mapping[str, Any], key: str = "") -> Rendered | None:
        """The template's own completion, behind the exemplars and its prompt; None as there.

        What the template says first, if it is an instruction, is said once.
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
        """The ways to lay the exemplars out, the preferred one first."""
        if self.style is not None:
            yield STYLES[self.style]
            return
        for position in range(len(_STYLES)):
            yield _STYLES[_SHUFFLE.at(position, self.secret)]

    def _taken_apart(self, prompts: list[str]) -> list[str]:
        """The instruction that all prompts begin with, or nothing; then every prompt without it."""
        instruction = _instruction(self.template.jinja)
        rests = [prompt.removeprefix(instruction).strip() for prompt in prompts]
        if all(p.startswith(instruction) and rest for p, rest in zip(prompts, rests, strict=True)):
            return [instruction, *rests]
        return ["", *prompts]


def _is_chat(row: Mapping[str, Any]) -> bool:
    tools = row.get("tools") or row.get("asked_with") or row.get("answered_with")
    return bool(tools) or _has_turns(row.get("history") or ())


def _is_exchange(rendered: Rendered) -> bool:
    """Whether it is a prompt and its completion, with nothing before them and no tools."""
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
    """Whether the template's prompt ends in the middle of a sentence of its own."""
    last = [piece for piece in prompt_pieces(pieces(jinja)) if piece.text.strip()][-1]
    sign = last.text.rstrip()[-1]
    return last.kind == "text" and (sign.isalnum() or sign == ",")


def _secret(key: str, query: int, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{purpose}\x1f{query}\x1f{key}".encode()).digest()[:8])
