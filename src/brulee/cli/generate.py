"""`brulee generate`: completions for given prompts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.output import print_json
from brulee.cli.records import read_records, texts
from brulee.errors import InputError


def generate(
    target: options.Target,
    prompt: Annotated[str | None, typer.Option(help="The prompt itself.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help='Prompts, one per line: .txt, or .jsonl of strings or {"prompt": ...}.'),
    ] = None,
    max_new_tokens: options.MaxNewTokens = 256,
    temperature: options.Temperature = 0.0,
    top_p: options.TopP = 1.0,
    seed: options.Seed = 0,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the text as it is: no chat template.")
    ] = False,
    base: options.AdapterBase = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write completions for given prompts.

    The prompt is --prompt, or each one of --file, or the whole text on stdin.
    """
    # Read before torch is imported, so that a mistyped file costs no wait.
    prompts, places = _prompts(prompt, file)
    progress.enable(not quiet)
    with progress.waiting("Loading PyTorch"):
        from brulee.inference.session import open_session

    session = open_session(target, device=device, precision=precision, base=base)
    answers = session.complete(
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        raw=raw,
        places=places,
    )
    if as_json:
        pairs = zip(prompts, answers, strict=True)
        print_json([{"prompt": p, "completion": a} for p, a in pairs])
    else:
        print("\n\n---\n\n".join(answers))


def _prompts(prompt: str | None, file: Path | None) -> tuple[list[str], list[str]]:
    """The prompts, and where each stands if that is in a file."""
    if prompt is not None and file is not None:
        raise InputError("give either --prompt or --file, not both.")
    if prompt is not None:
        return [prompt], []
    if file is not None:
        records = read_records(file)
        return texts(records, ["prompt"]), [f"{record.place}: a prompt" for record in records]
    if sys.stdin.isatty():
        raise InputError("no prompt; give --prompt TEXT, --file FILE, or pipe a text in.")
    try:
        text = sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError:
        raise InputError("the text on stdin is not UTF-8.") from None
    if not text:
        raise InputError("no prompt; the text on stdin is empty.")
    return [text], []
