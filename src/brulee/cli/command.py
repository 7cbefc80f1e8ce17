"""The class of every subcommand: typer's, without Python types in the help text."""

from __future__ import annotations

import re
from typing import Any, final

from typer.core import TyperCommand

# How typer shows the type of an argument that takes several values.
_LIST = re.compile(r"<list\[(\w+)\]>")


@final
class Command(TyperCommand):
    """A subcommand whose help shows `<path> ...` where typer shows `<list[Path]>`."""

    def get_help(self, ctx: Any) -> str:
        """The help text; replacements are padded to the old width, as they stand in columns."""

        def said(found: re.Match[str]) -> str:
            return f"<{found[1].lower()}> ...".ljust(len(found[0]))

        return _LIST.sub(said, super().get_help(ctx))
