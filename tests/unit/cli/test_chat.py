import json
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from brulee.errors import unknown


def said(session) -> list[list[tuple[str, str]]]:
    return [[(m["role"], m["content"]) for m in asked["messages"]] for asked in session.asked]


def test_pipe_gives_one_answer_per_line_and_remembers(brulee, session) -> None:
    done = brulee("chat", "bundled", stdin="hello there\n\nbye\n")
    assert (done.code, done.out) == (0, "hello there \nbye \n")
    assert said(session)[1] == [
        ("user", "hello there"),
        ("assistant", "hello there "),
        ("user", "bye"),
    ]


def test_reset_forgets_the_turns_but_not_the_system_message(brulee, session) -> None:
    brulee("chat", "bundled", stdin="/system be kind\na\n/reset\nb\n")
    assert said(session) == [
        [("system", "be kind"), ("user", "a")],
        [("system", "be kind"), ("user", "b")],
    ]


def test_system_without_text_takes_it_back(brulee, session) -> None:
    brulee("chat", "bundled", stdin="/system be kind\n/system\na\n")
    assert said(session) == [[("user", "a")]]


def test_exit_leaves_before_the_rest_is_read(brulee, session) -> None:
    assert brulee("chat", "bundled", stdin="/exit\nhello\n").code == 0
    assert session.asked == []


def test_unknown_slash_command_is_not_sent_to_the_model(brulee, session) -> None:
    done = brulee("chat", "bundled", stdin="/rest\n")
    assert "unknown command /rest" in done.err
    assert session.asked == []


def test_interrupted_answer_stays_in_the_conversation(brulee, session) -> None:
    session.interrupt_after = 1
    done = brulee("chat", "bundled", stdin="one two\nnext\n")
    assert done.code == 0
    assert "(stopped)" in done.err
    assert said(session)[1][1] == ("assistant", "one ")


def test_a_line_that_is_too_long_ends_no_conversation_of_a_person(
    brulee, session, monkeypatch
) -> None:
    session.longest = 5
    done = brulee("chat", "bundled", stdin="one\nfar too long\ntwo\n")
    assert (done.code, len(session.asked)) == (2, 2)
    assert "this model reads at most 8" in done.err

    session.asked.clear()
    lines = iter(["one", "far too long", "two", "/exit"])
    monkeypatch.setattr("brulee.cli.chat._is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    done = brulee("chat", "bundled")
    assert done.code == 0
    assert "this model reads at most 8. /system TEXT" in done.err
    said = [message["content"] for message in session.asked[-1]["messages"]]
    assert said == ["one", "one ", "two"]


def test_json_gives_one_line_per_answer(brulee, session) -> None:
    done = brulee("chat", "bundled", "--json", stdin="a b\nc\n")
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert answers == [
        {"role": "assistant", "content": "a b "},
        {"role": "assistant", "content": "c "},
    ]


def test_sampling_options_reach_the_session(brulee, session) -> None:
    brulee("chat", "bundled", "--temperature", 0.7, "--seed", 5, stdin="a\n")
    assert (session.asked[0]["temperature"], session.asked[0]["seed"]) == (0.7, 5)


@pytest.mark.parametrize("person", [True, False])
def test_a_person_sees_what_is_thought(brulee, session, monkeypatch, person: bool) -> None:
    def chat_stream(messages, think, **_) -> Iterator[str]:
        think("He ")
        think("asks.")
        yield "It is."

    monkeypatch.setattr(session, "chat_stream", chat_stream)
    lines = iter(["one", "/exit"])
    monkeypatch.setattr("brulee.cli.chat._is_terminal", lambda: person)
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    shown = "He asks.\n\nIt is.\n" if person else "It is.\n"
    assert brulee("chat", "bundled", stdin="one\n").out == shown


class FakeHeld:
    """Adapters a and b, whose session remembers whom it was."""

    def __init__(self, session) -> None:
        self.inner = session
        self.who: list[str | None] = []
        self.loaded: dict[str, Any] = {}

    def load(self, targets, **how) -> "FakeHeld":
        self.loaded = {"targets": targets, **how}
        return self

    def session(self, name: str | None) -> Any:
        if name not in (None, "a", "b"):
            raise unknown("adapter", str(name), ["a", "b"])

        def chat_stream(messages, **how):
            self.who.append(name)
            return self.inner.chat_stream(messages, **how)

        return types.SimpleNamespace(chat_stream=chat_stream)


@pytest.fixture
def held(session, monkeypatch) -> FakeHeld:
    fake = FakeHeld(session)
    module = types.ModuleType("brulee.inference.adapters")
    module.open_adapters = fake.load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return fake


WITH_TWO = ["chat", "bundled", "--adapter", "a=runs/a", "--adapter", "b=runs/b"]


def test_a_conversation_goes_on_with_another_adapter(brulee, held, session) -> None:
    asked = "one\n/adapter b\ntwo\n/adapter a\nthree\n/adapter\nfour\n"
    done = brulee(*WITH_TWO, "--json", "--precision", "float32", stdin=asked)
    assert held.loaded["targets"] == {"a": "runs/a", "b": "runs/b"}
    assert (held.loaded["base"], held.loaded["precision"]) == ("bundled", "float32")
    assert held.who == [None, "b", "a", None]
    assert [json.loads(line)["adapter"] for line in done.out.splitlines()] == held.who
    assert [text for _, text in said(session)[3]][::2] == ["one", "two", "three", "four"]


def test_an_adapter_that_is_not_held_changes_nothing(brulee, held, monkeypatch) -> None:
    done = brulee(*WITH_TWO, stdin="/adapter c\none\n")
    assert (done.code, held.who) == (2, [])
    assert "unknown adapter 'c'" in done.err

    prompts: list[str] = []
    lines = iter(["/adapter b", "/adapter c", "one", "/exit"])
    monkeypatch.setattr("brulee.cli.chat._is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: prompts.append(prompt) or next(lines))
    done = brulee(*WITH_TWO)
    assert (done.code, held.who) == (0, ["b"])
    assert prompts == ["> ", "b> ", "b> ", "b> "]
    assert "/adapter NAME switches to one of a, b, /adapter to the base;" in done.err


def test_one_model_knows_no_adapters(brulee, session) -> None:
    assert "unknown command /adapter" in brulee("chat", "bundled", stdin="/adapter b\n").err
    done = brulee(*WITH_TWO, "--base", "other", stdin="")
    assert "with --adapter, TARGET is the base; leave --base out." in done.err
