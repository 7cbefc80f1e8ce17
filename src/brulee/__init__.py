"""Instruction fine-tuning that tells you what you gained, what it cost, what the model forgot."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brulee.inference.session import open_session as load
    from brulee.pipeline import run, train
    from brulee.pipeline.evaluation import evaluate
    from brulee.recipe import load_recipe

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "load", "load_recipe", "run", "train"]

# Looked up on first use, so that `import brulee` and `brulee --help` never wait for torch.
_LAZY = {
    "evaluate": ("brulee.pipeline.evaluation", "evaluate"),
    "load": ("brulee.inference.session", "open_session"),
    "load_recipe": ("brulee.recipe", "load_recipe"),
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
