"""The usual formats of instruction data: how to recognise each, and its template."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from brulee.data import natural, trees
from brulee.data.conversations import (
    COLUMNS,
    HISTORY,
    IN_ORDER,
    LEAVE_OUT,
    SYSTEM,
    Malformed,
    OnMalformed,
    Turns,
    alpaca_rows,
    chat_rows,
    check_chat,
    check_history,
    has_messages,
    has_tools,
    has_turns_in_order,
    is_history,
    well_formed,
)
from brulee.data.known_columns import ABOUT_TEXT, CONTEXT, PAIRS, SECOND_PAIRS, TARGETS
from brulee.data.messages import CALLS, WEIGHT
from brulee.data.multiple_choice import one_each
from brulee.data.packing import TOOLS
from brulee.data.sources import Rows
from brulee.data.template import PLAIN, SEPARATOR
from brulee.data.turn_names import KEYS
from brulee.data.written_chats import are_written_out, style_of, turns_of
from brulee.errors import InputError

OPENAI, SHAREGPT, GEMINI = KEYS

_ALPACA_INPUT, _ALPACA_OUTPUT = ("input", "context"), ("output", "response")
# Outputs of an instruction that is all of the prompt.
_ALPACA_ANSWER = ("answer", "completion")
# What may be asked about as well where a pair or an output has a less usual name.
_ASKED = frozenset(
    ("prompt", "problem", "premise", "hypothesis", "sentence", "sentence1", "sentence2")
)
_PREFERENCES = (("chosen", "rejected"), ("chosen_response", "rejected_response"))
_CALLS = re.compile(r'\s*\[\s*(\{\s*"(name|arguments)"|\])')  # a list of calls, or none
_NUMBER_OR_TEXT = (str, int, float)


@dataclass(frozen=True)
class Found:
    """A format that fits, with the reason, and its Jinja, or None if it cannot be trained on.

    `convert` makes the rows that the Jinja reads, if they are not the source's; its second argument
    bounds the number of rows made from one. `chat`: these rows have turns before the prompt.
    `plain`: they are texts without a prompt. `malformed`: chats that were left out.
    """

    why: str
    jinja: str | None = None
    convert: Callable[[Rows, int | None], Rows] | None = None
    chat: bool = False
    plain: bool = False
    malformed: tuple[Malformed, ...] = ()


@dataclass(frozen=True)
class Look:
    """What detection looks at: the source, and its first rows as a sample.

    `turns` says which answers of a chat are learned, `malformed_chats` whether a malformed chat is
    an error or left out.
    """

    rows: Rows
    sample: tuple[dict[str, Any], ...]
    turns: Turns = "every"
    malformed_chats: OnMalformed = "refuse"

    def has(self, *columns: str) -> bool:
        """Whether all these columns exist."""
        return all(column in self.rows.columns for column in columns)

    def own(self, *names: str) -> str | None:
        """The column that is called by the first of several names, exactly or in another case."""
        lower = {column.lower(): column for column in reversed(self.rows.columns)}
        found = (name if self.has(name) else lower.get(name) for name in names)
        return next((column for column in found if column is not None), None)

    def first(self, columns: Sequence[str]) -> str | None:
        """The first of several names that is a column, else None."""
        return next((column for column in columns if self.has(column)), None)

    def values(self, column: str) -> list[Any]:
        """The non-null values of a column in the sample; empty if there is no such column."""
        return [row[column] for row in self.sample if row.get(column) is not None]

    def holds(self, column: str | None, *types: type) -> bool:
        """Whether a column has values, all of these types."""
        values = self.values(column) if column else []
        return bool(values) and all(type(value) in types for value in values)


def preference(look: Look) -> Found | None:
    """Preference data, pairs of a better and a worse answer: recognised to be rejected."""
    for chosen, rejected in _PREFERENCES:
        better, worse = look.own(chosen), look.own(rejected)
        if better and worse:
            return Found(
                f"the columns {better!r} and {worse!r} are preference data, for methods that "
                "learn from comparisons; instruction tuning learns from right answers only. To "
                f"train on {better!r} alone, write {_only(look, better)}."
            )
    names = [look.own(name) for name in ("prompt", "completion", "label")]
    if all(names) and look.holds(names[2], bool):
        return Found(
            "a true-or-false 'label' beside 'prompt' and 'completion' is preference data, and the "
            "rejected completions would be learned as well; keep the rows whose label is true, and "
            "remove that column."
        )
    return None


def _only(look: Look, chosen: str) -> str:
    """What a recipe says to train on the better answers."""
    values = look.values(chosen)
    chats = any(has_messages(values, pair) for pair in (OPENAI, SHAREGPT))
    if chats and any(len(value) > 1 for value in values):  # a lone turn is the answer to `prompt`
        return f"data.columns: {{messages: {chosen}}}"
    if look.has("prompt"):
        return f"data.columns: {{completion: {chosen}}}"
    return "data.templates with a prompt and a completion that name the columns"


def openai_chat(look: Look) -> Found | None:
    """Chats as lists of turns with role and content."""
    return _chat(look, OPENAI)


def sharegpt(look: Look) -> Found | None:
    """Chats as lists of turns with from and value."""
    return _chat(look, SHAREGPT)


def gemini(look: Look) -> Found | None:
    """Chats as lists of turns with role and parts."""
    return _chat(look, GEMINI)


def turns_in_order(look: Look) -> Found | None:
    """Chats as lists of texts, question and answer in turn, or of pairs of input and output.

    Beside an answer, a summary or a label such a list is what these are about.
    """
    if TARGETS & {column.lower() for column in look.rows.columns}:
        return None
    present = [column for column in IN_ORDER if has_turns_in_order(look.values(column))]
    return _exchange(look, present[0]) if present else None


def message_tree(look: Look) -> Found | None:
    """Messages with the ids of those that they answer."""
    if not (look.has(*trees.COLUMNS) and look.holds(trees.TEXT, str)):
        return None
    if not any(role in trees.ROLES for role in look.values(trees.ROLE)):
        return None
    made = trees.chats_of(look.rows)
    columns = f"{_columns(*trees.COLUMNS)}, the best-ranked reply to each message"
    return _exchange(replace(look, rows=made), columns)


def xlam(look: Look) -> Found | None:
    """A query, tools, and the calls that answer it as JSON text."""
    answers = look.values("answers")
    if not (look.holds("query", str) and look.holds("answers", str) and has_tools(look.rows)):
        return None
    if not all(_CALLS.match(text) for text in answers):
        return None
    columns = zip(look.rows.column("query"), look.rows.column("answers"), strict=True)
    chats = [
        [{"role": "user", "content": query}, {"role": "assistant", CALLS: calls}]
        for query, calls in columns
    ]
    made = look.rows.replaced({"messages": chats}, ["query", "answers"])
    return _exchange(replace(look, rows=made), _columns("query", "answers"))


def prompt_completion(look: Look) -> Found | None:
    """Prompt and completion, as texts or as lists of messages."""
    columns = look.own("prompt"), look.own("completion")
    if look.holds(columns[0], str) and look.holds(columns[1], *_NUMBER_OR_TEXT):
        return _phrased(look, columns, f"{{{{ {columns[0]} }}}}", columns[1])
    if all(has_messages(look.values(column), OPENAI) for column in ("prompt", "completion")):
        return _exchange(look, "prompt, completion")
    return None


def alpaca(look: Look) -> Found | None:
    """An instruction with optional input, system text and history."""
    instruction, given = look.own("instruction"), look.own(*_ALPACA_INPUT)
    answer = look.own(*_ALPACA_ANSWER) if _is_whole(look, {"instruction", given}) else None
    output = look.own(*_ALPACA_OUTPUT) or answer
    if not (look.holds(instruction, str) and look.holds(output, *_NUMBER_OR_TEXT)):
        return None
    prompt = f"{{{{ {instruction} }}}}"
    if given:
        number = look.holds(given, int, float)  # 0 is a value, not a missing one
        asked = f"{given} is not none" if number else given
        prompt += f"{{% if {asked} %}}\n\n{{{{ {given} }}}}{{% endif %}}"
    columns = (instruction, given, output)
    if not look.has(HISTORY):
        return _phrased(look, columns, prompt, output)
    if not all(map(is_history, look.values(HISTORY))):
        return Found("the column 'history' has to hold lists of [question, answer] per row.")
    return _after_turns(look, (HISTORY, *columns), prompt, output)


def natural_instructions(look: Look) -> Found | None:
    """A task's definition with its instances, in a list or one per row."""
    if look.has(natural.DEFINITION, natural.INSTANCES) and look.holds(natural.INSTANCES, list):
        why = _columns(natural.DEFINITION, natural.INSTANCES)
        return Found(why, natural.JINJA, natural.expand)
    for given, target in (("inputs", "targets"), ("input", "output")):
        if look.holds("definition", str) and look.holds(given, str) and look.holds(target, str):
            prompt = f"{{{{ definition }}}}\n\n{{{{ {given} }}}}"
            return _phrased(look, ("definition", given, target), prompt, target)
    return None


def p3(look: Look) -> Found | None:
    """P3, which promptsource rendered: texts along with T5's token ids."""
    source, target = "inputs_pretokenized", "targets_pretokenized"
    if look.holds(source, str) and look.holds(target, str):
        if look.has("is_correct"):
            return Found(
                "the column 'is_correct' marks P3's ranking form, which holds the wrong answers as "
                "well; use the subset of that name without score_eval."
            )
        jinja = f"{{{{ {source} }}}} {SEPARATOR} {{{{ {target} }}}}"
        # Templates reject rows with a column of this name.
        return Found(
            _columns(source, target), jinja, lambda rows, _: rows.replaced({}, ["answer_choices"])
        )
    if look.holds("inputs", list) and look.holds("targets", list):
        return Found(
            "the columns 'inputs' and 'targets' hold token ids of another tokenizer; their texts "
            f"are needed, which P3 calls {source} and {target}."
        )
    return None


def pair(look: Look) -> Found | None:
    """A source text and a target text under usual names, in any case."""
    names = {column.lower() for column in look.rows.columns}
    pairs = [
        pair
        for pair in PAIRS
        if look.holds(look.own(pair[0]), str)
        and look.holds(look.own(pair[1]), *_NUMBER_OR_TEXT)
        and not CONTEXT & (names - set(pair))
        and not (pair in SECOND_PAIRS and _ASKED & (names - set(pair)))
    ]
    pairs = [pair for pair in pairs if pair not in SECOND_PAIRS] or pairs
    if len(pairs) != 1 or _has_options(look):
        return None
    source, target = (look.own(name) for name in pairs[0])
    return _phrased(look, (source, target), f"{PAIRS[pairs[0]]}{{{{ {source} }}}}", target)


def _has_options(look: Look) -> bool:
    """Whether columns hold an option each, as texts: `a` and `b` may also be numbers."""
    return bool(one_each([c for c in look.rows.columns if look.holds(c, str)]))


def _is_whole(look: Look, read: Set[str | None]) -> bool:
    """Whether no columns but those read are context or options."""
    beside = {column.lower() for column in look.rows.columns if column not in read}
    return not ((CONTEXT | _ASKED) - {"instruction"}) & beside and not _has_options(look)


def written_chat(look: Look) -> Found | None:
    """Chats written out as text, in one of the usual ways."""
    if not _is_text_alone(look) or not are_written_out(look.values("text")):
        return None
    style = style_of(look.values("text"))
    if style is None:
        return None
    told = [text or "" for text in look.rows.column("text")]
    chats = [turns_of(text, style) or [{"role": "user", "content": text}] for text in told]
    made = look.rows.replaced({"messages": chats}, ["text"])
    return _exchange(replace(look, rows=made), f"column text, written out with {style}")


def plain_text(look: Look) -> Found | None:
    """Text without a prompt, all of which is learned."""
    if not _is_text_alone(look):
        return None
    if are_written_out(look.values("text")):
        return Found(
            "the column 'text' holds chats written out as text, whose prompts would be learned as "
            "well, and in other signs than the model's own. Give them as messages, or say so: "
            "data.templates: plain-text learns all of it as it stands."
        )
    return Found("column text: plain text, of which everything is learned", PLAIN, plain=True)


def _is_text_alone(look: Look) -> bool:
    return look.holds("text", str) and not set(look.rows.columns) - {"text"} - ABOUT_TEXT


def _chat(look: Look, keys: tuple[str, str]) -> Found | None:
    present = [column for column in COLUMNS if has_messages(look.values(column), keys)]
    return _exchange(look, present[0]) if present else None


def _exchange(look: Look, columns: str) -> Found:
    jinja = f"{{{{ prompt }}}} {SEPARATOR} {{{{ completion }}}}"
    return _converted(look, check_chat, chat_rows, columns, jinja)


def _converted(
    look: Look,
    check: Callable[[Mapping[str, Any], str], None],
    convert: Callable[[Rows], Rows],
    columns: str,
    jinja: str,
) -> Found:
    """Chats as `convert` makes them from the rows, or from those that `check` passes."""
    if look.malformed_chats == "skip":
        rows, malformed = well_formed(look.rows, check)
        return replace(_chats(look, convert(rows), columns, jinja), malformed=tuple(malformed))
    try:
        return _chats(look, convert(look.rows), columns, jinja)
    except InputError as error:
        raise InputError(f"{error} {LEAVE_OUT}") from None


def _chats(look: Look, made: Rows, columns: str, jinja: str) -> Found:
    if HISTORY not in made.columns:
        return Found(f"{columns}: one question and its answer per row", jinja, lambda *_: made)
    most = 1 + max(sum(m["role"] == "assistant" for m in h) for h in made.column(HISTORY))
    which = {"every": "every one is learned", "last": "the last is learned"}[look.turns]
    if look.turns == "every" and any(m.get(WEIGHT) for h in made.column(HISTORY) for m in h):
        which = "every one is learned that is not masked"
    why = f"{columns}: chats of up to {most} answers, of which {which}"
    if most == 1:
        after = ", after a system message" if any(made.column(HISTORY)) else ""
        why = f"{columns}: one question and its answer per row{after}"
    tools = any(made.column(TOOLS)) if TOOLS in made.columns else False
    why += "; with tools" if tools else ""
    return Found(why, jinja, lambda *_: made, chat=True)


def _phrased(look: Look, columns: Sequence[str | None], prompt: str, target: str | None) -> Found:
    """A question and its answer in columns, with a system message or tools from other columns."""
    if look.first(SYSTEM) or has_tools(look.rows):
        return _after_turns(look, columns, prompt, target)
    return Found(_columns(*columns), f"{prompt} {SEPARATOR} {{{{ {target} }}}}")


def _after_turns(
    look: Look, columns: Sequence[str | None], prompt: str, target: str | None
) -> Found:
    tools = TOOLS if has_tools(look.rows) else None
    why = _columns(look.first(SYSTEM), *columns, tools)
    jinja = f"{prompt} {SEPARATOR} {{{{ {target} }}}}"
    check = partial(check_history, tools=tools is not None)
    return _converted(look, check, alpaca_rows, why, jinja)


def _columns(*names: str | None) -> str:
    return f"columns {', '.join(name for name in names if name)}"
