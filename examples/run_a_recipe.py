"""Run a recipe from Python and read what it found.

    python examples/run_a_recipe.py recipes/support-chat.yaml train.max_steps=2 evaluate.limit=4

Everything the command line does is a plain function; this is `brulee run RECIPE --set ...`.
"""

from __future__ import annotations

import sys

import brulee


def main() -> None:
    """Run the recipe of the first argument with the changes of the others, print its scores."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    recipe = brulee.load_recipe(sys.argv[1], sys.argv[2:])
    run = brulee.run(recipe)
    print(run.verdict)
    for row in run.results.comparisons:
        print(
            f"{row.metric:8} {row.base:.3f} -> {row.tuned:.3f} "
            f"(95% interval of the difference {row.low:+.3f} to {row.high:+.3f})"
        )
    print("cost:", run.results.cost.model_dump_json())


if __name__ == "__main__":
    main()
