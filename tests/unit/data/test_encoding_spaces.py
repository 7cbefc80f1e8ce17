"""Tokenizers that put a space before every text: a text that goes on from another gets none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from brulee.data.encoding import Encoder
from brulee.data.template import Rendered, Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CONTROL = ["<unk>", "<s>", "</s>", "<|turn|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SAID = ["Hello there, how are you? I am fine. It is late, and the parcel is here. user [INST]"] * 3
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n"
    "{% if loop.last and add_generation_prompt %}<|assistant|>\n{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
TURNS = (
    "{% for m in messages %}<|turn|>{{ m.role }}<|turn|>{{ m.content | trim }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|turn|>assistant<|turn|>{% endif %}"
)
CHAT = [
    {"role": "user", "content": "Hello there"},
    {"role": "assistant", "content": "I am fine."},
    {"role": "user", "content": "how are you?"},
    {"role": "assistant", "content": "It is late."},
]


def _tokenizer(spaced: str, template: str | None) -> PreTrainedTokenizerFast:
    """Of SentencePiece's kind; `spaced`: before which texts its space is put."""
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=[*CONTROL, *BYTES], show_progress=False
    )
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.train_from_iterator(SAID, trainer)
    if spaced == "normalised":
        core.pre_tokenizer = None
        replaced = normalizers.Replace(" ", "\u2581")
        core.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), replaced])
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=spaced)
    core.decoder = decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<|turn|>"],
    )
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("spaced", ["always", "first", "normalised"])
@pytest.mark.parametrize("template", [ZEPHYR, MISTRAL, TURNS])
def test_a_chats_ids_are_those_of_its_text_read_at_once(spaced: str, template: str) -> None:
    tokenizer = _tokenizer(spaced, template)
    row = {"p": CHAT[2]["content"], "c": CHAT[3]["content"], "history": CHAT[:2]}
    encoded = Encoder(tokenizer).fit(Template("t", "{{ p }} ||| {{ c }}", chat="every"), row)
    assert encoded is not None
    whole = tokenizer.apply_chat_template(CHAT)["input_ids"]
    assert list(encoded.ids) == whole[: len(encoded.ids)]
    learned = [tokenizer.decode(encoded.ids[start:end]).split() for start, end in encoded.spans]
    assert [" ".join(words) for words in learned] in (
        ["I am fine.</s>", "It is late.</s>"],
        ["I am fine. </s>", "It is late. </s>"],
    )
    asked = Rendered(row["p"], row["c"], None, tuple(CHAT[:2]), True)
    assert list(encoded.prompt) == Encoder(tokenizer).encode_question(asked)


@pytest.mark.parametrize("spaced", ["always", "first", "normalised"])
def test_an_answer_on_a_line_of_its_own_begins_without_a_space(spaced: str) -> None:
    tokenizer = _tokenizer(spaced, None)
    encoded = Encoder(tokenizer).encode("how are you?", "I am fine.")
    whole = tokenizer("how are you?\nI am fine.", add_special_tokens=False)["input_ids"]
    assert list(encoded.ids) == [*whole, tokenizer.eos_token_id]


def test_what_a_decoder_writes_begins_as_a_text_of_its_own() -> None:
    tokenizer = _tokenizer("always", None)
    encoded = Encoder(tokenizer, kind="seq2seq").encode("how are you?", "I am fine.")
    own = tokenizer("I am fine.", add_special_tokens=False)["input_ids"]
    assert list(encoded.completion) == [*own, tokenizer.eos_token_id]


@pytest.mark.parametrize("spaced", ["always", "first", "normalised"])
def test_a_control_token_in_an_answer_stays_text_behind_what_comes_before(spaced: str) -> None:
    tokenizer = _tokenizer(spaced, TURNS)
    encoded = Encoder(tokenizer).encode("how </s> are you?", "It is </s> late.")
    assert encoded.ids.count(tokenizer.eos_token_id) == 2
    begun = tokenizer("<|turn|>user<|turn|>how <", add_special_tokens=False)["input_ids"]
    assert list(encoded.ids[: len(begun)]) == begun
