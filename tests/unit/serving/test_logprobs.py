"""Log-probabilities in OpenAI's formats: those of the model, of whole answers and in streams."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.inference.scored import Scored
from brulee.inference.token_texts import TokenTexts
from brulee.serving.logprobs import Logprobs, TokenScore, token_scores

Serve = Callable[..., Any]
TEXT = "Which of these reviews is the most positive? é😀"
LISTS = ("text_offset", "token_logprobs", "tokens", "top_logprobs")


def _choices(answer: Any) -> list[Any]:
    assert answer.status_code == 200, answer.text
    return list(answer.json()["choices"])


def _events(answer: Any) -> list[Any]:
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line)["choices"][0] for line in lines[:-1]]


def _log_softmax(server: Any, name: str | None, ids: list[int]) -> torch.Tensor:
    """Log-probabilities (T, V) after each token, as transformers computes them."""
    swap = server.held.engine.swap
    swap.use(name)
    with torch.no_grad():
        found = server.held.engine.engines[name].model(torch.tensor([ids])).logits[0]
    swap.use(None)
    return found.log_softmax(-1)


@pytest.mark.parametrize("name", [None, "lora", "sparse", "prefix"])
def test_a_text_of_token_ids_is_scored_as_the_model_scores_it(
    served: Serve, name: str | None
) -> None:
    server = served("lora", "sparse", "prefix", "ia3")
    key = next((n for n in server.held.names if n.split("@")[0] == name), None)
    tokenizer = server.held.base.tokenizer
    prompts = [tokenizer(text)["input_ids"] for text in (TEXT, "a parcel", TEXT[:30])]
    more = {"echo": True, "logprobs": 3, "max_tokens": 4, "temperature": 1.3, "seed": 2}
    beside = server.post("completions", model="ia3", prompt="The guest", max_tokens=9).json()
    found = _choices(server.post("completions", model=name or "tiny", prompt=prompts, **more))
    texts = TokenTexts(tokenizer)
    for prompt, choice in zip(prompts, found, strict=True):
        told = choice["logprobs"]
        assert sorted(told) == sorted(LISTS)
        assert told["token_logprobs"][0] is None
        assert told["top_logprobs"][0] is None
        by_text = {_shown(texts[i]): i for i in reversed(range(len(tokenizer)))}
        ids = [by_text[token] for token in told["tokens"]]
        assert ids[: len(prompt)] == prompt
        log_TV = _log_softmax(server, key, ids)
        for at, token in enumerate(ids[1:]):
            value = float(log_TV[at, token])
            assert told["token_logprobs"][at + 1] == pytest.approx(value, abs=1e-4)
            tops = told["top_logprobs"][at + 1]
            top_values, top_ids = log_TV[at].topk(3)
            expected = dict(zip(top_ids.tolist(), top_values.tolist(), strict=True)) | {
                token: value
            }
            assert {by_text[t]: v for t, v in tops.items()} == pytest.approx(expected, abs=1e-4)
        assert choice["text"].startswith(tokenizer.decode(prompt))
        for offset, token in zip(told["text_offset"], told["tokens"], strict=True):
            if token[:1] != "<" and not token.startswith("bytes:"):
                assert choice["text"][offset:].startswith(token)
    again = server.post("completions", model="ia3", prompt="The guest", max_tokens=9).json()
    assert again["choices"] == beside["choices"]


def _shown(written: bytes) -> str:
    try:
        return written.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in written)


def test_a_prompt_is_scored_without_an_answer(served: Serve) -> None:
    server = served()
    asked = {"model": "tiny", "prompt": ["The guest asked", TEXT], "echo": True, "max_tokens": 0}
    answer = server.post("completions", **asked, logprobs=0)
    for prompt, choice in zip(asked["prompt"], _choices(answer), strict=True):
        told, ids = choice["logprobs"], server.held.encode_text(None, prompt)
        assert (choice["text"], choice["finish_reason"]) == (prompt, "length")
        assert len(told["tokens"]) == len(ids)
        assert [len(tops) for tops in told["top_logprobs"][1:]] == [1] * (len(ids) - 1)
    assert answer.json()["usage"]["completion_tokens"] == 0
    streamed = _events(server.post("completions", **{**asked, "prompt": TEXT}, stream=True))
    assert "".join(one["text"] for one in streamed) == TEXT
    bare = _choices(server.post("completions", **{**asked, "max_tokens": 3}))[0]
    assert bare["text"].startswith("The guest asked")
    assert bare["logprobs"] is None


def test_a_chat_is_scored_as_the_model_scores_it(served: Serve) -> None:
    server = served("lora")
    more = {"logprobs": True, "top_logprobs": 2, "max_tokens": 12}
    (choice,) = _choices(server.chat("lora", TEXT, **more))
    content = choice["logprobs"]["content"]
    said = b"".join(bytes(one["bytes"]) for one in content).decode(errors="replace")
    assert said.removesuffix("<|im_end|>").strip() == choice["message"]["content"]
    key = server.held.names[0]
    prompt = server.held.encode_chat(key, [{"role": "user", "content": TEXT}])
    texts = TokenTexts(server.held.base.tokenizer)
    by_bytes = {texts[i]: i for i in range(len(server.held.base.tokenizer))}
    ids = [by_bytes[bytes(one["bytes"])] for one in content]
    log_TV = _log_softmax(server, key, [*prompt, *ids])[len(prompt) - 1 :]
    for at, one in enumerate(content):
        assert one["logprob"] == pytest.approx(float(log_TV[at, ids[at]]), abs=1e-4)
        values = log_TV[at].topk(2).values.tolist()
        assert [top["logprob"] for top in one["top_logprobs"]] == pytest.approx(values, abs=1e-4)
        assert one["top_logprobs"][0]["token"] == one["token"]  # it was greedy
    (bare,) = _choices(server.chat("lora", TEXT, logprobs=True, max_tokens=12))
    assert [one["top_logprobs"] for one in bare["logprobs"]["content"]] == [[]] * len(content)
    assert bare["message"] == choice["message"]


@pytest.mark.parametrize("stop", [None, "e"])
@pytest.mark.parametrize("kind", ["chat", "text", "echo"])
def test_a_stream_has_the_scores_of_the_whole_answer(
    served: Serve, kind: str, stop: str | None
) -> None:
    server = served("lora", "ia3")
    more: dict[str, Any] = {"max_tokens": 30, "temperature": 1.0, "seed": 3, "stop": stop}
    if kind == "chat":
        more |= {"logprobs": True, "top_logprobs": 2}
        ask = lambda **own: server.chat("ia3", TEXT, **more, **own)  # noqa: E731
    else:
        more |= {"logprobs": 2, "echo": kind == "echo", "model": "ia3", "prompt": TEXT}
        ask = lambda **own: server.post("completions", **more, **own)  # noqa: E731
    (whole,) = _choices(ask())
    told = [one["logprobs"] for one in _events(ask(stream=True)) if one["logprobs"]]
    assert len(told) > (stop is None)
    for part, all_of_it in whole["logprobs"].items():
        if part != "refusal":
            assert [each for one in told for each in one[part]] == all_of_it


@pytest.mark.parametrize(
    ("path", "body", "param", "told"),
    [
        ("chat/completions", {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "equal to 20"),
        ("chat/completions", {"top_logprobs": 2}, "top_logprobs", "needs logprobs: true"),
        ("chat/completions", {"logprobs": 1}, "logprobs", "valid boolean"),
        ("chat/completions", {"echo": True}, "echo", "not supported here"),
        ("completions", {"logprobs": 21}, "logprobs", "equal to 20"),
        ("completions", {"logprobs": True}, "logprobs", "valid integer"),
        ("completions", {"max_tokens": 0}, "max_tokens", "without echo: true"),
        ("completions", {"best_of": 2, "logprobs": 1}, "best_of", "not supported here beside n"),
        ("completions", {"best_of": 3, "n": 2}, "best_of", "beside n = 2: all answers are given"),
        ("completions", {"beams": 2, "logprobs": 1}, "beams", "unknown key 'beams'"),
        ("completions", {"prompt": [3, 900]}, "prompt", "prompt[1] = 900 is no token of this"),
        ("completions", {"prompt": [[3], [-1]]}, "prompt", "prompt[1][0] = -1 is no token of this"),
        ("completions", {"prompt": [[3], []]}, "prompt", "prompt[1] is empty"),
        ("completions", {"prompt": [3, "a"]}, "prompt", "must be a text, a list of texts, token"),
        ("completions", {"prompt": [True]}, "prompt", "must be a text, a list of texts, token"),
    ],
)
def test_what_is_not_valid_is_refused_by_its_key(
    served: Serve, path: str, body: dict[str, Any], param: str, told: str
) -> None:
    asked = {"messages": [{"role": "user", "content": "a"}]} if "chat" in path else {"prompt": "a"}
    answer = served().post(path, model="tiny", **{**asked, **body})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert told in error["message"]


def test_as_many_of_the_best_as_are_asked_for_are_all_of_them(served: Serve) -> None:
    answer = served().post("completions", model="tiny", prompt="a", max_tokens=2, n=2, best_of=2)
    assert len(answer.json()["choices"]) == 2


def test_an_encoder_gives_its_prompt_no_scores_and_the_decoder_its_answer(
    served: Serve, tiny_t5_folder: Path
) -> None:
    server = served(model=str(tiny_t5_folder))
    asked = {"model": "tiny", "prompt": "a parcel", "logprobs": 1, "max_tokens": 3}
    refused = server.post("completions", **asked, echo=True)
    assert refused.status_code == 400
    assert "an encoder reads the prompt" in refused.json()["error"]["message"]
    (choice,) = _choices(server.post("completions", **asked))
    assert len(choice["logprobs"]["tokens"]) == 3


def test_tokens_that_read_the_same_and_impossible_ones_are_told(
    make_tokenizer: Callable[..., Any],
) -> None:
    logprobs = Logprobs("text")
    same = ((b"a", -0.5), (b"a", -3.0), (b"b", float("-inf")))
    logprobs.add([TokenScore(b"a", -3.0, same)])
    told = logprobs.take()
    assert told is not None
    assert told["top_logprobs"] == [{"a": -0.5, "b": -9999.0}]
    assert told["token_logprobs"] == [-3.0]
    assert logprobs.take() is None
    tokenizer = make_tokenizer()
    end = tokenizer.eos_token_id
    (control,) = token_scores(TokenTexts(tokenizer), [Scored(end, -1.0)])
    assert control == TokenScore(b"</s>", -1.0, (), control=True)
