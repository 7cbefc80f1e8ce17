"""`brulee suites`: list the benchmarks."""

from __future__ import annotations

from brulee.cli import options
from brulee.cli.output import print_json, print_table, print_text


def list_suites(as_json: options.Json = False) -> None:
    """List the suites, and the options that --set takes."""
    from brulee.evaluation.suites import SUITES

    found = [(name, of.summary, sorted(of.Options.model_fields)) for name, of in SUITES.items()]
    if as_json:
        print_json([{"name": n, "summary": text, "options": keys} for n, text, keys in found])
        return
    print_table(
        ["suite", "what it measures", "options"],
        [(name, text, ", ".join(keys) or "-") for name, text, keys in found],
    )
    print_text("Also: FILE.yaml, a task file of lm-evaluation-harness.")
    single = ", ".join(name for name, of in SUITES.items() if of.single)
    print_text(
        "A guard is a task: common-knowledge, other-instructions, plain-prose, "
        f"{single}, or SUITE/TASK."
    )
