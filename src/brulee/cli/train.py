"""`brulee train`: the line up to the adapter."""

from __future__ import annotations

from brulee import progress
from brulee.cli import options
from brulee.cli.output import print_trained


def train(
    recipe: options.RecipeFile,
    overrides: options.Overrides = None,
    folder: options.Folder = None,
    fresh: options.Fresh = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Tune the model and stop there: no scores, no report."""
    from brulee.recipe import load_recipe

    # Read before torch is imported, so that a mistyped key costs no wait.
    spec = load_recipe(recipe, overrides or ())
    from brulee import pipeline

    progress.enable(not quiet)
    print_trained(pipeline.train(spec, folder=folder, fresh=fresh), as_json)
