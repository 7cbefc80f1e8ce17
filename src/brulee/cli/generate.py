"""`brulee generate`: generate completions for given prompts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.loading import loading_pytorch
from brulee.cli.output import print_json
from brulee.cli.pairs import languages_of, named
from brulee.cli.records import Record, read_records, texts
from brulee.data.json_schema import ANY_OBJECT, Schema, need_llguidance, read_schema
from brulee.errors import InputError, unknown


def generate(
    target: options.Target,
    prompt: Annotated[str | None, typer.Option(help="The prompt itself.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help='Prompts, one per line: .txt, or .jsonl of strings or {"prompt": ...}.'),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TARGET",
            help="Load this adapter over the base TARGET (repeatable). A line of --file names "
            "its adapter with the key adapter (none: the base); any other prompt goes to "
            "all.",
        ),
    ] = None,
    max_new_tokens: options.MaxNewTokens = 256,
    temperature: options.Temperature = 0.0,
    top_p: options.TopP = 1.0,
    top_k: options.TopK = 0,
    min_p: options.MinP = 0.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    seed: options.Seed = 0,
    beams: Annotated[
        int, typer.Option(min=1, help="Search with so many beams instead of choosing by token.")
    ] = 1,
    length_penalty: Annotated[
        float,
        typer.Option(
            min=-10.0,
            max=10.0,
            help="Of beams: above 0, longer answers score higher; below, shorter ones.",
        ),
    ] = 1.0,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the text without a chat template.")
    ] = False,
    thoughts: Annotated[
        bool, typer.Option("--thoughts", help="Also show a reasoning model's reasoning.")
    ] = False,
    json_schema: Annotated[
        Path | None,
        typer.Option(help="Constrain every completion to the JSON schema in this file."),
    ] = None,
    json_object: Annotated[
        bool, typer.Option("--json-object", help="Constrain every completion to a JSON object.")
    ] = False,
    base: options.AdapterBase = None,
    languages: options.Languages = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write completions for prompts.

    Prompts come from --prompt, from --file, or as one text from stdin.
    """
    # Before torch is imported, so that a mistyped option fails at once.
    targets = named(adapter, base)
    schema = _schema(json_schema, json_object)
    prompts, places, asked = _prompts(prompt, file, list(targets))
    sampling: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "beams": beams,
        "length_penalty": length_penalty,
        "raw": raw,
        "places": places,
        "json_schema": schema,
        "thoughts": thoughts,
    }
    how: dict[str, Any] = {
        "device": device,
        "precision": precision,
        "languages": languages_of(languages),
    }
    progress.enable(not quiet)
    with loading_pytorch():
        from brulee.inference.session import open_session
    if targets:
        from brulee.inference.adapters import open_adapters

        held = open_adapters(targets, base=target, **how)
        answers = held.complete(prompts, asked, **sampling)
        thinks = [held.thoughts(name)[0] is not None for name in asked]
        _show(prompts, answers, as_json, asked)
    else:
        session = open_session(target, base=base, **how)
        answers = session.complete(prompts, **sampling)
        thinks = [session.encoder.thoughts is not None] * len(answers)
        _show(prompts, answers, as_json)
    if schema is not None:
        _say_cut(answers)
    elif not (raw or thoughts):
        _say_unended(answers, thinks)


def _schema(file: Path | None, any_object: bool) -> Schema | None:
    """The schema of the completions, checked as far as possible without the model."""
    if file is None and not any_object:
        return None
    need_llguidance("--json-object" if any_object else "--json-schema")
    if file is None:
        return ANY_OBJECT
    if any_object:
        raise InputError("give either --json-schema or --json-object, not both.")
    read_schema(file)
    return file


def _say_cut(answers: list[str]) -> None:
    """Report how many completions are incomplete JSON."""
    cut = 0
    for answer in answers:
        try:
            json.loads(answer)
        except ValueError:
            cut += 1
    if cut:
        print(
            f"{cut} of {len(answers)} completions were cut off before their JSON was complete: "
            "--max-new-tokens, or the model's context, is too small for them.",
            file=sys.stderr,
        )


def _say_unended(answers: list[str], thinks: list[bool]) -> None:
    """Report how many completions of reasoning models were cut off during the reasoning."""
    pairs = zip(answers, thinks, strict=True)
    if unended := sum(thinking and not answer for answer, thinking in pairs):
        print(
            f"{unended} of {len(answers)} completions were cut off during the model's reasoning: "
            "--thoughts shows it, a larger --max-new-tokens allows more.",
            file=sys.stderr,
        )


def _show(
    prompts: list[str], answers: list[str], as_json: bool, asked: list[str | None] | None = None
) -> None:
    """Print the answers, with the adapter's name if several models answered."""
    pairs: list[dict[str, str | None]]
    pairs = [{"prompt": p, "completion": a} for p, a in zip(prompts, answers, strict=True)]
    if asked is None:
        shown = answers
    else:
        pairs = [{"adapter": n, **pair} for n, pair in zip(asked, pairs, strict=True)]
        named = zip(asked, answers, strict=True)
        shown = [f"[{name or 'the base'}]\n{answer}" for name, answer in named]
    if as_json:
        print_json(pairs)
    else:
        print("\n\n---\n\n".join(shown))


def _prompts(
    prompt: str | None, file: Path | None, adapters: list[str]
) -> tuple[list[str], list[str], list[str | None]]:
    """The prompts, their places if they come from a file, and the adapter to answer each."""
    if prompt is not None and file is not None:
        raise InputError("give either --prompt or --file, not both.")
    if file is not None:
        records = read_records(file)
        asked = [_asked(record, adapters) for record in records]
        return texts(records, ["prompt"]), [f"{r.place}: a prompt" for r in records], asked
    everyone = [None, *adapters]
    return [_text(prompt)] * len(everyone), [], everyone


def _asked(record: Record, adapters: list[str]) -> str | None:
    name = record.value.get("adapter") if isinstance(record.value, dict) else None
    if name is not None and not adapters:
        raise InputError(
            f"{record.place}: names the adapter {name!r}, but no adapter is loaded; give "
            f"--adapter {name}=RUN, with the base as TARGET."
        )
    if name is not None and name not in adapters:
        raise unknown("adapter", name, adapters, record.place)
    return name


def _text(prompt: str | None) -> str:
    """The single prompt, from the command line or stdin."""
    if prompt is not None:
        return prompt
    if sys.stdin.isatty():
        raise InputError("no prompt; give --prompt TEXT, --file FILE, or pipe a text in.")
    try:
        text = sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError:
        raise InputError("the text on stdin is not UTF-8.") from None
    if not text:
        raise InputError("no prompt; the text on stdin is empty.")
    return text
