import inspect
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import brulee as package
from brulee.cli.main import COMMANDS, GROUPS
from brulee.cli.noise import hush

LEAVES = [*COMMANDS, *(f"{group} {name}" for group, found in GROUPS.items() for name in found)]


def test_mistyped_command_names_the_nearest(brulee) -> None:
    done = brulee("rnu")
    assert done.code == 2
    assert "No such command 'rnu'. Did you mean 'run'?" in done.err


def test_mistyped_option_names_the_nearest(brulee) -> None:
    done = brulee("run", "x.yaml", "--fersh")
    assert done.code == 2
    assert "--fresh" in done.err


@pytest.mark.parametrize("command", LEAVES)
def test_every_command_has_json_and_help(brulee, command: str) -> None:
    done = brulee(*command.split(), "--help")
    assert done.code == 0
    assert "--json" in done.out
    assert not re.search(r"list\[|\[\[|<(str|path|int|float)( range)?>|\{[A-Z]", done.out)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_lies_in_the_module_of_its_name(name: str) -> None:
    assert inspect.unwrap(COMMANDS[name]).__module__ == f"brulee.cli.{name}"


@pytest.mark.parametrize("group", ["", *GROUPS])
def test_a_list_of_commands_cuts_no_summary(brulee, group: str) -> None:
    _, listed = brulee(*group.split(), "--help").out.split("Commands:")
    assert "..." not in listed


def test_version_is_the_packages(brulee) -> None:
    assert brulee("--version").out == f"brulee {package.__version__}\n"


def test_bare_command_shows_the_help(brulee) -> None:
    done = brulee()
    assert "Commands" in done.out + done.err


def test_schema_prints_the_recipes_json_schema(brulee) -> None:
    assert "data" in brulee("schema").json["properties"]


def test_library_noise_is_off_unless_the_user_chose_it(monkeypatch) -> None:
    monkeypatch.setattr(os, "environ", {"TRANSFORMERS_VERBOSITY": "debug"})
    hush()
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "debug"
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"


def test_front_door_offers_its_names_lazily() -> None:
    from brulee.recipe import load_recipe

    assert package.load_recipe is load_recipe
    assert {"run", "train", "load", "load_recipe"} <= set(dir(package))
    with pytest.raises(AttributeError, match="'brulee' has no attribute 'rnu'"):
        _ = package.rnu


@pytest.mark.skipif(
    sys.platform != "linux", reason="the OpenMP library of Linux tells its settings"
)
@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ({}, "GOMP_SPINCOUNT = '10000'"),
        ({"OMP_WAIT_POLICY": "active"}, "OMP_WAIT_POLICY = 'ACTIVE'"),
        ({"GOMP_SPINCOUNT": "77"}, "GOMP_SPINCOUNT = '77'"),
    ],
)
def test_threads_that_wait_sleep_unless_told_otherwise(said: dict[str, str], heard: str) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    # What main() does before any command, and then the library that PyTorch loads, where it has
    # one of its own, or PyTorch, which takes a while.
    found = find_spec("torch")
    assert found is not None
    own = next(Path(str(found.origin)).parent.glob("lib/libgomp*"), None)
    load = "import torch" if own is None else f"import ctypes\nctypes.CDLL({str(own)!r})"
    script = f"from brulee.cli import main\nmain.hush()\nmain._share_cores()\n{load}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**kept, **said, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert heard in done.stderr
