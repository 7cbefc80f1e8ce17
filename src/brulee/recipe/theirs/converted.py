"""The result of converting another tool's configuration: recipe values and remaining keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from brulee.recipe.theirs.entries import Entry
from brulee.recipe.theirs.tools import Tool
from brulee.yaml_lines import KeyPath

_SECRET: Final = ("_api_key", "_secret", "hf_token", "hub_token", "wandb_token")


@dataclass
class Left:
    """A key without a counterpart: its value, the reason, whether training differs without it."""

    key: str
    value: Any
    why: str
    matters: bool


@dataclass
class Converted:
    """A recipe's values by dotted key, with remarks, its tasks, and the remaining keys."""

    tool: Tool
    values: dict[str, Any] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    tasks: list[Entry] = field(default_factory=list)
    mix: dict[str, Any] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    # Recipe keys for which the file gives a value that a recipe does not have.
    unsaid: set[str] = field(default_factory=set)
    # Recipe key -> line in the other tool's file.
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def put(self, to: str, value: Any, remark: str = "") -> None:
        """Set a value of the recipe."""
        self.values[to] = value
        if remark:
            self.remarks[to] = remark

    def leave(self, key: str, value: Any, why: str, matters: bool = True) -> None:
        """Record a key that has no counterpart in the recipe."""
        shown = "..." if key.endswith(_SECRET) else value
        self.left.append(Left(key, shown, why, matters))
