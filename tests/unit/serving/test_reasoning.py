"""Answers of reasoning models: what is thought is told apart, whole and streamed."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from brulee.inference.generation import Live

TEMPLATES = runpy.run_path(str(Path(__file__).parents[2] / "reasoning_templates.py"))["TEMPLATES"]
Ask = Callable[..., Any]


@pytest.fixture
def ask(
    serve: Any,
    make_base: Any,
    make_tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Ask:
    """`ask(template, text, **more)`: what a server answers whose model writes this text."""
    made: dict[str, Any] = {}

    def asked(template: str, said: str, status: int = 200, **more: Any) -> Any:
        if template not in made:
            folder = tmp_path / template
            make_base("llama", vocab_size=320).model.save_pretrained(folder)
            tokenizer = make_tokenizer(TEMPLATES[template.split()[0]])
            if template.endswith("unlisted"):
                marks = ("[THINK]", "[/THINK]")
                tokenizer.add_tokens([AddedToken(mark, special=True) for mark in marks])
            if template.endswith("control"):
                more_tokens = ["<|im_start|>", "<|im_end|>", "[THINK]", "[/THINK]"]
                tokenizer.add_special_tokens({"additional_special_tokens": more_tokens})
            tokenizer.save_pretrained(folder)
            made[template] = serve(model=str(folder))
        tokenizer = made[template].held.base.tokenizer
        script = [*tokenizer(said, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

        def chosen(live: Sequence[Live], *_: Any) -> list[int]:
            return [script[len(row.ids)] for row in live]

        monkeypatch.setattr("brulee.inference.generation._chosen", chosen)
        user = [{"role": "user", "content": "Is it late?"}]
        body = {"model": "tiny", "max_tokens": len(script) + 5, "messages": user, **more}
        answer = made[template].post("chat/completions", **body)
        assert answer.status_code == status, answer.text
        return answer

    return asked


def _streamed(answer: Any) -> tuple[list[str], list[str]]:
    """The pieces of the thoughts of a stream, and of its answer."""
    events = [e.removeprefix("data: ") for e in answer.text.split("\n\n") if e]
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    found = ([d.get(key, "") for d in deltas] for key in ("reasoning_content", "content"))
    thoughts, pieces = ([piece for piece in each if piece] for each in found)
    return thoughts, pieces


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("shown", "<think>\nHe asks <b> or so.\n</think>\n\nIt is < late."),
        ("begun", "He asks <b> or so.\n</think>\n\nIt is < late."),
        ("dropped", "He asks <b> or so.\n</think>\n\nIt is < late."),
        ("square", "[THINK]He asks <b> or so.[/THINK]It is < late."),
        ("square control", "[THINK]He asks <b> or so.[/THINK]It is < late."),
        ("square unlisted", "[THINK]He asks <b> or so.[/THINK]It is < late."),
    ],
)
def test_thoughts_are_told_apart_whole_and_streamed(ask: Ask, template: str, said: str) -> None:
    answer = ask(template, said)
    message = answer.json()["choices"][0]["message"]
    assert message["reasoning_content"] == "He asks <b> or so."
    assert message["content"] == "It is < late."
    thoughts, pieces = _streamed(ask(template, said, stream=True))
    assert ("".join(thoughts), "".join(pieces)) == ("He asks <b> or so.", "It is < late.")
    assert len(thoughts) > 3  # as they are written, not at the end
    assert len(pieces) > 3
    # What a client sends back with its next question.
    turns = [{"role": "user", "content": "Hi"}, message, {"role": "user", "content": "So?"}]
    assert ask(template, said, messages=turns).json()["choices"][0]["message"] == message


@pytest.mark.parametrize(
    ("template", "said", "thoughts"),
    [("shown", "<think>\nHe asks", "He asks"), ("begun", "He asks", "He asks")],
)
def test_thoughts_that_do_not_end_leave_the_answer_empty(
    ask: Ask, template: str, said: str, thoughts: str
) -> None:
    message = ask(template, said).json()["choices"][0]["message"]
    assert message["reasoning_content"] == thoughts
    assert message["content"] == ""
    streamed = _streamed(ask(template, said, stream=True))
    assert ["".join(each) for each in streamed] == [thoughts, ""]


def test_a_mark_of_answers_without_thoughts_is_not_shown(ask: Ask) -> None:
    message = ask("channels", "[final]It is.").json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "It is.", "refusal": None}
    streamed = _streamed(ask("channels", "[final]It is.", stream=True))
    assert ["".join(each) for each in streamed] == ["", "It is."]


@pytest.mark.parametrize("said", ["It is late </think> or not.", "<", "<thin air"])
def test_an_answer_without_thoughts_is_shown_whole(ask: Ask, said: str) -> None:
    message = ask("shown", said).json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": said, "refusal": None}
    assert ["".join(each) for each in _streamed(ask("shown", said, stream=True))] == ["", said]


@pytest.mark.parametrize("template", ["begun", "dropped", "closed"])
def test_an_answer_in_json_is_written_after_thoughts_that_are_ended(
    ask: Ask, template: str
) -> None:
    pytest.importorskip("llguidance")
    schema = {"name": "late", "schema": {"type": "boolean"}}
    held = {"type": "json_schema", "json_schema": schema}
    free = ask(template, "He asks.").json()
    answer = ask(template, "true", response_format=held).json()
    message = answer["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "true", "refusal": None}
    assert answer["usage"]["prompt_tokens"] > free["usage"]["prompt_tokens"]


def test_a_request_may_set_variables_of_the_chat_template(ask: Ask) -> None:
    quiet = {"chat_template_kwargs": {"enable_thinking": False}}
    thinking = ask("hybrid", "<think>He asks.</think>It is.").json()
    message = thinking["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("He asks.", "It is.")
    answer = ask("hybrid", "It is.", **quiet).json()
    assert answer["choices"][0]["message"]["content"] == "It is."
    more = answer["usage"]["prompt_tokens"] - thinking["usage"]["prompt_tokens"]
    assert more > 5  # the empty thoughts
    usual = ask("hybrid", "It is.").json()["usage"]  # as before: they are of one request
    assert usual["prompt_tokens"] == thinking["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"enable_thinkin": False}, "did you mean 'enable_thinking'?"),
        ({"messages": []}, "every chat template already gets this variable"),
        ({"enable_thinking": "x" * 5000}, "more than 4,096 characters"),
    ],
)
def test_a_variable_that_the_template_lacks_is_refused(
    ask: Ask, variables: dict[str, Any], told: str
) -> None:
    answer = ask("hybrid", "", status=400, chat_template_kwargs=variables).json()["error"]
    assert answer["param"] == "chat_template_kwargs"
    assert told in answer["message"]
