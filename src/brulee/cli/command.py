"""The class of every subcommand: typer's, with its help in the notation of other command lines."""

from __future__ import annotations

import re
from typing import Any, Final, final

from typer.core import TyperCommand

_KINDS: Final = {"str": "TEXT", "path": "PATH", "int": "N", "float": "X"}
_OPTION: Final = re.compile(rf"<({'|'.join(_KINDS)})( range)?>")
_ARGUMENT: Final = re.compile(r"^(  [^\s-]\S*) <(list\[)?\w+\]?>", re.MULTILINE)


@final
class Command(TyperCommand):
    """A subcommand that shows `RUN ...` and `--limit N` for `{RUN} <list[Path]>`, `<int range>`."""

    def get_help(self, ctx: Any) -> str:
        """The help text; replacements are padded to the old width, as they stand in columns."""

        def argument(found: re.Match[str]) -> str:
            return (found[1] + (" ..." if found[2] else "")).ljust(len(found[0]))

        def option(found: re.Match[str]) -> str:
            return _KINDS[found[1]].ljust(len(found[0]))

        return _OPTION.sub(option, _ARGUMENT.sub(argument, super().get_help(ctx)))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage line's parts, without braces around what is required."""
        return [re.sub(r"^\{(.*)\}", r"\1", part) for part in super().collect_usage_pieces(ctx)]
