"""`brulee resume`: continue a stopped run."""

from __future__ import annotations

from brulee import progress
from brulee.cli import options
from brulee.cli.loading import loading_pytorch
from brulee.cli.output import print_run, print_trained


def resume(
    run: options.RunFolder, as_json: options.Json = False, quiet: options.Quiet = False
) -> None:
    """Continue a stopped run from its last checkpoint.

    It ends where the command that started it would have: `run` with the report, `train` with the
    adapter.
    """
    progress.enable(not quiet)
    with loading_pytorch():
        from brulee import pipeline
        from brulee.reporting import results

    folder = pipeline.resume(run)
    finished = print_run if (folder / results.FILE_NAME).is_file() else print_trained
    finished(folder, as_json)
