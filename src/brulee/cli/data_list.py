"""`brulee data list`: list the data sets that come with brulee."""

from __future__ import annotations

from brulee.cli import options
from brulee.cli.output import print_json, print_table, print_text


def list_data(as_json: options.Json = False) -> None:
    """List the sources that come with brulee."""
    from brulee.data.sources import bundled_names, open_source

    found = [open_source(f"bundled/{name}") for name in bundled_names()]
    if as_json:
        print_json([{"name": r.name, "rows": len(r), "columns": r.columns} for r in found])
        return
    rows = [(each.name, f"{len(each):,}", ", ".join(each.columns)) for each in found]
    print_table(["source", "rows", "columns"], rows)
    print_text("data.source takes a file, a pattern, a folder or a Hub id, too: see docs/data.md.")
