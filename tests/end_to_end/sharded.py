"""What each of two processes does in test_sharded_run.py: runs recipes on a base that is sharded.

    sharded.py [--kill STEP] RECIPE...

With `--kill`, the second process kills itself inside the backward pass of that step.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from brulee.cli.main import main as command
from brulee.training.passes import Passes

SEVERAL = Path(__file__).parents[1] / "unit" / "training" / "several.py"


def die_in(step: int) -> None:
    """Kill this process when the gradient of a later layer reaches an earlier one."""
    learned, passes = Passes._learned, [0]

    def dying(self: Passes, *given: Any) -> torch.Tensor:
        passes[0] += 1
        if passes[0] == step:
            layer = next(m for m in self.base.model.modules() if isinstance(m, torch.nn.ModuleList))
            layer[-1].register_full_backward_hook(lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        return learned(self, *given)

    Passes._learned = dying


def main() -> None:
    """Each recipe by the command line, as after torchrun."""
    recipes = sys.argv[1:]
    step = int(recipes.pop(1)) if recipes[0] == "--kill" else 0
    recipes = recipes[1:] if step else recipes
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    several = runpy.run_path(str(SEVERAL))
    several["become"](2, patient=bool(step))
    torch.set_num_threads(1)
    if step and os.environ["RANK"] == "1":
        die_in(step)
    for recipe in recipes:
        sys.argv = ["brulee", "run", recipe, "--quiet"]
        try:
            command()
        except SystemExit as left:
            if left.code:
                raise


if __name__ == "__main__":
    main()
