import io
import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from typer.main import get_command

from brulee import progress
from brulee.cli.main import build_app
from brulee.errors import InputError


@dataclass
class Called:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Called]


@pytest.fixture(autouse=True)
def progress_stays_off() -> Iterator[None]:
    yield
    progress.enable(False)


@pytest.fixture(scope="session")
def commands() -> Callable[[list[str]], Any]:
    """The command line, whose options typer takes longer to read than many commands take."""
    return get_command(build_app())


@pytest.fixture
def brulee(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    commands: Callable[[list[str]], Any],
) -> Call:
    """Calls the command line in this process: brulee("run", "x.yaml", stdin="...")."""

    def call(*arguments: object, stdin: str = "") -> Called:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as left:
            commands([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = left.value.code
        return Called(
            code if isinstance(code, int) else 0, plain(captured.out), plain(captured.err)
        )

    return call


def plain(text: str) -> str:
    """Without colours, which typer forces on where a CI service is the terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


class FakeSession:
    """Answers with the last thing that was said, and remembers how it was asked."""

    def __init__(self) -> None:
        self.encoder = types.SimpleNamespace(thoughts=None)
        self.opened: tuple[Any, ...] = ()
        self.asked: list[dict[str, Any]] = []
        self.interrupt_after: int | None = None
        self.longest: int | None = None

    def complete(self, prompts: list[str], **how: Any) -> list[str]:
        self.asked.append(how)
        return [f"<{prompt}>" for prompt in prompts]

    def chat_stream(self, messages: list[dict[str, str]], **how: Any) -> Iterator[str]:
        self.asked.append({"messages": list(messages), **how})
        if self.longest is not None and len(messages[-1]["content"]) > self.longest:
            raise InputError("a text of 9 tokens is too long: this model reads at most 8.")
        for i, word in enumerate(messages[-1]["content"].split()):
            if i == self.interrupt_after:
                raise KeyboardInterrupt
            yield f"{word} "


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    fake = FakeSession()

    def open_session(*where: Any, **options: Any) -> FakeSession:
        fake.opened = (*where, options)
        return fake

    module = types.ModuleType("brulee.inference.session")
    vars(module)["open_session"] = open_session
    monkeypatch.setitem(sys.modules, "brulee.inference.session", module)
    return fake
