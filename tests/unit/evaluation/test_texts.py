"""Bits per byte of plain texts: what a model finds likely, and asked once."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.data.encoding import Encoder
from brulee.data.task import Item
from brulee.data.template import Rendered
from brulee.errors import BruleeError, InputError
from brulee.evaluation import metric
from brulee.evaluation.answering import answer_items
from brulee.inference.engine import Engine
from brulee.inference.sampling import Sampling

TEXTS = ["The guest asked.", "caf\u00e9 \N{SNOWMAN}, and the room was not ready", "Which?"]


def items_of(texts: list[str]) -> list[Item]:
    plain = [Rendered("", text, None, plain=True) for text in texts]
    return [Item(str(i), one, (one.completion,), group="g") for i, one in enumerate(plain)]


def asked(engine: Engine, encoder: Encoder, file: Path, texts: list[str] = TEXTS) -> list[Any]:
    return answer_items(
        engine, encoder, items_of(texts), [metric("bits_per_byte")], Sampling(4),
        task="notes/test", file=file, title="Base model: notes",
    )  # fmt: skip


@pytest.mark.parametrize("begins", [False, True])
def test_bits_are_those_of_the_model_read_token_by_token(
    make_model: Callable[..., Any], make_tokenizer: Callable[..., Any], tmp_path: Path, begins: bool
) -> None:
    model, tokenizer = make_model("llama"), make_tokenizer(begins=begins)
    encoder = Encoder(tokenizer)
    found = asked(Engine(model, encoder.stop_ids, 0), encoder, tmp_path / "a.jsonl")
    for answer, text in zip(found, TEXTS, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        scores = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        nats = -scores[torch.arange(ids.shape[1] - 1), ids[0, 1:]].sum().item()
        bits, count = answer.statistics["bits_per_byte"]
        assert bits == pytest.approx(nats / math.log(2), rel=1e-4)
        assert count == len(text.encode())
        assert answer.scores["bits_per_byte"] == pytest.approx(bits / count)
        assert (answer.prompt, answer.output, answer.references) == ("", "", (text,))
        assert answer.cluster == "g"


def test_what_was_answered_is_not_asked_again(
    make_model: Callable[..., Any], make_tokenizer: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    encoder, file = Encoder(make_tokenizer()), tmp_path / "a.jsonl"
    engine = Engine(make_model("llama"), encoder.stop_ids, 0)
    first = asked(engine, encoder, file, TEXTS[:2])
    counts: list[int] = []
    original = engine.loglikelihood

    def counted(requests: Any, done: Any) -> Any:
        counts.append(len(requests))
        return original(requests, done)

    monkeypatch.setattr(engine, "loglikelihood", counted)
    again = asked(engine, encoder, file)
    assert counts == [1]
    assert again[:2] == first


def test_a_text_of_one_token_has_nothing_to_predict(make_tokenizer: Callable[..., Any]) -> None:
    one = Rendered("", "a", None, plain=True)
    assert Encoder(make_tokenizer()).text_alone(one) is None
    begun = Encoder(make_tokenizer(begins=True)).text_alone(one)
    assert begun is not None
    assert begun.learned == 1


def test_a_model_that_gives_no_number_is_named(tmp_path: Path) -> None:
    from brulee.evaluation.texts import _answer
    from brulee.inference.engine import Likelihood

    (item,) = items_of(["a text"])
    with pytest.raises(BruleeError, match=r"notes/test, item 0: the model gave it nan bits"):
        _answer(item, Likelihood(math.nan, 2, False), metric("bits_per_byte"), "notes/test", "")


def test_texts_alone_do_not_say_how_likely_they_are() -> None:
    found = metric("bits_per_byte")
    assert not found.higher_is_better("bits_per_byte")
    with pytest.raises(InputError, match="asks a model how likely a text is"):
        found.statistics("a", ["a"])
