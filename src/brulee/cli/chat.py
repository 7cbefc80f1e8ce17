"""`brulee chat`: a conversation in the terminal, or with a pipe."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from brulee import progress
from brulee.cli import options
from brulee.cli.output import print_lines
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.inference.session import Session

Message = dict[str, str]
_HELP = "/system TEXT sets the instructions, /reset begins anew, /exit (or Ctrl-D) leaves."


def chat(
    target: options.Target,
    max_new_tokens: options.MaxNewTokens = 512,
    temperature: options.Temperature = 0.0,
    top_p: options.TopP = 1.0,
    seed: options.Seed = 0,
    base: options.AdapterBase = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Talk with a model; its answers appear as they are written.

    /system TEXT sets the instructions, /reset begins anew, /exit or Ctrl-D leaves, Ctrl-C stops an
    answer. With --json every answer is one JSON line.
    """
    progress.enable(not quiet)
    with progress.waiting("Loading PyTorch"):
        from brulee.inference.session import open_session

    session = open_session(target, device=device, precision=precision, base=base)
    how = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
    }
    _converse(session, how, as_json)


def _converse(session: Session, how: dict[str, Any], as_json: bool) -> None:
    interactive = _is_terminal()
    if interactive:
        # Its import gives input() line editing plus a history, where the platform has it.
        with suppress(ImportError):
            import_module("readline")
        _say(_HELP)
    system: list[Message] = []
    turns: list[Message] = []
    while (line := _ask("> " if interactive else "")) is not None:
        word, _, rest = line.partition(" ")
        if word == "/exit":
            return
        if word == "/reset":
            turns = []
        elif word == "/system":
            system = [{"role": "system", "content": rest.strip()}] if rest.strip() else []
            turns = []
        elif word.startswith("/"):
            _say(f"unknown command {word}; {_HELP}")
        elif line.strip():
            turns.append({"role": "user", "content": line})
            try:
                answer = _answer(session, [*system, *turns], how, as_json)
            except InputError as error:
                if not interactive:
                    raise
                # What was talked about so far is not lost with a line that cannot be answered.
                turns.pop()
                _say(f"error: {error} {_HELP}")
                continue
            turns.append({"role": "assistant", "content": answer})


def _is_terminal() -> bool:
    """Whether a person is there, and no pipe."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _ask(prompt: str) -> str | None:
    """The next line; None when there is no more. Ctrl-C only throws the line away."""
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


def _answer(session: Session, messages: list[Message], how: dict[str, Any], as_json: bool) -> str:
    pieces: list[str] = []
    try:
        for piece in session.chat_stream(messages, **how):
            pieces.append(piece)
            if not as_json:
                print(piece, end="", flush=True)
    except KeyboardInterrupt:
        # What was said so far stays in the conversation, as the person has read it.
        _say(" (stopped)")
    answer = "".join(pieces)
    if as_json:
        print_lines([{"role": "assistant", "content": answer}])
    else:
        print()
    # Whoever talks through a pipe waits for the answer before writing on.
    sys.stdout.flush()
    return answer


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
