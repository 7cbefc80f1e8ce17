"""`brulee schema`: the recipe's JSON schema."""

from __future__ import annotations

from brulee.cli import options
from brulee.cli.output import print_json


def schema(_as_json: options.Json = True) -> None:
    """Print the JSON schema of a recipe.

    Editors use it to complete and check YAML.
    """
    from brulee.recipe import json_schema

    print_json(json_schema())
