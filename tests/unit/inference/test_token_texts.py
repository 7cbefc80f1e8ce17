"""What single tokens say: together, the text that they are the tokens of, to the byte."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from brulee.inference.token_texts import TokenTexts

FORMS = runpy.run_path(str(Path(__file__).with_name("test_json_form.py")))
TEXT = "the guest, a né😀w parcel"


def _by_bytes() -> Any:
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer()


@pytest.mark.parametrize(
    ("kind", "text"),
    [("byte-level", TEXT), ("marked", "a, tru b"), ("ByT5", TEXT), ("words", "a")],
)
def test_the_bytes_of_tokens_are_those_of_their_text(
    make_tokenizer: Callable[..., Any], kind: str, text: str
) -> None:
    makers: dict[str, Callable[[], Any]] = {
        "byte-level": make_tokenizer,
        "marked": lambda: FORMS["_marked"](FORMS["_SIGNS"]),
        "ByT5": _by_bytes,
        "words": FORMS["_bare_words"],
    }
    tokenizer = makers[kind]()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    texts = TokenTexts(tokenizer)
    assert b"".join(texts[i] for i in ids).decode().lstrip() == text
    ends = tokenizer.eos_token_id
    assert texts[ends].decode() == tokenizer.eos_token
    assert ends in texts.control
    assert texts[10**6] == b""


def test_added_tokens_are_written_as_they_are_named(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<call é>"])
    texts, (token,) = TokenTexts(tokenizer), tokenizer.convert_tokens_to_ids(["<call é>"])
    assert texts[token] == "<call é>".encode()
    assert token not in texts.control


def test_a_token_with_other_signs_than_those_of_bytes_is_written_as_it_is() -> None:
    """As by the decoder of tokenizers: some vocabularies hold whole words beside such tokens."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    pieces = ["a", "\u0120b", "\u4f60", "a b", "\u0120\u4f60"]
    made = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made)
    texts = TokenTexts(tokenizer)
    found = [texts[i].decode() for i in range(len(pieces))]
    assert found == [tokenizer.decode([i]) for i in range(len(pieces))]


def test_a_control_token_that_the_settings_do_not_list_is_one(
    make_tokenizer: Callable[..., Any],
) -> None:
    """As most of Llama 3's are: decoding skips them, so they are no part of a text or of JSON."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<|call|>", special=True), AddedToken("<b>", special=False)])
    call, plain = tokenizer.convert_tokens_to_ids(["<|call|>", "<b>"])
    assert call not in tokenizer.all_special_ids
    assert call in TokenTexts(tokenizer).control
    assert plain not in TokenTexts(tokenizer).control
