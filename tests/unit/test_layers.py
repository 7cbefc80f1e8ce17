"""The direction of imports, and what a light command may load."""

import ast
import os
import re
import resource
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "brulee"

# Top to bottom, as docs/architecture.md draws them; each may import its own layer and those below.
LAYERS = [
    "cli",
    "pipeline",
    "serving",
    "reporting",
    "planning",
    "evaluation",
    "inference",
    "training",
    "methods",
    "models",
    "data",
    "recipe",
    "progress",
    "errors",
]
# Modules that are part of a layer under another name; `brulee` itself is the front door for users.
PART_OF = {
    "": "cli",
    "__main__": "cli",
    "yaml_lines": "recipe",
    "printable": "errors",
    "shell": "errors",
    "textfile": "errors",
}
HEAVY = ("torch", "transformers", "datasets", "numpy", "pyarrow", "scipy", "accelerate")


def layer_of(module: str) -> str:
    """`brulee.data.sources` is in `data`."""
    part = module.removeprefix("brulee").removeprefix(".").split(".")[0]
    return PART_OF.get(part, part)


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, package: str) -> set[str]:
    """Every module of ours that a source text imports, inside functions and TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= _from(node, package)
    return {module for module in found if module.split(".")[0] == "brulee"}


def _from(node: ast.ImportFrom, package: str) -> set[str]:
    base = node.module or ""
    if node.level:
        parent = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*parent, base] if base else parent)
    if base != "brulee":
        return {base}
    # `from brulee import progress` is an import of the module; of a name, of the front door.
    return {f"brulee.{a.name}" if is_module(a.name) else "brulee" for a in node.names}


def is_module(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def upward(module: str, imported: set[str]) -> list[str]:
    own = LAYERS.index(layer_of(module))
    return sorted(other for other in imported if LAYERS.index(layer_of(other)) < own)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_module_imports_nothing_above_its_layer(file: Path) -> None:
    module = name_of(file)
    assert layer_of(module) in LAYERS, f"{module} is in no layer; add it to docs/architecture.md"
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    assert upward(module, imports(file.read_text(encoding="utf-8"), package)) == []


def test_no_modules_import_each_other() -> None:
    """Inside functions neither; what types alone need is not loaded."""
    known = {name_of(file): file for file in FILES}
    loads = {name: loaded(name, file, known.keys()) for name, file in known.items()}
    assert cycle(loads) == []


def test_a_cycle_is_found() -> None:
    loads = {"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"e"}, "e": {"b"}}
    assert cycle(loads) == ["b", "d", "e"]
    assert cycle({**loads, "e": set()}) == []


def loaded(name: str, file: Path, known: Collection[str]) -> set[str]:
    """The modules of ours that a module loads when it is imported or called."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    tree = _Loaded().visit(ast.parse(file.read_text(encoding="utf-8")))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= whole & known if whole & known else _from(node, package)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known - {name}


class _Loaded(ast.NodeTransformer):
    """Without what is imported for types alone."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if "TYPE_CHECKING" in ast.unparse(node.test) else node


def cycle(loads: Mapping[str, set[str]]) -> list[str]:
    """The modules that can be reached from themselves; what loads nothing left goes, in turn."""
    left = {name: set(others) for name, others in loads.items()}
    while gone := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in gone}
    while gone := left.keys() - set().union(*left.values()):
        left = {name: others for name, others in left.items() if name not in gone}
    return sorted(left)


@pytest.mark.parametrize("module", ["errors", "progress", "yaml_lines"])
def test_floor_imports_only_the_floor(module: str) -> None:
    found = imports((PACKAGE / f"{module}.py").read_text(encoding="utf-8"), "brulee")
    assert found <= {"brulee.errors", "brulee.progress", "brulee.yaml_lines"}
    if module in {"errors", "progress"}:
        assert found <= {"brulee.errors"}


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("import brulee.cli.main", "brulee.data"),
        ("from brulee.pipeline import run", "brulee.data"),
        ("from brulee import pipeline", "brulee.data"),
        ("from brulee import __version__", "brulee.data"),
        ("def f():\n    from brulee.training.trainer import train", "brulee.data"),
        ("if TYPE_CHECKING:\n    from brulee.models import loading", "brulee.data"),
        ("from ..methods import METHODS", "brulee.data"),
        ("from .. import methods", "brulee.data"),
    ],
)
def test_every_form_of_upward_import_is_caught(text: str, package: str) -> None:
    assert upward("brulee.data.sources", imports(text, package)) != []


def test_downward_import_is_not_caught() -> None:
    text = (
        "from brulee import progress\nfrom brulee.errors import InputError\nfrom .tables import x"
    )
    assert upward("brulee.data.sources", imports(text, "brulee.data")) == []


def test_architecture_page_draws_the_same_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = re.search(r"## Layers.*?```\n(.*?)```", page, re.DOTALL)
    assert picture is not None
    assert [line.split()[0] for line in picture[1].splitlines() if line.strip()] == LAYERS


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True
    )


def imported_by(*arguments: str) -> set[str]:
    """The top-level packages an interpreter loads, as -X importtime writes them."""
    lines = python("-X", "importtime", *arguments).stderr.splitlines()
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines if "|" in line}


@pytest.mark.parametrize(
    "arguments",
    [("-c", "import brulee"), ("-m", "brulee", "--help"), ("-m", "brulee", "run", "--help")],
    ids=["import", "help", "run-help"],
)
def test_light_use_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    loaded = imported_by(*arguments)
    assert "brulee" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_help_takes_less_than_half_a_second_of_work() -> None:
    # Time on the processor, since the clock on the wall also counts what else the machine does.
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python("-m", "brulee", "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        if seconds[-1] < 0.5:
            break
    assert min(seconds) < 0.5
