"""Answers by HTTP are those of `brulee generate`; what is wrong is said in OpenAI's shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

Serve = Callable[..., Any]
TEXT = "Which of these reviews is the most positive?"


def _events(answer: Any) -> list[Any]:
    """What a stream said, without its end, which is there."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def _error(answer: Any, status: int) -> Any:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    return error


def test_a_chat_is_answered_as_generate_answers(serve: Serve) -> None:
    server = serve("lora", "ia3", "sparse", "prefix")
    for model, name in (
        ("tiny", None), ("lora", "lora"), ("tiny:lora", "lora"), ("ia3", "ia3"),
        ("prefix", "prefix"), ("sparse", "sparse"),
    ):  # fmt: skip
        keys = {n.split("@")[0]: n for n in server.held.names}
        own = None if name is None else keys[name]
        expected = server.held.complete([TEXT], [own], max_new_tokens=12)[0]
        answer = server.chat(model, TEXT, max_tokens=12).json()
        assert answer["choices"][0]["message"]["content"] == expected
        assert answer["system_fingerprint"] == (own or "tiny")
        assert answer["model"] == model
        if own is not None:
            assert server.text(own, TEXT, max_tokens=12) == expected  # "lora@6bbfc..."
    assert server.serving.store.versions[0].pins == 0


def test_a_stream_says_the_same_in_pieces(serve: Serve) -> None:
    server = serve("lora", kept_bytes=0)
    more = {"max_tokens": 24, "temperature": 1.0, "seed": 5}
    whole = server.chat("lora", TEXT, **more).json()
    events = _events(
        server.chat("lora", TEXT, stream=True, stream_options={"include_usage": True}, **more)
    )
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    pieces = [e["choices"][0]["delta"].get("content", "") for e in events if e["choices"]]
    assert len([p for p in pieces if p]) > 5
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]
    ends = [e["choices"][0]["finish_reason"] for e in events if e["choices"]]
    assert ends == [None] * (len(ends) - 1) + [whole["choices"][0]["finish_reason"]]
    assert events[-1]["usage"] == whole["usage"]
    assert {e["object"] for e in events} == {"chat.completion.chunk"}
    assert len({e["id"] for e in events}) == 1


def test_texts_go_on_as_they_are(served: Serve) -> None:
    server = served("lora")
    key = server.held.names[0]
    prompts = ["The customer asked", "a"]
    answer = server.post("completions", model="lora", prompt=prompts, max_tokens=9).json()
    expected = server.held.complete(prompts, [key, key], max_new_tokens=9, raw=True)
    assert [choice["text"].strip() for choice in answer["choices"]] == expected
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    ids = sum(len(server.held.encode_text(key, prompt)) for prompt in prompts)
    assert answer["usage"]["prompt_tokens"] == ids
    streamed = server.post("completions", model="lora", prompt=prompts, max_tokens=9, stream=True)
    texts = ["", ""]
    for event in _events(streamed):
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == [choice["text"] for choice in answer["choices"]]


def test_an_answer_ends_where_it_should_and_says_why(served: Serve) -> None:
    server = served()
    whole = server.text("tiny", TEXT, max_tokens=30)
    stop = next(c for c in whole[4:] if c.isalnum() and c not in whole[:4])
    cut = server.chat("tiny", TEXT, max_tokens=30, stop=stop).json()["choices"][0]
    assert cut["message"]["content"] == whole[: whole.index(stop)].strip()
    assert cut["finish_reason"] == "stop"
    short = server.chat("tiny", TEXT, max_completion_tokens=3).json()
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] == 3
    events = _events(server.chat("tiny", TEXT, max_tokens=30, stop=[stop], stream=True))
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert said == cut["message"]["content"]


def test_a_seed_gives_the_same_texts_and_n_different_ones(served: Serve) -> None:
    server = served("lora")
    more = {"max_tokens": 8, "temperature": 1.0, "n": 4}
    first, again, other = (
        [
            c["message"]["content"]
            for c in server.chat("lora", TEXT, seed=s, **more).json()["choices"]
        ]
        for s in (7, 7, 8)
    )
    assert first == again != other
    assert len(set(first)) > 1
    key = server.held.names[0]
    alone = server.held.complete([TEXT], [key], max_new_tokens=8, temperature=1.0, seed=7)[0]
    assert first[0] == alone
    unseeded = [server.text("lora", TEXT, max_tokens=8, temperature=1.0) for _ in range(3)]
    assert len(set(unseeded)) > 1


def test_models_are_listed_with_their_parent(served: Serve) -> None:
    server = served("lora", "ia3")
    found = {one["id"]: one for one in server.client.get("/v1/models").json()["data"]}
    assert list(found) == ["tiny", "lora", "ia3"]
    assert found["tiny"]["parent"] is None
    assert found["lora"]["parent"] == "tiny"
    assert found["lora"]["root"].startswith("lora@")


@pytest.mark.parametrize("model", ["lorra", "", "tiny:lorra", "lora@000000000000", "LORA", "base"])
def test_an_unknown_model_is_refused_and_never_the_base(served: Serve, model: str) -> None:
    error = _error(served("lora").chat(model, TEXT), 404)
    assert error["code"] == "model_not_found"
    assert error["message"].endswith("Served: tiny, lora.")


USER = [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"messages": USER}, "model", "the key 'model' is required"),
        ({"model": "tiny"}, "messages", "the key 'messages' is required"),
        ({"model": "tiny", "messages": []}, "messages", "messages is empty"),
        (
            {"model": "tiny", "messages": USER, "max_token": 3},
            "max_token",
            "did you mean 'max_tokens'",
        ),
        (
            {"model": "tiny", "messages": USER, "max_tokens": 0},
            "max_tokens",
            "greater than or equal",
        ),
        ({"model": "tiny", "messages": USER, "max_tokens": "3"}, "max_tokens", "valid integer"),
        ({"model": "tiny", "messages": USER, "max_tokens": 9999}, "max_tokens", "at most 1024"),
        (
            {"model": "tiny", "messages": USER, "max_tokens": 3, "max_completion_tokens": 4},
            "max_tokens",
            "say different things",
        ),
        ({"model": "tiny", "messages": USER, "temperature": -1}, "temperature", "greater than"),
        ({"model": "tiny", "messages": USER, "temperature": True}, "temperature", "valid number"),
        ({"model": "tiny", "messages": USER, "top_p": 1.5}, "top_p", "less than or equal to 1"),
        ({"model": "tiny", "messages": USER, "stop": ["a", ""]}, "stop", "none of them empty"),
        ({"model": "tiny", "messages": USER, "n": 17}, "n", "17 answers are asked for"),
        (
            {"model": "tiny", "messages": USER, "presence_penalty": 3},
            "presence_penalty",
            "equal to",
        ),
        (
            {"model": "tiny", "messages": USER, "repetition_penalty": 0},
            "repetition_penalty",
            "than",
        ),
        ({"model": "tiny", "messages": USER, "top_k": 1.5}, "top_k", "valid integer"),
        ({"model": "tiny", "messages": USER, "logit_bias": {"9": 101}}, "logit_bias.9", "to 100"),
        ({"model": "tiny", "messages": USER, "logit_bias": {"9": None}}, "logit_bias.9", "number"),
        (
            {"model": "tiny", "messages": USER, "logit_bias": {"99999": 1}},
            "logit_bias",
            "'99999' is no token of this model",
        ),
        (
            {"model": "tiny", "messages": USER, "logit_bias": {"09": 1}},
            "logit_bias",
            "'09' is no token of this model",
        ),
        (
            {"model": "tiny", "messages": USER, "response_format": {"type": "yaml"}},
            "response_format.type",
            "one of text, json_object, json_schema",
        ),
        ({"model": "tiny", "messages": USER, "tool_choice": "required"}, "tool_choice", "required"),
        ({"model": "tiny", "messages": USER, "prompt": "a"}, "prompt", "unknown key 'prompt'"),
        (
            {"model": "tiny", "messages": USER, "stream_options": {"usage": True}},
            "stream_options.usage",
            "unknown key",
        ),
        (
            {"model": "tiny", "messages": [{"role": "human", "content": "a"}]},
            "messages[0].role",
            "one of system, developer, user",
        ),
        (
            {"model": "tiny", "messages": [*USER, {"role": "user", "content": 3}]},
            "messages[1].content",
            "must be a text; it is 3",
        ),
        (
            {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0]",
            "image_url",
        ),
        ({"model": "tiny", "messages": [{**USER[0], "wait": 1}]}, "messages[0].wait", "'wait'"),
        (
            {"model": "tiny", "messages": [{**USER[0], "name": "Ann"}]},
            "messages",
            "messages[0].name = 'Ann': this model's chat template does not show the name of 'user'",
        ),
        ({"model": "tiny", "messages": USER, "verbosity": "low"}, "verbosity", "not supported"),
        (
            {"model": "tiny", "messages": USER, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
            "True is not valid",
        ),
        (
            {"model": "tiny", "messages": [{**USER[0], "function_call": {"name": "f"}}]},
            "messages[0].function_call",
            "not supported",
        ),
        (
            {"model": "tiny", "messages": USER, "tools": [{"type": "function"}]},
            "tools",
            "has a name",
        ),
    ],
)
def test_what_is_not_valid_is_refused_by_its_key(
    served: Serve, body: dict[str, Any], param: str, told: str
) -> None:
    server = served()
    error = _error(server.post("chat/completions", **body), 400)
    assert error["param"] == param
    assert told in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "JSON object"),
        (b'{"model": "tiny", "model": "lora"}', "'model' is given twice"),
        (b'{"model": "tiny", "temperature": NaN}', "NaN is not a JSON number"),
        (b'{"model": "\xff"}', "not UTF-8"),
        (b'{"model": "\\ud800"}', "surrogate"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(served: Serve, data: bytes, told: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = served().client.post("/v1/chat/completions", content=data, headers=headers)
    assert told in _error(answer, 400)["message"]


def test_other_types_and_long_bodies_are_not_read(serve: Serve) -> None:
    client = serve(body_bytes=100).client
    # A page in a browser may send this to a server on its machine without asking it first.
    answer = client.post("/v1/completions", content=b"{}", headers={"Content-Type": "text/plain"})
    assert "Content-Type: application/json" in _error(answer, 415)["message"]
    long = client.post("/v1/completions", json={"model": "tiny", "prompt": "a" * 200})
    assert "longer than the 100 bytes" in _error(long, 413)["message"]


@pytest.mark.parametrize(
    "more",
    [
        {"repetition_penalty": 5.0},
        {"presence_penalty": -2.0},
        {"frequency_penalty": -2.0},
        {"logit_bias": {"9": 100}},
        {"temperature": 2.0, "seed": 1, "top_k": 2},
        {"temperature": 2.0, "seed": 1, "min_p": 0.9},
    ],
    ids=lambda more: list(more)[-1],
)
def test_a_request_says_how_tokens_are_chosen(served: Serve, more: dict[str, Any]) -> None:
    server = served()
    *others, own = more
    plain = server.text("tiny", TEXT, max_tokens=20, **{key: more[key] for key in others})
    assert server.text("tiny", TEXT, max_tokens=20, **more) != plain
    nothing = {"top_k": -1, "min_p": 0, "repetition_penalty": 1.0, "logit_bias": {}}
    off = {**{key: more[key] for key in others}, own: nothing.get(own, 0)}
    assert server.text("tiny", TEXT, max_tokens=20, **off) == plain


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_a_biased_token_is_written_in_every_answer(served: Serve, path: str) -> None:
    server = served("lora")
    token = next(i for i in range(60, 400) if server.held.asked.decoded([i]).isalpha())
    text = server.held.asked.decoded([token])
    asked = {"prompt": [TEXT, "a"]} if path == "completions" else {"messages": USER}
    body = {"model": "lora", "max_tokens": 3, "n": 2, "temperature": 1, "logprobs": True, **asked}
    body |= {"logprobs": 0} if path == "completions" else {}
    answer = server.post(path, **body, logit_bias={str(token): 100})
    choices = answer.json()["choices"]
    told = [one["text"] if "text" in one else one["message"]["content"] for one in choices]
    assert told == [server.held.asked.decoded([token] * 3)] * (4 if "prompt" in asked else 2)
    scores = choices[0]["logprobs"]
    first = scores["token_logprobs"][0] if "tokens" in scores else scores["content"][0]["logprob"]
    assert first < -1  # the model's own, as without a bias
    events = _events(server.post(path, **body, logit_bias={str(token): 100}, stream=True))
    parts = [one["choices"][0] for one in events if one["choices"]]
    said = "".join(one.get("text") or one.get("delta", {}).get("content") or "" for one in parts)
    assert said.count(text) == 3 * len(told)


def test_keys_that_many_clients_send_change_nothing(served: Serve) -> None:
    server = served()
    plain = server.text("tiny", TEXT, max_tokens=5)
    more = {
        "user": "me", "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": False,
        "response_format": {"type": "text"}, "n": 1, "stop": None, "temperature": 0,
        "metadata": {"a": "b"}, "tool_choice": "auto", "top_p": 1, "logit_bias": None,
    }  # fmt: skip
    assert server.text("tiny", TEXT, max_tokens=5, **more) == plain
    parts = [{"type": "text", "text": TEXT[:9]}, {"type": "text", "text": TEXT[9:]}]
    answer = server.post(
        "chat/completions",
        model="tiny",
        max_tokens=5,
        messages=[{"role": "user", "content": parts}],
    )
    assert answer.json()["choices"][0]["message"]["content"] == plain
    # An answer as a client of OpenAI sends it back, every key of it.
    empty = ("refusal", "annotations", "audio", "function_call", "tool_calls")
    back = {"role": "assistant", "content": plain, **dict.fromkeys(empty)}
    bare = {"role": "assistant", "content": plain}
    first, second = (
        server.post(
            "chat/completions", model="tiny", max_tokens=5, messages=[*USER, said, *USER]
        ).json()["choices"]
        for said in (back, bare)
    )
    assert first == second


def test_every_answer_has_a_number_of_its_own(served: Serve) -> None:
    server = served()
    answers = [server.chat("tiny", "a", max_tokens=1), server.chat("tiny", "a", max_tokens=0)]
    answers += [server.client.get(path) for path in ("/health", "/nowhere")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4


def test_what_is_too_long_is_refused_with_the_numbers(served: Serve) -> None:
    server = served()
    error = _error(server.chat("tiny", "a " * 800, max_tokens=5), 400)
    tokens = len(server.held.encode_chat(None, [{"role": "user", "content": "a " * 800}]))
    assert (
        f"the prompt has {tokens} tokens and 5 are requested; there is room for 512"
        in error["message"]
    )
    assert error["code"] == "context_length_exceeded"
    fits = server.held.encode_chat(None, USER)
    error = _error(server.chat("tiny", "a", max_tokens=512), 400)
    assert (
        f"has {len(fits)} tokens and 512 are requested; there is room for 512" in error["message"]
    )
    # A request that does not say gets what there is room for.
    near = server.chat("tiny", "a " * 230).json()["usage"]
    assert near["total_tokens"] <= 512
    small = served(cache_tokens=64)
    assert "there is room for 64" in _error(small.chat("tiny", "a", max_tokens=60), 400)["message"]
    assert (
        "prompt is empty"
        in _error(server.post("completions", model="tiny", prompt=""), 400)["message"]
    )


def test_an_empty_prompt_among_others_is_refused_and_ends_nothing(serve: Serve) -> None:
    server = serve()
    for prompts, told in ((["a", ""], "prompt[1] is empty"), ([""], "prompt is empty")):
        answer = server.post("completions", model="tiny", prompt=prompts)
        assert told in _error(answer, 400)["message"]
    assert server.client.get("/health").status_code == 200
    assert server.text("tiny", "a", max_tokens=2)


def test_the_key_is_wanted_everywhere(serve: Serve) -> None:
    server = serve("lora", key="a-long-secret", loading=True)
    paths = [
        ("GET", "/health"), ("GET", "/metrics"), ("GET", "/v1/models"), ("GET", "/nowhere"),
        ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("GET", "/docs"),
        ("POST", "/v1/load_lora_adapter"), ("POST", "/v1/unload_lora_adapter"), ("PUT", "/health"),
    ]  # fmt: skip
    for given in (
        None,
        "Bearer",
        "Bearer a-long-secre",
        "Basic a-long-secret",
        "Bearer a-long-secret2",
    ):
        headers = {"Authorization": given} if given else {}
        for method, path in paths:
            _error(server.client.request(method, path, headers=headers), 401)
    headers = {"Authorization": "Bearer a-long-secret"}
    assert server.client.get("/health", headers=headers).json() == {"status": "ok"}
    assert server.client.get("/v1/models", headers=headers).status_code == 200


def test_a_page_that_calls_the_server_by_its_own_name_is_refused(serve: Serve) -> None:
    client = serve(hosts=("localhost", "[::1]")).client
    for host in ("localhost", "LOCALHOST:8000", "[::1]:80", "[::1]"):
        assert client.get("/health", headers={"Host": host}).status_code == 200
    for host in ("evil.example:8000", "localhost.evil.example", "", "[::1]evil", "127.0.0.2"):
        error = _error(client.get("/health", headers={"Host": host}), 403)
        assert "is called localhost or [::1], not" in error["message"]


def test_paths_that_are_none_are_told(served: Serve) -> None:
    client = served().client
    assert "/v1/models" in _error(client.get("/v1/model"), 404)["message"]
    assert "POST /v1/models" in _error(client.post("/v1/models", json={}), 405)["message"]
    for path in ("/docs", "/openapi.json", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
        _error(client.post(path, json={}), 404)


def test_metrics_count_what_was_served(serve: Serve) -> None:
    server = serve("lora")
    answer = server.chat("lora", TEXT, max_tokens=4).json()["usage"]
    server.chat("nobody", TEXT)
    server.client.get("/a/b/c")
    lines = server.client.get("/metrics").text.splitlines()
    assert f'brulee_prompt_tokens_total{{model="lora"}} {answer["prompt_tokens"]}' in lines
    assert f'brulee_completion_tokens_total{{model="lora"}} {answer["completion_tokens"]}' in lines
    assert 'brulee_requests_total{path="/v1/chat/completions",status="404"} 1' in lines
    assert 'brulee_requests_total{path="other",status="404"} 1' in lines
    assert "brulee_running 0" in lines
    assert "brulee_answer_seconds_count 1" in lines


def test_tools_are_shown_to_the_model_as_its_template_shows_them(
    serve: Serve, make_base: Any, make_tool_tokenizer: Any, tmp_path: Any
) -> None:
    make_base("llama", vocab_size=320).model.save_pretrained(tmp_path)
    make_tool_tokenizer("hermes").save_pretrained(tmp_path)
    server = serve(model=str(tmp_path))
    function = {"name": "weather", "description": "Now.", "parameters": {"type": "object"}}
    call = {"name": "weather", "arguments": '{"place": "Rome"}'}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Rain?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "dry"},
    ]
    tools = [{"type": "function", "function": function}]
    answer = server.post(
        "chat/completions", model="tiny", messages=messages, tools=tools, max_tokens=3
    )
    assert answer.status_code == 200, answer.text
    tokenizer = server.held.base.tokenizer
    arguments = {"name": "weather", "arguments": {"place": "Rome"}}
    shown = tokenizer.apply_chat_template(
        [
            {"role": "system", "content": "Be brief."},
            messages[1],
            {
                **messages[2],
                "content": "",
                "tool_calls": [{"type": "function", "function": arguments}],
            },
            messages[3],
        ],
        tools=tools,
        add_generation_prompt=True,
        return_dict=False,
    )
    assert answer.json()["usage"]["prompt_tokens"] == len(shown)
    bare = serve()
    refused = _error(bare.post("chat/completions", model="tiny", messages=USER, tools=tools), 400)
    assert "tools" in refused["message"]


def test_what_a_prompt_begins_with_is_read_once(serve: Serve) -> None:
    server, plain = serve("lora"), serve("lora", kept_bytes=0)
    more = {"max_tokens": 20, "temperature": 1.0, "seed": 5}
    turns, before = [{"role": "user", "content": TEXT}], 0
    for _ in range(3):
        whole = server.post("chat/completions", model="lora", messages=turns, **more).json()
        again = plain.post("chat/completions", model="lora", messages=turns, **more).json()
        assert whole["choices"] == again["choices"]
        usage = whole["usage"]
        assert again["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        assert max(0, before - 32) <= cached < usage["prompt_tokens"]
        before = usage["prompt_tokens"]
        turns += [whole["choices"][0]["message"], {"role": "user", "content": "a"}]
    events = _events(
        server.post(
            "chat/completions", model="lora", messages=turns[:1], n=3, stream=True,
            stream_options={"include_usage": True}, **more,
        )
    )  # fmt: skip
    prompt = events[-1]["usage"]["prompt_tokens"]
    assert events[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": (prompt - 1) & ~15}
    other = server.chat("tiny", TEXT, max_tokens=2).json()["usage"]
    assert other["prompt_tokens_details"] == {"cached_tokens": 0}  # another has read it
    lines = server.client.get("/metrics").text.splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if "prompt_tokens" in line)
    counts = {part: int(found[f'brulee_prompt_tokens_{part}_total{{model="lora"}}'])
              for part in ("read", "cached")}  # fmt: skip
    assert counts["cached"] > counts["read"] > 0
    assert "brulee_kept_tokens 0" not in lines
    assert "brulee_kept_tokens 0" in plain.client.get("/metrics").text.splitlines()


def test_a_model_is_told_of_by_itself(served: Serve) -> None:
    client = served("lora").client
    listed = {one["id"]: one for one in client.get("/v1/models").json()["data"]}
    assert client.get("/v1/models/lora").json() == listed["lora"]
    assert client.get(f"/v1/models/{listed['lora']['root']}").json() == listed["lora"]
    assert client.get("/v1/models/tiny").json() == listed["tiny"]
    assert "did you mean 'lora'" in _error(client.get("/v1/models/lorra"), 404)["message"]


def _asked_by_hand(server: Any, body: dict[str, Any], vanish: bool = False) -> list[Any]:
    """What the application sends where it is cancelled after it began, or its client vanishes."""
    sent: list[Any] = []

    async def ask() -> None:
        data = json.dumps(body).encode()
        part = {"type": "http.request", "body": data[: len(data) - vanish], "more_body": vanish}
        coming, running = [part, *([{"type": "http.disconnect"}] * vanish)], asyncio.Event()

        async def receive() -> Any:
            if not coming:
                running.set()
                await asyncio.Event().wait()
            return coming.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json"), (b"host", b"localhost")]
        scope = {
            "type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers,
            "query_string": b"", "root_path": "", "http_version": "1.1", "scheme": "http",
        }  # fmt: skip
        asked = asyncio.create_task(server.client.app(scope, receive, send))
        if not vanish:
            await running.wait()
            asked.cancel()
        await asked

    asyncio.run(ask())
    return sent


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_server_does_not_wait_for_at_its_end_is_told_so(
    serve: Serve, stream: bool
) -> None:
    server = serve("lora")
    body = {"model": "lora", "messages": USER, "max_tokens": 400, "temperature": 1.5, "seed": 11}
    sent = _asked_by_hand(server, {**body, "stream": stream})
    last = json.loads(sent[-1]["body"].decode().removeprefix("data: "))
    assert last["error"]["message"] == "the server ended before this was answered."
    assert sent[0]["status"] == (200 if stream else 503)
    assert sent[-1].get("more_body", False) is False
    assert server.serving.store.versions[0].pins == 0


def test_who_goes_away_before_all_is_said_is_no_fault_of_the_server(serve: Serve) -> None:
    sent = _asked_by_hand(serve(), {"model": "tiny", "messages": USER}, vanish=True)
    assert sent[0]["status"] == 499
