"""What may still be taken where a container has less than the machine."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from brulee.training import free


def group(folder: Path, names: tuple[str, str], bound: str, used: int, cache: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{bound}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{cache} 30\n")


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
V2 = ("memory.max", "memory.current")


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(free, "_OWN", tmp_path / "own")
    monkeypatch.setattr(free, "_MOUNTED", tmp_path / "mounted")
    return tmp_path / "mounted"


def test_a_container_has_what_its_bound_leaves(mounted: Path) -> None:
    (mounted.parent / "own").write_text("0::/\n")
    group(mounted, V2, "1000", 400, "inactive_file")
    assert free.free_bytes() == 630


def test_a_group_around_may_leave_less(mounted: Path) -> None:
    (mounted.parent / "own").write_text("0::/slice/job\n")
    group(mounted / "slice/job", V2, "max", 400, "inactive_file")
    group(mounted / "slice", V2, "500", 490, "inactive_file")
    assert free.free_bytes() == 40


def test_the_first_version_is_read_too(mounted: Path) -> None:
    (mounted.parent / "own").write_text("3:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n")
    # The path is that of the machine outside; what is mounted is the container's own.
    group(mounted / "memory", V1, "1000", 400, "total_inactive_file")
    assert free.free_bytes() == 630
    group(mounted / "memory", V1, "1000", 2000, "total_inactive_file")
    assert free.free_bytes() == 0


@pytest.mark.parametrize("own", [None, "", "0::/\n", "4:memory:/elsewhere\n"])
def test_without_a_bound_it_is_the_machine(
    mounted: Path, own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if own is not None:
        (mounted.parent / "own").write_text(own)
    group(mounted, V2, "max", 400, "inactive_file")
    available = psutil.virtual_memory()._replace(available=12_345)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: available)
    assert free.free_bytes() == 12_345
