"""`brulee metrics`: list the metrics."""

from __future__ import annotations

from brulee.cli import options
from brulee.cli.output import print_json, print_table, print_text


def list_metrics(as_json: options.Json = False) -> None:
    """List the metrics with what each one measures."""
    from brulee.evaluation import summaries
    from brulee.evaluation.rouge_kinds import EXAMPLES

    if as_json:
        print_json([{"name": name, "summary": text} for name, text in summaries().items()])
        return
    print_table(["metric", "what it measures"], summaries().items())
    print_text(f"Single scores of ROUGE: {', '.join(EXAMPLES)}.")
    print_text("Options follow a colon, as in rougeL:recall; docs/evaluation.md lists them.")
