"""Instruction fine-tuning that tells you what you gained, what it cost, what the model forgot."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brulee.errors import BruleeError, InputError, StoppedError
    from brulee.inference.adapters import load_adapters
    from brulee.inference.session import open_session as load
    from brulee.pipeline import resume, run, train
    from brulee.pipeline.evaluation import evaluate
    from brulee.recipe import Recipe, load_recipe, recipe_from_dict

__version__ = "0.1.0"
__all__ = [
    "BruleeError",
    "InputError",
    "Recipe",
    "StoppedError",
    "__version__",
    "evaluate",
    "load",
    "load_adapters",
    "load_recipe",
    "recipe_from_dict",
    "resume",
    "run",
    "train",
]

# Looked up on first use, so that `import brulee` and `brulee --help` never wait for torch.
_LAZY = {
    "BruleeError": ("brulee.errors", "BruleeError"),
    "InputError": ("brulee.errors", "InputError"),
    "Recipe": ("brulee.recipe", "Recipe"),
    "StoppedError": ("brulee.errors", "StoppedError"),
    "evaluate": ("brulee.pipeline.evaluation", "evaluate"),
    "load": ("brulee.inference.session", "open_session"),
    "load_adapters": ("brulee.inference.adapters", "load_adapters"),
    "load_recipe": ("brulee.recipe", "load_recipe"),
    "recipe_from_dict": ("brulee.recipe", "recipe_from_dict"),
    "resume": ("brulee.pipeline", "resume"),
    "run": ("brulee.pipeline", "run"),
    "train": ("brulee.pipeline", "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'brulee' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
