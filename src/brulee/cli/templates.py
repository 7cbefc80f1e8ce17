"""`brulee templates`: the templates that turn a row into a prompt and a completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from brulee.cli import options
from brulee.cli.findings import end_lint
from brulee.cli.output import print_json, print_lines, print_table
from brulee.errors import InputError, unknown
from brulee.printable import printable

if TYPE_CHECKING:
    from brulee.data.sources import Rows
    from brulee.data.templates import Template, TemplateSet

_LISTED: Final = ("name", "cluster", "kind", "columns")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A family or FAMILY/TEMPLATE.")]


def list_templates(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Families or clusters whose phrasings to list."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the families with their clusters, or the phrasings of some.

    With --json, lists phrasings: without a name, all there are.
    """
    from brulee.data.templates import library

    chosen = _chosen_families(library(), names or [])
    phrasings = [
        (f"{family}/{template.name}", one.cluster, _kind(template), sorted(template.columns))
        for family, one in chosen.items()
        for template in one
    ]
    if as_json:
        print_json([dict(zip(_LISTED, phrasing, strict=True)) for phrasing in phrasings])
    elif names:
        rows = [(name, kind or "-", ", ".join(columns)) for name, _, kind, columns in phrasings]
        print_table(["template", "kind", "columns"], rows)
    else:
        families = [
            (name, one.cluster or "-", str(len(one)), ", ".join(sorted(one.columns)))
            for name, one in chosen.items()
        ]
        print_table(["family", "cluster", "phrasings", "columns"], families)
        print("brulee templates list NAME lists the phrasings of a family or cluster.")


def _chosen_families(
    families: Mapping[str, TemplateSet], names: Sequence[str]
) -> Mapping[str, TemplateSet]:
    """The families that are named, by themselves or by their cluster; all without a name."""
    clusters = {one.cluster for one in families.values() if one.cluster}
    for name in names:
        if name not in families and name not in clusters:
            raise unknown("family or cluster", name, sorted({*families, *clusters}))
    return {
        family: one
        for family, one in families.items()
        if not names or family in names or one.cluster in names
    }


def _kind(template: Template) -> str:
    """What distinguishes a phrasing from a plain question; "" if nothing."""
    if template.metadata.original_task is False:
        return "inverted"
    return "rationale" if template.metadata.rationale else ""


def show(name: Name, as_json: options.Json = False) -> None:
    """Print a template, or every template of a family."""
    from brulee.data.templates import load_templates

    templates = load_templates(name).templates
    if as_json:
        print_json([_described(template) for template in templates])
        return
    for template in templates:
        print(printable(_shown(template)))


def render(
    rows: Annotated[str, typer.Option(help="Rows: a file, or another source of a recipe.")],
    library_name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="FAMILY/TEMPLATE or FAMILY.")
    ] = None,
    promptsource: Annotated[
        Path | None, typer.Option(help="Take the template from this promptsource YAML file ...")
    ] = None,
    name: Annotated[str | None, typer.Option(help="... where it has this name.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Render every template there is.")] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SOURCE", help="Use the source's column for this one of the template."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N rows.")] = None,
    as_json: options.Json = False,
) -> None:
    """Print the prompt and completion of each row.

    Writes one {"prompt", "completion"} per line, with --all also the "template"; both are null if
    the template does not apply to the row.
    """
    from brulee.data.sources import open_source

    templates = _chosen_templates(library_name, promptsource, name, every)
    source = open_source(rows, columns=_columns(column or []), limit=limit)
    pairs = (
        _pair(template, source, i, template.name if every else None)
        for i in range(len(source))
        for template in templates
    )
    if as_json:
        print_json(list(pairs))
    else:
        print_lines(pairs)


def lint(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME|FILE", help="Families or files [default: the library]."),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            help="Rows to test the templates on: a file, or a folder with NAME.jsonl for each."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Look for mistakes in templates.

    With rows, also checks for missing columns, labels without a word and targets that leak. Exits
    with 2 on errors, with 0 on warnings only.
    """
    from brulee.data.lint import lint as lint_templates
    from brulee.data.templates import families, load_to_lint

    found = []
    for name in names or families():
        templates, malformed = load_to_lint(name)
        found += malformed
        if templates is None:
            continue
        found += lint_templates(templates, _rows_of(templates.name, rows) if rows else None)
    end_lint(found, as_json)


def _rows_of(family: str, rows: Path) -> Rows:
    from brulee.data.sources import open_source

    file = rows / f"{family.partition('/')[0]}.jsonl" if rows.is_dir() else rows
    return open_source(str(file), limit=500)


def _pair(
    template: Template, source: Rows, i: int, name: str | None = None
) -> dict[str, str | None]:
    named: dict[str, str | None] = {"template": name} if name else {}
    try:
        rendered = template.render(source[i], str(i))
    except InputError as error:
        raise InputError(f"{source.place(i)}: {error}") from None
    if rendered is None:
        return named | {"prompt": None, "completion": None}
    return named | {"prompt": rendered.prompt, "completion": rendered.completion}


def _columns(given: list[str]) -> dict[str, str]:
    for pair in given:
        if "=" not in pair:
            raise InputError(f"--column {pair}: write NAME=SOURCE, as in --column body=text.")
    columns: dict[str, str] = {}
    for name, _, source in (pair.partition("=") for pair in given):
        if columns.setdefault(name, source) != source:
            raise InputError(
                f"--column {name}={source}: {name} is read as {columns[name]} already; give each "
                "column once."
            )
    return columns


def _chosen_templates(
    library_name: str | None, file: Path | None, name: str | None, every: bool
) -> tuple[Template, ...]:
    from brulee.data.templates import load_templates

    if (library_name is None) == (file is None):
        raise InputError("name a template of the library, or give --promptsource FILE, not both.")
    if every and name is not None:
        raise InputError(
            "--all renders every template and --name one of them; give only one of these options."
        )
    found = load_templates(library_name if library_name is not None else str(file))
    by_name = {template.name: template for template in found.templates}
    if name is not None:
        if name not in by_name:
            raise unknown("template", name, by_name, str(library_name or file))
        return (by_name[name],)
    if len(by_name) > 1 and not every:
        how = f"--name {next(iter(by_name))!r}"
        raise InputError(
            f"{library_name or file} holds {len(by_name)} templates; pick one, for instance {how}, "
            f"or --all. Valid: {', '.join(by_name)}."
        )
    return found.templates


def _shown(template: Template) -> str:
    kind = f"{kind}; " if (kind := _kind(template)) else ""
    lines = [f"# {template.name}  ({kind}columns: {', '.join(sorted(template.columns))})"]
    if template.answer_choices:
        lines.append(f"# answer choices: {template.answer_choices}")
    return "\n".join([*lines, template.jinja, ""])


def _described(template: Template) -> dict[str, object]:
    return {
        "name": template.name,
        "kind": _kind(template),
        "columns": sorted(template.columns),
        "jinja": template.jinja,
        "answer_choices": template.answer_choices,
    }
