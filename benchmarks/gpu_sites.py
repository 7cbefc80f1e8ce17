"""Install carried wheels on a machine without a network that has everything else.

    WHEELS/all/*.whl    for every side          WHEELS/trl/*.whl    WHEELS/unsloth/*.whl

Each folder of wheels is installed into a separate target folder, not into a virtual environment,
which some images cannot create. A peer's Python is a script that puts its folder and `all` before
the machine's own packages.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

SIDES = ("trl", "unsloth")


def install(wheels: Path, into: Path) -> dict[str, str]:
    """The Python of each side that has wheels; `all` also goes before our own packages.

    Raises SystemExit if a folder of wheels cannot be installed.
    """
    common = _installed(wheels / "all", into / "all")
    here = [*common, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(here)
    found = {}
    for side in SIDES:
        own = _installed(wheels / side, into / side)
        if own:
            found[side] = str(_python(into / f"{side}-python", [*own, *common]))
    return found


def _installed(wheels: Path, folder: Path) -> list[str]:
    """The folder that these wheels were installed into; empty if there are no wheels."""
    files = sorted(map(str, wheels.glob("*.whl")))
    if not files:
        return []
    if not folder.is_dir():
        quiet = ["-q", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir"]
        command = [sys.executable, "-m", "pip", "install", *quiet, "--target", str(folder), *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{wheels}: pip cannot install what is there:\n{done.stderr[-2000:]}")
    return [str(folder)]


def _python(file: Path, folders: list[str]) -> Path:
    path = shlex.quote(os.pathsep.join(folders))
    file.write_text(
        f'#!/bin/sh\nPYTHONPATH={path} exec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8"
    )
    file.chmod(0o755)
    return file
