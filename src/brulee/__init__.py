"""Instruction fine-tuning that tells you what you gained, what it cost, what the model forgot."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brulee.errors import BruleeError, InputError, StoppedError
    from brulee.inference.adapters import Adapters
    from brulee.inference.session import Session
    from brulee.models.given_model import keep_model
    from brulee.pipeline.calls import evaluate, load, load_adapters, resume, run, sweep, train
    from brulee.pipeline.evaluation import Evaluation
    from brulee.pipeline.result import Run
    from brulee.pipeline.sweeps.result import Sweep
    from brulee.recipe import Recipe, load_recipe, recipe_from_dict

__version__ = "0.1.0"
__all__ = [
    "Adapters",
    "BruleeError",
    "Evaluation",
    "InputError",
    "Recipe",
    "Run",
    "Session",
    "StoppedError",
    "Sweep",
    "__version__",
    "evaluate",
    "keep_model",
    "load",
    "load_adapters",
    "load_recipe",
    "recipe_from_dict",
    "resume",
    "run",
    "sweep",
    "train",
]

# Looked up on first use, so that `import brulee` and `brulee --help` never wait for torch.
_LAZY = {
    "Adapters": ("brulee.inference.adapters", "Adapters"),
    "BruleeError": ("brulee.errors", "BruleeError"),
    "Evaluation": ("brulee.pipeline.evaluation", "Evaluation"),
    "InputError": ("brulee.errors", "InputError"),
    "Recipe": ("brulee.recipe", "Recipe"),
    "Run": ("brulee.pipeline.result", "Run"),
    "Session": ("brulee.inference.session", "Session"),
    "StoppedError": ("brulee.errors", "StoppedError"),
    "Sweep": ("brulee.pipeline.sweeps.result", "Sweep"),
    "evaluate": ("brulee.pipeline.calls", "evaluate"),
    "keep_model": ("brulee.models.given_model", "keep_model"),
    "load": ("brulee.pipeline.calls", "load"),
    "load_adapters": ("brulee.pipeline.calls", "load_adapters"),
    "load_recipe": ("brulee.recipe", "load_recipe"),
    "recipe_from_dict": ("brulee.recipe", "recipe_from_dict"),
    "resume": ("brulee.pipeline.calls", "resume"),
    "run": ("brulee.pipeline.calls", "run"),
    "sweep": ("brulee.pipeline.calls", "sweep"),
    "train": ("brulee.pipeline.calls", "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'brulee' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    with warnings.catch_warnings():
        # In a notebook tqdm, which other libraries import, asks for widgets that nothing here uses.
        warnings.filterwarnings("ignore", "IProgress not found")
        return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
