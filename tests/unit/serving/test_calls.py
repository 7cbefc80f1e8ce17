"""A model's tool calls come back as clients of OpenAI read them, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from brulee.inference.generation import Live

Serve = Callable[..., Any]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("weather", "time")
]
USER = [{"role": "user", "content": "Rain?"}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"place": "Rome"}}\n</tool_call>'
ROME, NOW = ("weather", {"place": "Rome"}), ("time", dict[str, str]())
TIME = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'


@pytest.fixture
def ask(
    serve: Serve,
    make_base: Any,
    make_tool_tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    """`ask(text, **more)`: what a server answers whose model writes this text."""
    made: dict[str, Any] = {}

    def asked(said: str, template: str = "hermes", tools: Any = TOOLS, **more: Any) -> Any:
        if template not in made:
            folder = tmp_path / template
            make_base("llama", vocab_size=320).model.save_pretrained(folder)
            make_tool_tokenizer(template).save_pretrained(folder)
            made[template] = serve(model=str(folder))
        server = made[template]
        tokenizer = server.held.base.tokenizer
        script = [*tokenizer(said, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

        def chosen(live: Sequence[Live], *_: Any) -> list[int]:
            return [script[len(row.ids)] for row in live]

        monkeypatch.setattr("brulee.inference.generation._chosen", chosen)
        body = {"model": "tiny", "messages": USER, "max_tokens": len(script) + 5, **more}
        return server.post(
            "chat/completions", **body, **({} if tools is None else {"tools": tools})
        )

    return asked


def _whole(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


def _streamed(answer: Any) -> tuple[str, list[Any], str]:
    """The text of a stream, its calls, and why it ended."""
    assert answer.status_code == 200, answer.text
    events = [e.removeprefix("data: ") for e in answer.text.split("\n\n") if e]
    assert events[-1] == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in events[:-1]]
    text = "".join(c["delta"].get("content", "") for c in choices)
    calls = [call for c in choices for call in c["delta"].get("tool_calls", [])]
    return text, calls, choices[-1]["finish_reason"]


@pytest.mark.parametrize(
    ("template", "said", "content", "called"),
    [
        ("hermes", CALL, None, [ROME]),
        ("hermes", f"I look.\n{CALL}\n{TIME}", "I look.", [ROME, NOW]),
        ("thinks", f"<think>\nHm.\n</think>\n\n{CALL}", "<think>\nHm.\n</think>", [ROME]),
        ("llama", '{"name": "weather", "parameters": {"place": "Rome"}}', None, [ROME]),
        (
            "mistral",
            '[TOOL_CALLS] [{"name": "weather", "arguments": {"place": "Rome"}, "id": "123456789"}]',
            None,
            [ROME],
        ),
    ],
)
def test_calls_come_back_as_calls_and_can_be_answered(
    ask: Callable[..., Any], template: str, said: str, content: Any, called: list[Any]
) -> None:
    choice = _whole(ask(said, template))
    message = choice["message"]
    assert choice["finish_reason"] == "tool_calls"
    assert message["content"] == content
    calls = message["tool_calls"]
    assert [
        (c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls
    ] == called
    assert {c["type"] for c in calls} == {"function"}
    assert len({c["id"] for c in calls}) == len(calls)
    text, streamed, finish = _streamed(ask(said, template, stream=True))
    assert text == (content or "")
    assert finish == "tool_calls"
    assert [c["index"] for c in streamed] == list(range(len(calls)))
    assert [c["function"] for c in streamed] == [c["function"] for c in calls]
    # What clients send back with what the tools gave.
    results = [{"role": "tool", "tool_call_id": c["id"], "content": "1"} for c in calls]
    further = [*USER, message, *results]
    assert _whole(ask("Dry.", template, messages=further))["message"]["content"] == "Dry."


@pytest.mark.parametrize(
    "said", ['<tool_call>\n{"name": "weather", "argu', CALL.replace("weather", "nobody"), "No."]
)
def test_what_is_no_call_is_text(ask: Callable[..., Any], said: str) -> None:
    choice = _whole(ask(said))
    assert choice["message"] == {"role": "assistant", "content": said, "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert _streamed(ask(said, stream=True)) == (said, [], "stop")


def test_without_tools_nothing_is_taken_for_a_call(ask: Callable[..., Any]) -> None:
    prompts = set()
    for more in ({"tools": None}, {"tool_choice": "none"}):
        answer = ask(CALL, **more)
        assert _whole(answer)["message"]["content"] == CALL
        assert _streamed(ask(CALL, stream=True, **more)) == (CALL, [], "stop")
        prompts.add(answer.json()["usage"]["prompt_tokens"])
    assert len(prompts) == 1  # the model is not shown what it may not call
    auto = ask(CALL, tool_choice="auto")
    assert _whole(auto)["finish_reason"] == "tool_calls"
    assert auto.json()["usage"]["prompt_tokens"] > prompts.pop()


def test_an_answer_that_is_cut_says_so_and_shows_what_was_written(ask: Callable[..., Any]) -> None:
    choice = _whole(ask(CALL, max_tokens=20))
    assert choice["finish_reason"] == "length"
    assert "tool_calls" not in choice["message"]
    assert CALL.startswith(choice["message"]["content"])
    assert _streamed(ask(CALL, max_tokens=20, stream=True))[0] == choice["message"]["content"]


def test_where_one_call_is_wanted_there_is_one_in_every_answer(ask: Callable[..., Any]) -> None:
    both = f"{CALL}\n{TIME}"
    assert len(_whole(ask(both))["message"]["tool_calls"]) == 2
    answer = ask(both, parallel_tool_calls=False, n=2).json()["choices"]
    assert [len(choice["message"]["tool_calls"]) for choice in answer] == [1, 1]


@pytest.mark.parametrize(
    ("more", "param", "told"),
    [
        ({"tool_choice": "required"}, "tool_choice", "'required' is not supported here: auto"),
        ({"tool_choice": {"type": "function"}}, "tool_choice", "is not supported here: auto"),
        (
            {"tools": [{"type": "function", "function": {**TOOLS[0]["function"], "strict": True}}]},
            "tools[0].function.strict",
            "arguments are what the model writes",
        ),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls", "valid boolean"),
    ],
)
def test_what_is_not_kept_to_is_refused(
    ask: Callable[..., Any], more: dict[str, Any], param: str, told: str
) -> None:
    answer = ask("a", **more)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert told in answer.json()["error"]["message"]
