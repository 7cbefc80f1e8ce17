"""`brulee chat`: a conversation in the terminal or through a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.loading import loading_pytorch
from brulee.cli.output import print_lines
from brulee.cli.pairs import named
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.inference.session import Session

Message = dict[str, str]
_HELP = "/system TEXT sets the instructions, /reset starts over, /exit (or Ctrl-D) leaves."
_HELP_MANY = f"/adapter NAME switches to one of {{}}, /adapter to the base; {_HELP}"

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def chat(
    target: options.Target,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TARGET",
            help="Load this adapter over the base TARGET (repeatable). /adapter NAME switches to "
            "it, /adapter alone to the base.",
        ),
    ] = None,
    max_new_tokens: options.MaxNewTokens = 512,
    temperature: options.Temperature = 0.0,
    top_p: options.TopP = 1.0,
    top_k: options.TopK = 0,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    seed: options.Seed = 0,
    base: options.AdapterBase = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Talk with a model; its answers appear as they are written.

    /system TEXT sets the instructions, /reset starts over, /exit or Ctrl-D leaves, Ctrl-C stops an
    answer. With --json every answer is one line of JSON.
    """
    targets = named(adapter, base)
    progress.enable(not quiet)
    with loading_pytorch():
        from brulee.inference.session import open_session
    how = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    if targets:
        from brulee.inference.adapters import open_adapters

        held = open_adapters(targets, base=target, device=device, precision=precision)
        _Talk(held.session, how, as_json, _HELP_MANY.format(", ".join(targets))).go_on()
        return
    session = open_session(target, device=device, precision=precision, base=base)
    _Talk(lambda _: session, how, as_json, _HELP, several=False).go_on()


class _Talk:
    """A conversation: its turns, and the model or adapter that answers next."""

    def __init__(
        self,
        session_of: Callable[[str | None], Session],
        how: dict[str, Any],
        as_json: bool,
        usage: str,
        several: bool = True,
    ) -> None:
        """`session_of` maps an adapter's name to its session, and None to the base's."""
        self._session_of, self._how, self._as_json = session_of, how, as_json
        self._help, self._several = usage, several
        self._interactive = _is_terminal()
        self._asked: str | None = None
        self._session = session_of(None)
        self._system: list[Message] = []
        self._turns: list[Message] = []

    def go_on(self) -> None:
        """Read and answer lines until the input ends."""
        if self._interactive:
            # Importing readline gives input() line editing and a history, where available.
            with suppress(ImportError):
                import_module("readline")
            _say(self._help)
        while (line := _ask(self._prompt)) is not None:
            word, _, rest = line.partition(" ")
            if word == "/exit":
                return
            try:
                self._hear(line, word, rest.strip())
            except InputError as error:
                if not self._interactive:
                    raise
                _say(f"error: {error} {self._help}")

    @property
    def _prompt(self) -> str:
        return f"{self._asked or ''}> " if self._interactive else ""

    def _hear(self, line: str, word: str, rest: str) -> None:
        if word == "/reset":
            self._turns = []
        elif word == "/system":
            self._system = [{"role": "system", "content": rest}] if rest else []
            self._turns = []
        elif word == "/adapter" and self._several:
            self._session, self._asked = self._session_of(rest or None), rest or None
        elif word.startswith("/"):
            _say(f"unknown command {word}; {self._help}")
        elif line.strip():
            self._answer(line)

    def _answer(self, line: str) -> None:
        """Answer a line; on an error, the conversation stays as it was."""
        turns = [*self._turns, {"role": "user", "content": line}]
        who = {"adapter": self._asked} if self._several else {}
        aloud = _Aloud(self._interactive and not self._as_json)
        pieces = self._session.chat_stream([*self._system, *turns], **self._how, think=aloud.think)
        answer = _shown(aloud.parted(pieces), self._as_json, who)
        self._turns = [*turns, {"role": "assistant", "content": answer}]


class _Aloud:
    """Prints a model's reasoning before its answer, dimmed."""

    def __init__(self, on: bool) -> None:
        self._on, self._begun = on, False
        self._dim, self._plain = ("", "") if os.environ.get("NO_COLOR") else (_DIM, _PLAIN)

    def think(self, piece: str) -> None:
        """Print the next piece of the reasoning."""
        if self._on and piece:
            self._begun = True
            print(f"{self._dim}{piece}{self._plain}", end="", flush=True)

    def parted(self, pieces: Iterator[str]) -> Iterator[str]:
        """Yield the answer's pieces, after a blank line if reasoning was printed."""
        for piece in pieces:
            if self._begun:
                print("\n")
                self._begun = False
            yield piece


def _is_terminal() -> bool:
    """Whether stdin and stdout are both a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _ask(prompt: str) -> str | None:
    """The next line; None at the end of the input. On a terminal, Ctrl-C discards the line."""
    while True:
        try:
            return input(prompt)
        except EOFError:
            if prompt:
                print()
            return None
        except KeyboardInterrupt:
            if not prompt:
                raise
            print()
        except UnicodeDecodeError:
            raise InputError("the text on stdin is not UTF-8.") from None


def _shown(stream: Iterator[str], as_json: bool, who: dict[str, str | None]) -> str:
    """Print an answer as it is generated, or as JSON with the keys of `who`; return its text."""
    pieces: list[str] = []
    try:
        for piece in stream:
            pieces.append(piece)
            if not as_json:
                print(piece, end="", flush=True)
    except KeyboardInterrupt:
        # The user has read the partial answer, so it stays in the conversation.
        _say(" (stopped)")
    answer = "".join(pieces)
    if as_json:
        print_lines([{"role": "assistant", "content": answer, **who}])
    else:
        print()
    # A program at the other end of a pipe waits for the answer before it writes the next line.
    sys.stdout.flush()
    return answer


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
