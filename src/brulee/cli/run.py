"""`brulee run`: the whole pipeline from recipe to report."""

from __future__ import annotations

from brulee import progress
from brulee.cli import options
from brulee.cli.loading import loading_pytorch
from brulee.cli.output import print_run


def run(
    recipe: options.RecipeFile,
    overrides: options.Overrides = None,
    folder: options.Folder = None,
    fresh: options.Fresh = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run a recipe: baseline, training, evaluation, report.

    Reads the rows, scores the base model, tunes it, scores it again and writes report.html.
    """
    from brulee.recipe import load_recipe

    # Before torch is imported, so that a mistyped key fails at once.
    spec = load_recipe(recipe, overrides or ())
    progress.enable(not quiet)
    with loading_pytorch():
        from brulee import pipeline

    print_run(pipeline.run(spec, folder=folder, fresh=fresh), as_json)
