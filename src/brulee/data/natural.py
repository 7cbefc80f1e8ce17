"""Natural Instructions: expands a task's definition and instances to one row per instance.

Schema: Wang et al. 2022 (arXiv:2204.07705), github.com/allenai/natural-instructions.
"""

from __future__ import annotations

from typing import Any

from brulee.data.sources import RowRange, Rows
from brulee.data.tables import to_table
from brulee.data.template import SEPARATOR
from brulee.errors import InputError

DEFINITION, INSTANCES = "Definition", "Instances"
JINJA = f"{{{{ definition }}}}\n\n{{{{ input }}}} {SEPARATOR} {{{{ output }}}}"


def expand(rows: Rows, limit: int | None = None) -> Rows:
    """One row per instance, for the first `limit` instances of each task.

    The columns are id, definition, input, output (the first answer) and references (the others).
    Raises InputError naming the task and the instance that lacks its input or an output.
    """
    split_of = {i: name for name, indices in rows.published.items() for i in indices}
    records: list[dict[str, Any]] = []
    parts = []
    for i, task in enumerate(rows):
        place = rows.place(i)
        definition = _definition(task[DEFINITION], place)
        instances = (task[INSTANCES] or [])[:limit]
        for number, instance in enumerate(instances, start=1):
            records.append(_row(definition, instance, f"{place}, instance {number}"))
        parts.append(RowRange(f"{place}, {INSTANCES}", len(instances), split=split_of.get(i)))
    if not records:
        raise InputError(f"{rows.label}: its {INSTANCES} are empty.")
    table = to_table(records, lambda k: f"{rows.label}, instance {k + 1}")
    return Rows(rows.name, table, parts, rows.digests)


def _definition(value: Any, place: str) -> str:
    text = "\n".join(value) if isinstance(value, list) else value
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{place}: {DEFINITION!r} has to say in words what the task is.")
    return text.strip()


def _row(definition: str, instance: Any, place: str) -> dict[str, Any]:
    if not isinstance(instance, dict):
        raise InputError(f"{place}: an instance is an object, not {type(instance).__name__}.")
    given, outputs = instance.get("input"), instance.get("output")
    outputs = [outputs] if isinstance(outputs, str) else outputs
    if not isinstance(given, str) or not outputs or not isinstance(outputs[0], str):
        raise InputError(f"{place}: an instance has an 'input' text and an 'output' of texts.")
    return {
        "id": instance.get("id"),
        "definition": definition,
        "input": given,
        "output": outputs[0],
        "references": outputs[1:],
    }
