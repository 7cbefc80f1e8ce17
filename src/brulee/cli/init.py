"""`brulee init`: write a recipe to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.output import print_json, print_text
from brulee.cli.places import check_file
from brulee.errors import InputError
from brulee.printable import printable
from brulee.shell import word


def init(
    source: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="A file of rows, a folder, or another source."),
    ] = None,
    theirs: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Instead of DATA: a configuration of LLaMA-Factory, axolotl, TRL or Unsloth.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="bundled, a Hub id, a folder, or a .gguf [default: bundled].")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Path of the recipe [default: DATA's name.yaml, or FILE-brulee.yaml].",
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a recipe for your rows, or convert another tool's.

    The recipe runs unchanged and has comments. The prompt comes from the rows' format, a library
    family that fits, or the column names. With --from, settings that a recipe cannot express are
    printed and written as comments.
    """
    progress.enable(not quiet)
    if (source is None) == (theirs is None):
        raise InputError("name either DATA (rows) or --from FILE (another tool's configuration).")
    if theirs is not None:
        _converted(theirs, model, out, as_json)
    elif source is not None:
        _started(source, model or "bundled", out, as_json)


def _started(source: str, model: str, out: Path | None, as_json: bool) -> None:
    from brulee.data.starting import default_file, start

    file = out or default_file(source)
    _check(file)
    found = start(source, model, file)
    if found.with_tools:
        from brulee.models.tokenizers import load_encoder
        from brulee.recipe import recipe_from_dict

        # A huge max_length, so that rows fit: this only checks that the template renders tools.
        values: dict[str, Any] = {
            "model": model,
            "data": {"source": source},
            "train": {"max_length": 2**20},
        }
        encoder = load_encoder(recipe_from_dict(values))
        found.read_by(encoder)
        if encoder.written_calls is None:
            found = start(source, model, file, reads_calls=False)
    _write(file, found.text)
    if as_json:
        values = {"recipe": str(file), "described": found.described, "guessed": found.guessed}
        print_json(values | {"rows": found.rows, "test_rows": found.test})
        return
    if found.guessed:  # a detected format is reported when its rows are opened
        print(printable(found.described))
        print(f"The prompt is a guess: look over data.templates in {file}.")
    _say_next(file)


def _converted(theirs: Path, model: str | None, out: Path | None, as_json: bool) -> None:
    from brulee.recipe.theirs.writing import shown, written

    if model is not None:
        raise InputError(
            "--model: with --from, the other tool's file names the model; change it there."
        )
    if not theirs.is_file():
        raise InputError(f"--from {theirs}: no such file.")
    file = out or Path(f"{theirs.stem}-brulee.yaml")
    _check(file)
    found = written(theirs)
    _write(file, found.text)
    if as_json:
        left = [one.__dict__ for one in found.left]
        print_json({"recipe": str(file), "tool": found.tool, "left": left})
        return
    print_text(f"Read as {found.tool}'s.")
    for one in found.left:
        if one.matters:
            print_text(f"Not in the recipe: {one.key}: {shown(one.value)}: {one.why}.")
    _say_next(file)


def _say_next(file: Path) -> None:
    named = word(file)
    print(f"Wrote {file}. Next: brulee data inspect {named}, then brulee run {named}")


def _check(file: Path) -> None:
    check_file(file, "--out")
    if file.exists():
        raise InputError(
            f"{file}: already exists and was not changed; name another file with --out."
        )


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
