"""Count the promptsource templates that load, compile and render, and why the others fail.

    python benchmarks/promptsource_files.py promptsource/templates

The folder is from promptsource's source distribution. The rows are toy examples, one each for many
data sets (tests/fixtures/promptsource_rows.jsonl); templates of other data sets are only compiled.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from brulee.data.sandbox import LimitedEnvironment
from brulee.data.templates import Template, read_templates
from brulee.errors import InputError

ROWS = Path(__file__).parents[1] / "tests" / "fixtures" / "promptsource_rows.jsonl"
ENVIRONMENT = LimitedEnvironment()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--show", action="store_true", help="name every template that is left out")
    arguments = parser.parse_args()
    rows = toy_rows()
    counts: Counter[str] = Counter()
    for file in sorted(arguments.folder.rglob("templates.yaml")):
        name = file.parent.relative_to(arguments.folder).as_posix()
        row = next((row for pattern, row in rows if fnmatchcase(name, pattern)), None)
        counts["files"] += 1
        counts["files with a toy row"] += row is not None
        for template in read_templates(file.read_text(encoding="utf-8"), name, name):
            outcome = tried(template, row)
            counts["templates"] += 1
            counts[outcome.partition(":")[0]] += 1
            if arguments.show and outcome.startswith(("not applicable", "refused")):
                print(f"{name}: {template.name}: {outcome}")
    for what, count in counts.items():
        print(f"{count:6,}  {what}")


def toy_rows() -> list[tuple[str, dict[str, Any]]]:
    lines = ROWS.read_text(encoding="utf-8").splitlines()
    return [(name, line["row"]) for line in map(json.loads, lines) for name in line["data_sets"]]


def tried(template: Template, row: dict[str, Any] | None) -> str:
    """A template's outcome: compiled, rendered, not applicable, or refused with the reason."""
    for text in filter(None, (template.jinja, template.answer_choices)):
        ENVIRONMENT.program(text)
    if row is None:
        return "compiled, no toy row"
    try:
        rendered = template.render(row)
    except InputError as error:
        return f"refused: {error}"
    if rendered is None:
        return "not applicable to its toy row (empty prompt)"
    return "rendered" if rendered.completion else "rendered without a completion"


if __name__ == "__main__":
    main()
