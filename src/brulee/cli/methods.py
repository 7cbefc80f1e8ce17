"""`brulee methods`: list the tuning methods and count what they train."""

from __future__ import annotations

from brulee.cli import options
from brulee.cli.output import print_json, print_table


def list_methods(as_json: options.Json = False) -> None:
    """List the methods with what each one trains."""
    from brulee.methods import METHODS

    if as_json:
        print_json([{"name": name, "summary": m.summary} for name, m in METHODS.items()])
    else:
        print_table(["method", "what it trains"], [(n, m.summary) for n, m in METHODS.items()])
