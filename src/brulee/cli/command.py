"""What every subcommand is: typer's, with a help text that names no Python types."""

from __future__ import annotations

import re
from typing import Any, final

from typer.core import TyperCommand

# An argument that takes several values, as typer shows its type.
_LIST = re.compile(r"<list\[(\w+)\]>")


@final
class Command(TyperCommand):
    """A subcommand whose help shows `<path> ...` where typer shows `<list[Path]>`."""

    def get_help(self, ctx: Any) -> str:
        """The help text; what is shorter than before is filled up, since it stands in columns."""

        def said(found: re.Match[str]) -> str:
            return f"<{found[1].lower()}> ...".ljust(len(found[0]))

        return _LIST.sub(said, super().get_help(ctx))
