"""What tests of models have in common."""

import pytest

from brulee.models.fused_trial import FOUND_RIGHT


@pytest.fixture(autouse=True)
def tried_anew() -> None:
    """Every test tries forms itself, as some replace what is tried."""
    FOUND_RIGHT.clear()
