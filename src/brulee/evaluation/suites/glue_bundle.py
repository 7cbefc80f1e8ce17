"""The eleven TSV files of a submission to the GLUE leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from brulee.errors import InputError
from brulee.evaluation.suites.glue_table import ENTRIES, Entry
from brulee.evaluation.tasks import Answered, Example


def glue_bundle(answered: Mapping[str, Answered]) -> dict[str, str]:
    """File name to content, with a header and a line per test row, in the leaderboard's labels.

    A generated answer that is not a label becomes the first label, because the leaderboard accepts
    only labels. Raises InputError if a task's number of answers differs from the test set's rows.
    """
    check_rows({task: found.examples for task, found in answered.items()})
    files = {}
    for task, found in answered.items():
        entry = ENTRIES[task.removeprefix("glue/")]
        lines = [
            f"{example.about['index']}\t{_shown(entry, judged.output)}\n"
            for example, judged in zip(found.examples, found.judged, strict=True)
        ]
        files[f"{entry.file}.tsv"] = "".join(["index\tprediction\n", *lines])
    return files


def check_rows(examples: Mapping[str, Sequence[Example]]) -> None:
    """Raise InputError if a task's number of items differs from the test set's rows."""
    for task, found in examples.items():
        entry = ENTRIES[task.removeprefix("glue/")]
        if len(found) not in entry.rows:
            raise InputError(
                f"{entry.file}.tsv: {len(found)} predictions, but the leaderboard takes "
                f"{' or '.join(map(str, entry.rows))}; run the test split: --set split=test."
            )


def _shown(entry: Entry, output: str) -> str:
    if not entry.labels:
        return f"{min(5.0, max(0.0, float(output))):.3f}"
    return output if output in entry.labels else entry.labels[0]
