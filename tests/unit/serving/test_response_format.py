"""Answers that have to be JSON, by HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from brulee.inference.json_form import Walk

pytest.importorskip("llguidance")

Serve = Callable[..., Any]
TEXT = "Which of these reviews is the most positive?"
SCHEMA = {
    "type": "object",
    "properties": {"stars": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["stars"],
    "additionalProperties": False,
}
BY_SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "review", "strict": True, "schema": SCHEMA},
}


def _stars(text: str) -> bool:
    found = json.loads(text)
    return set(found) == {"stars"} and found["stars"] in range(1, 6)


@pytest.mark.parametrize("more", [{}, {"temperature": 1.0, "seed": 3}])
def test_an_answer_is_valid_by_its_schema_whole_and_streamed(
    served: Serve, more: dict[str, Any]
) -> None:
    server = served("lora", "ia3", "sparse", "prefix")
    for model in ("tiny", "lora", "ia3", "sparse", "prefix"):
        asked = {"max_tokens": 60, "response_format": BY_SCHEMA, **more}
        choice = server.chat(model, TEXT, **asked).json()["choices"][0]
        assert choice["finish_reason"] == "stop"
        assert _stars(choice["message"]["content"])
        streamed = server.chat(model, TEXT, stream=True, **asked).text
        events = [json.loads(e.removeprefix("data: ")) for e in streamed.split("\n\n")[:-2]]
        pieces = [event["choices"][0]["delta"].get("content", "") for event in events]
        assert "".join(pieces) == choice["message"]["content"]
    answer = server.post("completions", model="lora", prompt=[TEXT, "a"], **asked).json()
    assert all(_stars(choice["text"]) for choice in answer["choices"])


def test_it_is_what_generate_writes(served: Serve) -> None:
    server = served("lora")
    key = server.held.names[0]
    expected = server.held.complete([TEXT], [key], max_new_tokens=60, json_schema=SCHEMA)[0]
    assert server.text("lora", TEXT, max_tokens=60, response_format=BY_SCHEMA) == expected


def test_any_object_or_one_by_a_schema_beside_the_type(served: Serve) -> None:
    server = served()
    told = {"type": "json_object"}
    assert server.text("tiny", TEXT, max_tokens=9, response_format=told).startswith("{")
    told |= {"schema": SCHEMA}
    assert _stars(server.text("tiny", TEXT, max_tokens=60, response_format=told))


def test_others_are_answered_beside_it_as_they_are_alone(served: Serve) -> None:
    server = served("lora", "ia3")
    models = ["tiny", "lora", "ia3"] * 3
    alone = [server.text(model, TEXT, max_tokens=25) for model in models[:3]]

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=server.client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            messages = [{"role": "user", "content": TEXT}]
            return await asyncio.gather(
                *(
                    client.post(
                        "/v1/chat/completions",
                        json={"model": model, "messages": messages, "max_tokens": 25 + 35 * held}
                        | ({"response_format": BY_SCHEMA} if held else {}),
                    )
                    for model in models
                    for held in (False, True)
                )
            )

    answers = [a.json()["choices"][0]["message"]["content"] for a in asyncio.run(ask())]
    assert answers[::2] == alone * 3
    assert all(map(_stars, answers[1::2]))


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "json_schema"}, "response_format.json_schema", "is to be"),
    ({"type": "json_schema", "json_schema": {"schema": SCHEMA, "strct": True}},
     "response_format.json_schema.strct", "valid: description, name, schema, strict"),
    ({"type": "json_schema", "json_schema": {"schema": [1]}},
     "response_format.json_schema.schema", "a JSON schema is an object"),
    ({"type": "json_schema", "json_schema": {"schema": {"properties": {"a": {"type": "itn"}}}}},
     "response_format.json_schema.schema", "schema.properties.a cannot be enforced: Invalid type"),
    ({"type": "json_object", "schema": []}, "response_format.schema", "is an object"),
    ({"type": "json_object", "schema": {"enum": ["x" * 70_000]}}, "response_format.schema",
     "at most 65536"),
    ({"type": "json_object", "shema": {}}, "response_format.shema", "unknown key"),
    ("json_object", "response_format.type", "one of"),
]  # fmt: skip


@pytest.mark.parametrize(("told", "param", "said"), WRONG, ids=[said for *_, said in WRONG])
def test_what_cannot_be_held_to_is_a_400_that_names_the_place(
    served: Serve, told: Any, param: str, said: str
) -> None:
    server = served("lora")
    for answer in (
        server.chat("lora", TEXT, response_format=told),
        server.post("completions", model="lora", prompt="a", response_format=told, stream=True),
    ):
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert error["param"] == param
        assert said in error["message"]
    assert server.serving.store.versions[0].pins == 0


def test_without_tools_that_may_be_called_an_answer_is_json(served: Serve) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    told = {"tools": tools, "tool_choice": "none", "max_tokens": 60}
    assert _stars(served().text("tiny", TEXT, response_format=BY_SCHEMA, **told))


def test_an_answer_that_cannot_go_on_is_told_to_its_client_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    plain = server.text("tiny", TEXT, max_tokens=12)
    hide = Walk.hide

    def stuck(self: Walk, *given: Any) -> None:
        hide(self, *given)
        self.problem = "the grammar is too large"

    monkeypatch.setattr(Walk, "hide", stuck)
    answer = server.chat("tiny", TEXT, response_format=BY_SCHEMA)
    assert answer.status_code == 400
    assert "cannot go on as its schema has it: the grammar is too large" in answer.text
    assert answer.json()["error"]["param"] == "response_format.json_schema.schema"
    assert server.text("tiny", TEXT, max_tokens=12) == plain


def test_a_format_of_text_changes_nothing(served: Serve) -> None:
    server = served("lora")
    for asked in (None, {"type": "text"}):
        assert server.text("lora", TEXT, max_tokens=9, response_format=asked) == server.text(
            "lora", TEXT, max_tokens=9
        )
