"""What a manifest says of the packages that decide numbers."""

from __future__ import annotations

from importlib import metadata

import pytest

from brulee.pipeline import origin


def test_versions_are_asked_by_name_and_what_is_missing_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every run asks: all that is installed is not read for it."""
    monkeypatch.setattr(origin, "_PACKAGES", ("torch", "no-such-package"))
    monkeypatch.delattr(metadata, "distributions")
    found = origin.versions()
    assert found.keys() == {"python", "torch"}
    assert found["torch"] == metadata.version("torch")
