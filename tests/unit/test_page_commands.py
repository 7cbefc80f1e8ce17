"""The pages name commands, options, files and headings that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from brulee.cli.main import build_app

ROOT = Path(__file__).parents[2]
PAGES = [*(ROOT / f"{n}.md" for n in ("README", "CONTRIBUTING", "CHANGELOG"))]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FENCED = re.compile(r"^( *)(`{3,}).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
MODULE = re.compile(r"`((?:[a-z_]+/)*[a-z_0-9]+\.py)`")
BLOCK = re.compile(r"^```(?:sh|bash)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^\$ ")
CALL = re.compile(r"(?:brulee|python -m brulee) (?=[a-z])")


def lines(text: str) -> list[str]:
    """The arguments of each `brulee` line in a page's blocks, continued lines joined."""
    blocks = "\n".join(BLOCK.findall(text)).replace("\\\n", " ")
    stripped = [PROMPT.sub("", line) for line in blocks.splitlines()]
    return [CALL.sub("", line, count=1) for line in stripped if CALL.match(line)]


def parse(line: str) -> None:
    """Parse a line down to its subcommand as `brulee` does, and run nothing of it."""
    words = shlex.split(line, comments=True)
    stop = next((i for i, word in enumerate(words) if re.match(r"[|>;&]", word)), len(words))
    command, rest, parent = get_command(build_app()), words[:stop], None
    while hasattr(command, "commands"):
        parent = command.make_context(command.name, rest, parent=parent)
        name, *rest = [*parent._protected_args, *parent.args]
        assert name in command.commands, f"no command {name!r}"
        command = command.commands[name]
    command.make_context(command.name, rest, parent=parent)


def mistakes(text: str) -> list[str]:
    wrong = []
    for line in lines(text):
        try:
            parse(line)
        except Exception as error:
            wrong.append(f"brulee {line}: {getattr(error, 'message', error)}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_no_command_or_option_that_does_not_exist(page: Path) -> None:
    assert mistakes(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("line", ["runn a.yaml", "run a.yaml --sett a=b", "adapters lst", "run"])
def test_a_line_with_a_mistake_is_found(line: str) -> None:
    assert len(mistakes(f"```\n$ brulee {line}\n```\n")) == 1


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page in links."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    wrong = []
    for file, heading in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / file if file else page
        if not target.exists() or (heading and heading not in anchors(target)):
            wrong.append(f"{file}#{heading}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_to_files_and_headings_that_exist(page: Path) -> None:
    assert broken(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# One `two`\n[a](#one-two) [b](#two) [c](b.md) [d](a.md#one)\n")
    assert broken(page) == ["#two", "b.md#", "a.md#one"]


def test_architecture_names_modules_that_exist() -> None:
    found = {file.relative_to(ROOT).as_posix() for file in ROOT.glob("src/brulee/**/*.py")}
    found |= {file.relative_to(ROOT).as_posix() for file in ROOT.glob("tests/**/*.py")}
    named = MODULE.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert [n for n in named if not any(f"/{file}".endswith(f"/{n}") for file in found)] == []
    assert len(named) > 50
