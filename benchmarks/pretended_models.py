"""A pytest plugin for pretend_tests.py: the tests' models are on the simulated GPU.

Most unit tests build a model on the CPU and pass it ids there, so that nothing of theirs would run
on the GPU. With this plugin models that tests build or load are moved there. Lines of the tests
may mix devices, as may libraries that tests call; lines of brulee may not, as without the plugin.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import pytest

_TESTS: Final = str(Path(__file__).parents[1] / "tests")


def in_tests() -> bool:
    """Whether the innermost line outside libraries and these scripts is a test's."""
    import brulee

    ours = str(Path(str(brulee.__file__)).parent)
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith((_TESTS, ours)):
            return bool(name.startswith(_TESTS))
        frame = frame.f_back
    return True  # a thread of autograd's, which takes back what a test's line has computed


def pytest_configure() -> None:
    """Move models and what tests pass to them; comparisons in tests ignore devices."""
    import torch
    from torch.utils._pytree import tree_map
    from transformers import GenerationMixin
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

    import brulee.models.head as head
    import brulee.models.loading as loading

    def there(x: Any) -> Any:
        return x.to("cuda") if isinstance(x, torch.Tensor) else x

    def given_there(call: Any) -> Callable[..., Any]:
        def called(self: Any, *args: Any, **kwargs: Any) -> Any:
            if in_tests() and _device(self) == "cuda":
                args, kwargs = tree_map(there, args), tree_map(there, kwargs)
            return call(self, *args, **kwargs)

        return called

    lose: Any = head.CompletionLoss.__call__

    def lost(self: Any, batch: Any) -> Any:
        return lose(self, batch.to(self.model.device) if in_tests() else batch)

    load: Any = loading.load_base

    def loaded(name: str, dtype: Any, device: Any, *more: Any, **options: Any) -> Any:
        device = torch.device("cuda", 0) if in_tests() and device.type == "cpu" else device
        return load(name, dtype, device, *more, **options)

    make: Any = _BaseAutoModelClass.from_config.__func__

    def made(cls: Any, *args: Any, **kwargs: Any) -> Any:
        model = make(cls, *args, **kwargs)
        return model.to("cuda") if in_tests() and _device(model) == "cpu" else model

    close: Any = torch.testing.assert_close
    for place, name, new in (
        (torch.nn.Module, "__call__", given_there(torch.nn.Module.__call__)),
        (GenerationMixin, "generate", given_there(GenerationMixin.generate)),
        (head.CompletionLoss, "__call__", lost),
        (loading, "load_base", loaded),
        (_BaseAutoModelClass, "from_config", classmethod(made)),
        (torch.testing, "assert_close", functools.partial(close, check_device=False)),
    ):
        setattr(place, name, new)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Generator[None, Any, Any]:
    """Have the models of the fixture `make_model` moved."""
    found: Any = yield
    if fixturedef.argname == "make_model":
        found = _moved(found)
        fixturedef.cached_result = (found, fixturedef.cached_result[1], None)
    return found


def _device(module: Any) -> str | None:
    first = next(module.parameters(), None)
    return None if first is None else str(first.device.type)


def _moved(make: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: make(*args, **kwargs).to("cuda")
