"""`brulee bench train`: time a recipe's training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.loading import loading_pytorch
from brulee.cli.output import print_json, print_table, print_text

if TYPE_CHECKING:
    from brulee.training.bench import TrainingSpeed


# Turns off what needs validation rows, of which the benchmark has none, and what keeps records.
_OFF = (
    "train.keep_best=false",
    "train.patience=null",
    "train.generate_every=null",
    "train.trackers=[]",
)


def train(
    recipe: options.RecipeFile,
    overrides: options.Overrides = None,
    steps: Annotated[int, typer.Option(min=1, help="Number of steps to time.")] = 5,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Time a few training steps of a recipe; writes nothing.

    Reports speed, memory and the distance from the machine's limit. The first step is warm-up and
    does not count towards the speed.
    """
    from brulee.recipe import load_recipe

    timed = [f"train.max_steps={steps}", "data.split.validation=0", *_OFF]
    spec = load_recipe(recipe, [*timed, *(overrides or ())])
    progress.enable(not quiet)
    with loading_pytorch():
        from brulee.pipeline.tryouts import bench_training

    found = bench_training(spec)
    if as_json:
        print_json(found.summary())
    else:
        _print(found)


def _print(found: TrainingSpeed) -> None:
    columns = zip(found.seconds, found.tokens, found.losses, found.grad_norms, strict=True)
    print_table(
        ("step", "seconds", "tokens", "loss", "gradient norm"),
        (
            (str(at), f"{seconds:.2f}", str(tokens), f"{loss:.4f}", f"{norm:.3f}")
            for at, (seconds, tokens, loss, norm) in enumerate(columns, 1)
        ),
    )
    print(f"{found.tokens_per_second:,.0f} tokens/s, peak {found.peak_memory_bytes / 1e9:.2f} GB")
    print_text(f"norms, gates, attention's weights and the loss computed by {found.loops}")
    for dtype, rate in found.rates.items():
        share = found.share(dtype)
        print_text(
            f"{share:.0%} of this machine's own {dtype} products ({rate / 1e9:,.0f} GFLOP/s)"
        )
