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
    origin._version.cache_clear()
    found = origin.versions()
    assert found.keys() == {"python", "torch"}
    assert found["torch"] == metadata.version("torch")


def test_a_manifest_keeps_no_password_of_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep's final runs are started by the command that names its storage."""
    given = ["sweep", "r.yaml", "--storage", "postgresql://me:s3cret@host/db", "--seeds", "2"]
    monkeypatch.setattr("sys.argv", ["brulee", *given])
    kept = origin.origin("run")["arguments"]
    assert kept == [*given[:3], "postgresql://me:***@host/db", *given[4:]]
