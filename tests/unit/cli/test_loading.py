import gc

import pytest

from brulee.cli.loading import loading_pytorch


def _failed() -> None:
    with loading_pytorch():
        assert not gc.isenabled()
        raise ImportError


@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_is_not_looked_for_and_then_as_before(collecting: bool) -> None:
    try:
        if not collecting:
            gc.disable()
        with pytest.raises(ImportError):
            _failed()
        assert gc.isenabled() == collecting
    finally:
        gc.enable()
