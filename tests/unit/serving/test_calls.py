"""A model's tool calls come back as clients of OpenAI read them, whole and streamed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from brulee.inference.generation import Live

Serve = Callable[..., Any]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("weather", "time")
]
NAMED = {"type": "function", "function": {"name": "weather"}}
USER = [{"role": "user", "content": "Rain?"}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"place": "Rome"}}\n</tool_call>'
ROME, NOW = ("weather", {"place": "Rome"}), ("time", dict[str, str]())
TIME = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'


def _tools(**parameters: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]


@pytest.fixture(scope="module")
def of_template(
    served: Serve,
    make_base: Any,
    make_tool_tokenizer: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Any]:
    """`of_template("hermes")`: a server of a model with this chat template, the same to all."""

    @functools.cache
    def folder(template: str) -> str:
        place = tmp_path_factory.mktemp("models") / template
        room = {"vocab_size": 320, "max_position_embeddings": 1024}
        make_base("llama", **room).model.save_pretrained(place)
        make_tool_tokenizer(template).save_pretrained(place)
        return str(place)

    return lambda template: served(model=folder(template))


@pytest.fixture
def ask(of_template: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`ask(text, **more)`: what a server answers whose model writes this text."""

    def asked(said: str, template: str = "hermes", tools: Any = TOOLS, **more: Any) -> Any:
        server = of_template(template)
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
        ("thinks", f"<think>\nHm.\n</think>\n\n{CALL}", None, [ROME]),
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
    assert message.get("reasoning_content") == ("Hm." if template == "thinks" else None)
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
        (
            {"tool_choice": "any"},
            "tool_choice",
            "'any' is not supported here: it is auto, none",
        ),
        ({"tool_choice": {"type": "function"}}, "tool_choice", "is not supported here: it is"),
        ({"tool_choice": NAMED | {"function": {"name": "x"}}}, "tool_choice", "are time, weather"),
        ({"tool_choice": "required", "tools": []}, "tool_choice", "and there are no tools"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls", "valid boolean"),
        (
            {"tools": _tools(properties={"a": {"not": {}}}), "tool_choice": "required"},
            "tools",
            'tools[0].function.parameters.properties.a cannot be enforced: Unimplemented keys: ["n',
        ),
        (
            {"tools": _tools(type="string"), "tool_choice": "required"},
            "tools[0].function.parameters",
            'type must be "object"',
        ),
    ],
)
def test_what_cannot_be_kept_to_is_refused(
    ask: Callable[..., Any], more: dict[str, Any], param: str, told: str
) -> None:
    pytest.importorskip("llguidance")
    answer = ask("a", **more)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert told in answer.json()["error"]["message"]


@pytest.mark.parametrize("template", ["glues", "ignores"])
def test_a_template_without_calls_in_json_keeps_nobody_to_them(
    ask: Callable[..., Any], template: str
) -> None:
    answer = ask("a", template, tool_choice="required")
    assert answer.status_code == 400
    said = {"glues": "a call's name outside of JSON", "ignores": "the descriptions of tools"}
    assert said[template] in answer.json()["error"]["message"]
    param = {"glues": "tools", "ignores": "messages"}
    assert answer.json()["error"]["param"] == param[template]


@pytest.fixture
def draw(of_template: Callable[[str], Any]) -> Callable[..., Any]:
    """`draw(template, **more)`: a server's answers whose model writes what comes to its mind."""
    pytest.importorskip("llguidance")

    def drawn(template: str, **more: Any) -> Any:
        body = {"model": "tiny", "messages": USER, "max_tokens": 120, "n": 8, "tools": HELD}
        return of_template(template).post(
            "chat/completions", **body | {"temperature": 1.0, "seed": 0} | more
        )

    return drawn


PLACE = {
    "type": "object",
    "properties": {"place": {"enum": ["Rome", "Oslo"]}},
    "required": ["place"],
    "additionalProperties": False,
}
HELD = [{"type": "function", "function": {"name": "weather", "parameters": PLACE}}, TOOLS[1]]
JSON = {"type": "json_schema", "json_schema": {"schema": {"enum": [1, {"sky": "blue"}]}}}


def _drawn(answer: Any) -> list[Any]:
    """The answers that were not cut, each in JSON or the arguments of its call."""
    assert answer.status_code == 200, answer.text
    found = []
    for choice in answer.json()["choices"]:
        message, finish = choice["message"], choice["finish_reason"]
        if finish == "tool_calls":
            called = [call["function"] for call in message["tool_calls"]]
            assert {call["name"] for call in called} <= {"weather", "time"}
            found += [json.loads(c["arguments"]) for c in called if c["name"] == "weather"]
        elif finish == "stop":
            found.append(json.loads(message["content"]))
    return found


@pytest.mark.parametrize("template", ["hermes", "llama"])
def test_where_a_call_is_due_there_is_one(draw: Callable[..., Any], template: str) -> None:
    places = ({"place": "Rome"}, {"place": "Oslo"})
    found = _drawn(draw(template, tool_choice=NAMED))
    assert len(found) > 3
    assert all(one in places for one in found)


def test_an_answer_is_json_or_calls_a_tool(draw: Callable[..., Any]) -> None:
    found = _drawn(draw("hermes", response_format=JSON, parallel_tool_calls=False))
    allowed = [1, {"sky": "blue"}, {"place": "Rome"}, {"place": "Oslo"}]
    assert all(one in allowed for one in found)
    assert any(one in allowed[:2] for one in found)


def test_a_strict_tool_is_called_as_its_schema_says_or_not_at_all(ask: Callable[..., Any]) -> None:
    pytest.importorskip("llguidance")
    strict = [{"type": "function", "function": {**HELD[0]["function"], "strict": True}}]
    assert _whole(ask(f"I look.\n{CALL}", tools=strict))["finish_reason"] == "tool_calls"
    assert _whole(ask("I look.", tools=strict))["message"]["content"] == "I look."
    answer = ask(CALL.replace("Rome", "Paris"), tools=strict)
    assert answer.status_code == 400  # a model whose logits are looked at never comes there
    assert "cannot go on as its schema has it" in answer.text
