"""Tool calls in what a model writes are found as its template writes them, and nothing else is."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from brulee.data.encoding import Encoder
from brulee.data.messages import CALLS, as_json
from brulee.data.written_calls import WrittenCalls

TAGGED = WrittenCalls("<tool_call>", "</tool_call>")
BARE = WrittenCalls("", "")
NAMES = frozenset({"weather", "time"})
ROME = {"name": "weather", "arguments": {"place": "Rome"}}
NOW = {"name": "time", "arguments": {}}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("hermes", TAGGED), ("thinks", TAGGED), ("llama", BARE), ("mistral", BARE),
        ("glues", None), ("ignores", None),
    ],
)  # fmt: skip
def test_a_form_is_what_the_template_writes_round_a_call(
    make_tool_tokenizer: Callable[[str], Any], name: str, form: WrittenCalls | None
) -> None:
    encoder = Encoder(make_tool_tokenizer(name))
    assert encoder.written_calls == form
    assert Encoder(make_tool_tokenizer(name), chat_template="none").written_calls is None
    if form is None:
        return
    called = {"type": "function", "id": "123456789", "function": NOW | ROME}
    chat = [{"role": "user", "content": "Rain?"}]
    answer = {"role": "assistant", "content": "", CALLS: as_json([called])}
    text = encoder.decode(encoder._ids.of([encoder._framing.added(chat, answer)], ()))
    before, calls = form.read(text, NAMES)
    assert calls == [ROME]
    assert before.strip() in ("", "<think>\n\n</think>")


@pytest.mark.parametrize(
    ("form", "text", "before", "calls"),
    [
        (TAGGED, f"<tool_call>\n{as_json(ROME)}\n</tool_call>", "", [ROME]),
        (TAGGED, f"I look.\n<tool_call>{as_json(ROME)}</tool_call>\n", "I look.", [ROME]),
        (
            TAGGED,
            f"<tool_call>{as_json(ROME)}</tool_call> <tool_call>{as_json(NOW)}</tool_call>",
            "",
            [ROME, NOW],
        ),
        (TAGGED, f"<tool_call>\n{as_json([ROME, NOW])}", "", [ROME, NOW]),
        (BARE, f" {as_json(ROME)} ", "", [ROME]),
        (BARE, as_json([ROME, {**NOW, "id": "abc"}]), "", [ROME, NOW]),
        (BARE, f"{as_json(ROME)}; {as_json(NOW)}", "", [ROME, NOW]),
        (BARE, '{"name": "weather", "parameters": {"place": null}}', "", [
            {"name": "weather", "arguments": {"place": None}}]),
        (BARE, '{"name": "weather", "arguments": "{\\"place\\": \\"Rome\\"}"}', "", [ROME]),
    ],
)  # fmt: skip
def test_calls_are_read(
    form: WrittenCalls, text: str, before: str, calls: list[dict[str, Any]]
) -> None:
    assert form.read(text, NAMES) == (before, calls)


@pytest.mark.parametrize(
    "json",
    [
        '{"name": "weather", "arguments": {"place": "Rome"}',
        '{"name": "weather", "arguments": {"place": "Rome", "place": "Paris"}}',
        '{"name": "weather", "arguments": {"place": NaN}}',
        '{"name": "weather", "arguments": "Rome"}',
        '{"name": "weather"}',
        '{"name": "weather", "arguments": {}, "parameters": {}}',
        '{"name": "weather", "arguments": {}, "because": "it rains"}',
        '{"name": "nobody", "arguments": {}}',
        '{"name": 3, "arguments": {}}',
        f"[{as_json(ROME)}, 3]",
        f"{as_json(ROME)} and more",
        "[]",
        "{}",
        "[" * 100_000,
        "",
        "not JSON",
    ],
)
def test_what_is_no_call_stays_the_text_that_it_is(json: str) -> None:
    for form, text in ((BARE, json), (TAGGED, f"a <tool_call>{json}</tool_call>")):
        assert form.read(text, NAMES) == (text, [])


def test_nothing_of_a_call_is_safe_to_show_while_it_is_written() -> None:
    draw = random.Random(0)
    texts = [
        f"I look.\n\n<tool_call>{as_json(ROME)}</tool_call>", "a < b", "<tool", "<tool_call", "",
        "a <tool_call>", as_json(ROME), f"  {as_json([ROME])}", "[1, 2]", "It is <b>late</b>.",
    ]  # fmt: skip
    for text in texts:
        for form in (TAGGED, BARE):
            said, calls = form.read(text, NAMES)
            for _ in range(20):
                cut = draw.randrange(len(text) + 1)
                assert said.startswith(text[: form.safe(text[:cut])]), (text, cut)
            assert not calls or form.safe(text) <= len(said)
    assert TAGGED.safe("It is <b>late</b>.") == 18
    assert BARE.safe("It is [late].") == 13
