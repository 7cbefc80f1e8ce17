"""What tests of models have in common."""

from collections.abc import Iterator

import pytest

from brulee.models.fused_trial import FOUND_RIGHT


@pytest.fixture(autouse=True)
def tried_anew(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that may replace what is tried tries forms itself, and leaves none to the others."""
    if "monkeypatch" not in request.fixturenames:
        yield
        return
    kept = set(FOUND_RIGHT)
    FOUND_RIGHT.clear()
    yield
    FOUND_RIGHT.clear()
    FOUND_RIGHT.update(kept)
