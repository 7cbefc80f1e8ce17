"""What becomes of another tool's configuration: values of a recipe, and what is left of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from brulee.recipe.theirs.entries import Entry
from brulee.recipe.theirs.tools import Tool
from brulee.yaml_lines import KeyPath

_SECRET: Final = ("_api_key", "_secret", "hf_token", "hub_token", "wandb_token")


@dataclass
class Left:
    """A key that the recipe does not hold: its value, why, and whether the training is another."""

    key: str
    value: Any
    why: str
    matters: bool


@dataclass
class Converted:
    """A recipe's values by dotted key, with remarks beside them, its tasks, and what is left."""

    tool: Tool
    values: dict[str, Any] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    tasks: list[Entry] = field(default_factory=list)
    mix: dict[str, Any] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    # Keys here for which a value was given that is none here.
    unsaid: set[str] = field(default_factory=set)
    # The place in the other tool's file of what became a key here.
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def put(self, to: str, value: Any, remark: str = "") -> None:
        """Say a value under its key here."""
        self.values[to] = value
        if remark:
            self.remarks[to] = remark

    def leave(self, key: str, value: Any, why: str, matters: bool = True) -> None:
        """Say that a key is not in the recipe."""
        shown = "..." if key.endswith(_SECRET) else value
        self.left.append(Left(key, shown, why, matters))
