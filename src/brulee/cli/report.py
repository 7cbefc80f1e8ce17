"""`brulee report`: rebuild report.html."""

from __future__ import annotations

from brulee.cli import options
from brulee.cli.output import print_json


def report(run: options.RunFolder, as_json: options.Json = False) -> None:
    """Rebuild a run's report.html and print its path."""
    from brulee.reporting.html import write_report

    path = write_report(run)
    if as_json:
        print_json({"report": str(path)})
    else:
        print(path)
