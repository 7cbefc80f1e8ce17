"""`brulee methods count`: the parameters and bytes of each method on a model."""

from __future__ import annotations

import re
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brulee.cli import options
from brulee.cli.output import print_json, print_table, print_text
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.methods.accounting import Count
    from brulee.pipeline.new_tokens import TokenRows
    from brulee.recipe import MethodSpec


def count(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="bundled, a folder, a .gguf, a Hub id; or a recipe or run, for its base.",
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Count only this one (repeatable)."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="Change an option, e.g. rank=16."),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(metavar="OUTPUTSxINPUTS", help="Count for a single weight, e.g. 512x64."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Count parameters and bytes of every method.

    Bytes on disk, of gradients, and of AdamW's state. Reads the model's configuration, but not its
    weights. The method of a recipe has the recipe's options, all others their defaults.
    """
    if (model is None) == (shape is None):
        raise InputError("give either a MODEL or --shape, for instance: bundled, --shape 512x64.")
    given, sides = _settings(settings or ()), None if shape is None else _sides(shape)
    from brulee.methods import METHODS
    from brulee.methods.accounting import ON_ONE_MAP
    from brulee.methods.accounting import count as count_methods
    from brulee.models.skeleton import load_skeleton, one_map

    names = tuple(method or (METHODS if sides is None else ON_ONE_MAP))
    if sides is not None:
        whole = [name for name in names if name in METHODS and name not in ON_ONE_MAP]
        if whole:
            raise InputError(
                f"--method {whole[0]}: trains a whole model, not a single weight; valid with "
                f"--shape: {', '.join(ON_ONE_MAP)}."
            )
        counts = count_methods(lambda: one_map(*sides), given, names)
    else:
        model, revision, own, rows = _base(str(model))
        counts = count_methods(
            lambda: load_skeleton(model, revision, vocabulary=rows.vocabulary),
            given,
            names,
            own,
            rows.trained,
        )
    if as_json:
        print_json({"model": model, "shape": sides, "methods": [asdict(c) for c in counts]})
        return
    _print(counts)
    if sides is not None:
        _print_arithmetic(sides, counts)


def _base(model: str) -> tuple[str, str | None, MethodSpec | None, TokenRows]:
    """A base, its revision, the method, and rows of tokens; given a recipe or a run, its own."""
    from brulee.pipeline.new_tokens import NO_ROWS, rows_of

    inside = Path(model) / "recipe.yaml"
    if not inside.is_file() and not model.endswith((".yaml", ".yml")):
        return model, None, None, NO_ROWS
    from brulee.methods.continuing import method_of, resolved
    from brulee.models.configuration import model_name
    from brulee.recipe import MethodSpec, load_recipe

    recipe = load_recipe(inside if inside.is_file() else model)
    method = method_of(recipe)
    own = MethodSpec(name=method.name, **method.options())
    return model_name(recipe), recipe.base.revision, own, rows_of(resolved(recipe))


def _settings(settings: list[str] | tuple[()]) -> dict[str, Any]:
    from brulee.yaml_lines import parse_scalar

    found = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {setting!r}: write it as option=value, for instance rank=16.")
        found[key.strip().removeprefix("method.")] = parse_scalar(text)
    return found


def _sides(shape: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,8})[x×*]([1-9]\d{0,8})", shape.strip())
    if found is None:
        raise InputError(f"--shape {shape!r}: write it as OUTPUTSxINPUTS, for instance 512x64.")
    return int(found[1]), int(found[2])


def _print(counts: list[Count]) -> None:
    from brulee.reporting.wording import size

    headers = ["method", "trained", "share", "on disk", "gradients", "AdamW state"]
    rows = [
        (
            c.label,
            f"{c.trainable:,}",
            f"{c.share:.3%}",
            size(c.stored_bytes),
            size(c.gradient_bytes),
            size(c.optimizer_bytes),
        )
        for c in counts
        if c.refusal is None
    ]
    print_table(headers, rows)
    for refused in (c for c in counts if c.refusal is not None):
        print_text(f"{refused.label}: {refused.refusal}")


def _print_arithmetic(sides: tuple[int, int], counts: list[Count]) -> None:
    """Print each method's count as a sum, and how much smaller it is than the full weight."""
    whole = prod(sides)
    for c in counts:
        if not c.trained or c.trainable == whole:
            continue
        parts = " + ".join("×".join(map(str, shape)) for shape in c.trained)
        fewer = 1 - c.trainable / whole
        change = f"{fewer:.0%} fewer" if fewer >= 0 else f"{-fewer:.0%} more"
        print_text(
            f"{c.label}: {parts} = {c.trainable:,} instead of "
            f"{sides[0]}×{sides[1]} = {whole:,}: {change}"
        )
