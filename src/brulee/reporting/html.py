"""The report page: one self-contained HTML file built from a run folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from brulee.reporting import results as results_file
from brulee.reporting import several_tasks, wording
from brulee.reporting.items import Item, read_items
from brulee.reporting.page_fields import fields
from brulee.reporting.page_items import examples
from brulee.reporting.page_phrasings import over_phrasings
from brulee.reporting.page_style import STYLE
from brulee.reporting.page_tables import (
    comparisons,
    cost,
    forgetting,
    mixture,
    number,
    scores,
    sentence,
)
from brulee.reporting.page_texts import texts
from brulee.reporting.page_training import read_events, training
from brulee.reporting.results import Results
from brulee.reporting.verdict import verdict
from brulee.textfile import read_text

FILE_NAME = "report.html"

# The page may load no resources, wherever it is opened from.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_report(folder: str | Path) -> Path:
    """Read a run folder, write its report.html atomically, return the path.

    Only results.json is required. Raises InputError naming the missing or malformed file, and the
    line where there is one.
    """
    run = Path(folder)
    results = results_file.read(run)
    page = render(
        results,
        read_events(run / "events.jsonl"),
        read_items(run),
        recipe=_read(run / "recipe.yaml"),
        manifest=_read(run / "manifest.json"),
    )
    target, temporary = run / FILE_NAME, run / f".{FILE_NAME}.{os.getpid()}"
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(target)
    return target


def render(
    results: Results,
    events: Sequence[Mapping[str, Any]],
    items: Sequence[Item],
    recipe: str = "",
    manifest: str = "",
) -> str:
    """The whole page as text; every value from data or models is escaped."""
    sections = (
        _figures(results),
        scores(results),
        comparisons(results),
        fields(results, items),
        texts(results, items),
        over_phrasings(results),
        forgetting(results),
        cost(results),
        mixture(results),
        training(results.training, events),
        examples(results, items),
        _reproduce(results, recipe, manifest),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(results.run)} · brulee report</title>'
        f"<style>{STYLE}</style></head><body><main>{_masthead(results)}{_verdict(results)}"
        f"{''.join(sections)}<footer>Written by brulee from results.json (schema "
        f"{results_file.SCHEMA}).</footer></main></body></html>\n"
    )


def _masthead(results: Results) -> str:
    method, start = wording.method_name(results.method), results.base.start
    further = "" if start is None else f", trained further from {start.adapter}"
    return (
        f'<header class="masthead"><h1>{escape(results.run)}</h1>'
        f"<p>{escape(method)} on {escape(results.base.name + further)}</p></header>"
    )


def _verdict(results: Results) -> str:
    """The verdict, its first clause large, the others as a list, parentheses in lighter text."""
    said = (results.verdict or verdict(results)).removesuffix(".")
    first, *others = re.split(r"; (?![^()]*\))", said)  # not inside parentheses
    listed = "".join(f"<li{_alarm(clause)}>{_asides(clause)}</li>" for clause in others)
    then = f"<ul>{listed}</ul>" if others else ""
    return f'<div class="verdict"><p>{_asides(first)}.</p>{then}</div>'


def _alarm(clause: str) -> str:
    return ' class="alarm"' if clause.startswith(("it forgot", "but ", "worse: ")) else ""


def _asides(text: str) -> str:
    return re.sub(r"\([^()]*\)", r'<span class="aside">\g<0></span>', sentence(text))


def _figures(results: Results) -> str:
    """The headline numbers."""
    spent = results.cost
    several = len({pair.task for pair in results.comparisons}) > 1
    figures = several_tasks.figures(results) if several else []
    for pair in () if several else results.comparisons[:1]:
        decimals = wording.places(pair.difference)
        steps = (
            f"{wording.fixed(pair.base, decimals)} → {wording.fixed(pair.tuned, decimals)} "
            f"{wording.metric_name(pair.metric)}"
        )
        figures.append((wording.difference(pair), steps))
        items = pair.wins + pair.losses + pair.ties
        if not pair.descriptive:
            figures.append((f"{pair.wins} of {items}", "test items got better"))
    if spent.trainable_share is not None:
        figures.append((wording.percent(spent.trainable_share), "of the parameters trained"))
    if spent.train_seconds:
        figures.append((wording.duration(spent.train_seconds), "of training"))
    if spent.adapter_bytes:
        what = "model" if results.method.name == "full" else "adapter"
        figures.append((wording.size(spent.adapter_bytes), f"{what} on disk"))
    rows = "".join(
        f"<div><dt>{number(label)}</dt><dd>{number(value)}</dd></div>" for value, label in figures
    )
    return f'<dl class="figures">{rows}</dl>' if rows else ""


def _reproduce(results: Results, recipe: str, manifest: str) -> str:
    environment = results.environment.model_dump(mode="json")
    if results.signatures:
        environment["signatures"] = dict(results.signatures)
    blocks = (
        _folded("Recipe, with every default written out", recipe),
        _folded("Environment", json.dumps(environment, indent=2, ensure_ascii=False)),
        _folded("Manifest: seeds, digests, versions", manifest),
    )
    return (
        "<section><h2>Reproduce</h2><p>In the run's folder:</p>"
        f"<pre>brulee run recipe.yaml</pre>{''.join(blocks)}</section>"
    )


def _folded(title: str, text: str) -> str:
    if not text.strip():
        return ""
    return f"<details><summary>{title}</summary><pre>{escape(text.strip())}</pre></details>"


def _read(file: Path) -> str:
    return read_text(file) if file.is_file() else ""
