"""Chats of several turns: the chat template's own ids, every answer learned or the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from brulee.data.encoding import Encoded, Encoder
from brulee.data.formats import detect, require_templates
from brulee.data.framing import FramingError
from brulee.data.messages import Message
from brulee.data.sources import Rows
from brulee.data.template import Rendered, Template
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., "PreTrainedTokenizerFast"]
Templates = dict[str, str]
EOS, IM_END = 2, 4

CHAT = [
    {"role": "system", "content": "Answer as the clerk."},
    {"role": "user", "content": "Is there a room?"},
    {"role": "assistant", "content": "Yes, number 12."},
    {"role": "user", "content": "Is it quiet?\n\n  Really?"},
    {"role": "assistant", "content": "It is by the lift."},
    {"role": "user", "content": "Then no."},
    {"role": "assistant", "content": "As you like; the guest may look at it."},
]
CALL = [
    {"role": "user", "content": "How warm is it?"},
    {"role": "assistant", "content": "look(Rome)"},
    {"role": "tool", "content": "21"},
    {"role": "assistant", "content": "21 degrees."},
]
# Drops what was thought before earlier answers, as reasoning models' templates do.
FORGETS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}(thinks) {% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_END = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def _phrased(messages: list[Message], turns: Any) -> tuple[Template, dict[str, Any]]:
    detected = detect(Rows.of([{"messages": messages}]), turns=turns)
    return require_templates(detected).templates[0], detected.rows[0]


def _fit(encoder: Encoder, messages: list[Message], turns: str = "every") -> Encoded:
    template, row = _phrased(messages, turns)
    encoded = encoder.fit(template, row)
    assert encoded is not None
    return encoded


def _learned(encoder: Encoder, encoded: Encoded) -> list[str]:
    return [encoder.tokenizer.decode(encoded.ids[start:end]) for start, end in encoded.spans]


@pytest.mark.parametrize("turns", ["every", "last"])
@pytest.mark.parametrize("messages", [CHAT, CHAT[1:], CHAT[:3], CALL], ids=["3", "2", "1", "tool"])
@pytest.mark.parametrize("name", ["chatml", "with_bos"])
def test_ids_are_the_chat_templates(
    make_tokenizer: MakeTokenizer,
    chat_templates: Templates,
    name: str,
    messages: list[Message],
    turns: str,
) -> None:
    tokenizer = make_tokenizer(chat_templates[name], begins=name == "with_bos")
    encoded = _fit(Encoder(tokenizer), messages, turns)
    whole = tokenizer.apply_chat_template(messages)["input_ids"]
    assert list(encoded.ids) == whole[: len(encoded.ids)]
    assert tokenizer.decode(whole[len(encoded.ids) :]).strip() == ""


@pytest.mark.parametrize(("name", "end"), [("chatml", IM_END), ("with_bos", EOS)])
def test_every_answer_is_learned_with_its_end_and_nothing_else(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, name: str, end: int
) -> None:
    encoder = Encoder(make_tokenizer(chat_templates[name]))
    written = encoder.tokenizer.decode([end])
    answers = [m["content"] + written for m in CHAT if m["role"] == "assistant"]
    assert _learned(encoder, _fit(encoder, CHAT)) == answers
    assert _learned(encoder, _fit(encoder, CHAT, "last")) == answers[-1:]


@pytest.mark.parametrize(
    ("kind", "turns"),
    [*product(["chatml", "with_bos", "plain"], ["every", "last"]), ("seq2seq", "last")],
)
def test_the_question_at_inference_is_that_of_training(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, kind: str, turns: str
) -> None:
    encoder = _encoder(make_tokenizer, chat_templates, kind)
    for messages in (CHAT, CALL, CHAT[1:3]):
        template, row = _phrased(messages, turns)
        rendered = template.render(row)
        assert rendered is not None
        encoded = _fit(encoder, messages, turns)
        assert tuple(encoder.encode_question(rendered)) == encoded.prompt
        assert tuple(encoder.encode_chat(messages[:-1])) == encoded.prompt


def _encoder(
    make_tokenizer: MakeTokenizer, templates: Templates, kind: str, length: int = 1024
) -> Encoder:
    if kind == "seq2seq":
        return Encoder(make_tokenizer(ends=True), kind="seq2seq", max_length=length)
    return Encoder(make_tokenizer(templates.get(kind), begins=True), max_length=length)


def test_without_a_chat_template_the_speakers_are_named_and_each_answer_ends(
    make_tokenizer: MakeTokenizer,
) -> None:
    encoder = Encoder(make_tokenizer(begins=True))
    encoded = _fit(encoder, CHAT[:5])
    assert encoder.tokenizer.decode(encoded.ids) == (
        "<s>Answer as the clerk.\n\nUser:\nIs there a room?\n\nAssistant:\nYes, number 12.</s>"
        "\n\nUser:\nIs it quiet?\n\n  Really?\n\nAssistant:\nIt is by the lift.</s>"
    )
    assert _learned(encoder, encoded) == ["Yes, number 12.</s>", "It is by the lift.</s>"]
    assert encoder.chat_text(CHAT[:4]) in encoder.tokenizer.decode(encoded.ids)


def test_an_encoder_decoder_learns_one_answer(make_tokenizer: MakeTokenizer) -> None:
    encoder = Encoder(make_tokenizer(ends=True), kind="seq2seq")
    with pytest.raises(InputError, match=r"encoder-decoder.*data\.turns: last"):
        _fit(encoder, CHAT)
    assert _learned(encoder, _fit(encoder, CHAT, "last")) == [f"{CHAT[-1]['content']}</s>"]


def test_a_template_that_forgets_what_was_thought_learns_the_last_answer_only(
    make_tokenizer: MakeTokenizer,
) -> None:
    encoder = Encoder(make_tokenizer(FORGETS))
    with pytest.raises(InputError, match=r"once the chat continues.*data\.turns: last"):
        _fit(encoder, CHAT)
    template, row = _phrased(CHAT, "every")
    with pytest.raises(FramingError):  # not one row's fault, to be left out and forgotten
        list(encoder.fit_many([(template, row, "")]))
    last = _fit(encoder, CHAT, "last")
    whole = encoder.tokenizer.apply_chat_template(CHAT)["input_ids"]
    assert list(last.ids) == whole[: len(last.ids)]
    assert _learned(encoder, last)[0].startswith("(thinks) As you like")
    # A chat of one answer has no earlier one to forget.
    assert _fit(encoder, CHAT[:3]).learned > 0


def test_a_template_without_an_end_of_turn_learns_the_last_answer_only(
    make_tokenizer: MakeTokenizer,
) -> None:
    encoder = Encoder(make_tokenizer(NO_END))
    with pytest.raises(InputError, match=r"have no end to learn; data\.turns: last"):
        _fit(encoder, CHAT)
    assert _fit(encoder, CHAT, "last").completion[-1] == EOS


@pytest.mark.parametrize(
    ("template", "end"),
    [
        # Ends what is said, then the turn (Command R7B).
        ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
         "{% if m.role == 'assistant' %}</s>{% endif %}<|im_end|>{% endfor %}", "</s><|im_end|>"),
        # Ends the turn, then the chat (Phi 3).
        ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
         "{% if not add_generation_prompt %}</s>{% endif %}", "<|im_end|>"),
        # Begins another turn after the last (Command A).
        ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}</s>{% endfor %}"
         "{% if not add_generation_prompt %}<|im_start|>{% endif %}", "</s>"),
    ],
    ids=["turn", "chat", "begins"],
)  # fmt: skip
def test_all_that_ends_a_turn_is_learned_and_what_ends_the_chat_is_not(
    make_tokenizer: MakeTokenizer, template: str, end: str
) -> None:
    asked = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    encoder = Encoder(make_tokenizer(template + asked))
    encoded = _fit(encoder, CHAT)
    answers = [m["content"] + end for m in CHAT if m["role"] == "assistant"]
    assert _learned(encoder, encoded) == answers
    whole = encoder.tokenizer.apply_chat_template(CHAT)["input_ids"]
    assert list(encoded.ids) == whole[: len(encoded.ids)]
    assert encoder.decode(list(encoded.completion)) == CHAT[-1]["content"]


def test_texts_go_in_parts_where_a_template_shows_nothing_else(
    make_tokenizer: MakeTokenizer,
) -> None:
    # As those of SmolVLM and Idefics 3.
    tokenizer = make_tokenizer(
        "{% for m in messages %}<|im_start|>{{ m.role }}:"
        "{{ '' if m.content[0].type == 'image' else ' ' }}{% for part in m.content %}"
        "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}"
    )
    encoder = Encoder(tokenizer)
    encoded = _fit(encoder, CHAT)
    answers = [f" {m['content']}<|im_end|>" for m in CHAT if m["role"] == "assistant"]
    assert _learned(encoder, encoded) == answers
    parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in CHAT]
    whole = tokenizer.apply_chat_template(parts)["input_ids"]
    assert list(encoded.ids) == whole[: len(encoded.ids)]


def test_a_system_message_goes_before_the_first_question_where_a_template_takes_none(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer = make_tokenizer(NO_SYSTEM)
    text = tokenizer.decode(_fit(Encoder(tokenizer), CHAT[:3]).ids)
    assert text.startswith("<|im_start|>user\nAnswer as the clerk.\n\nIs there a room?<|im_end|>")
    ours = Encoder(tokenizer, system="Be brief.").prompt_text("Why?")
    assert ours.startswith("<|im_start|>user\nBe brief.\n\nWhy?<|im_end|>")


@pytest.mark.parametrize("turns", ["every", "last"])
@pytest.mark.parametrize("kind", ["chatml", "with_bos", "plain"])
def test_a_long_chat_loses_its_oldest_exchanges_whole(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, kind: str, turns: str
) -> None:
    full = _fit(_encoder(make_tokenizer, chat_templates, kind), CHAT, turns)
    system, *said = CHAT
    for dropped in (2, 4):
        kept = [system, *said[dropped:]]
        least = len(_fit(_encoder(make_tokenizer, chat_templates, kind), kept, turns).ids)
        encoder = _encoder(make_tokenizer, chat_templates, kind, least)
        found = _fit(encoder, CHAT, turns)
        assert found.ids == _fit(encoder, kept, turns).ids
        assert found.completion == full.completion
        assert found.cut == len(full.ids) - len(found.ids) > 0


def test_a_tool_answer_keeps_the_question_and_the_call_that_it_belongs_to(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    roomy = _encoder(make_tokenizer, chat_templates, "chatml")
    alone = _fit(roomy, CALL, "last")
    tight = _encoder(make_tokenizer, chat_templates, "chatml", len(alone.ids))
    assert _fit(tight, [*CHAT[1:3], *CALL], "last").ids == alone.ids


def test_what_a_tool_said_is_cut_before_the_question_it_was_called_for_is_dropped(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    long = [*CALL[:2], {"role": "tool", "content": "21 degrees in the shade. " * 20}, CALL[-1]]
    encoder = _encoder(make_tokenizer, chat_templates, "chatml", 150)
    text = encoder.tokenizer.decode(_fit(encoder, long, "last").ids)
    assert "How warm is it?" in text
    assert "look(Rome)" in text
    assert "<|im_start|>tool\n21 degrees in the shade." in text


def test_a_last_question_that_is_too_long_by_itself_is_cut_at_its_end(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    long = [*CHAT[:3], {"role": "user", "content": "Tell me more. " * 40}, CHAT[-1]]
    encoder = _encoder(make_tokenizer, chat_templates, "chatml", 120)
    found = _fit(encoder, long)
    assert len(found.ids) <= 120
    text = encoder.tokenizer.decode(found.ids)
    assert "Answer as the clerk." in text
    assert "Yes, number 12." not in text
    assert text.count("Tell me more.") > 2
    assert _learned(encoder, found) == [f"{CHAT[-1]['content']}<|im_end|>"]


def test_exemplars_go_before_any_text_of_the_row(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    encoder = _encoder(make_tokenizer, chat_templates, "chatml", 100)
    found = encoder.fit(_Shots(9), {"text": "What is it?"})
    assert found is not None
    text = encoder.tokenizer.decode(found.ids)
    assert "What is it?" in text
    assert 0 < text.count("Example.") < 9
    assert found.cut == 0
    assert len(found.ids) <= 100
    rendered = encoder.fit_rendered(_Shots(9), {"text": "What is it?"}, len(found.prompt))
    assert rendered is not None
    assert tuple(encoder.encode_question(rendered)) == found.prompt


class _Shots:
    """A phrasing with so many exemplars."""

    source_columns = ("text",)

    def __init__(self, count: int) -> None:
        self.count = count

    @property
    def fewer(self) -> _Shots | None:
        return _Shots(self.count - 1) if self.count else None

    def render(self, row: Mapping[str, Any], key: str = "") -> Rendered | None:
        return Rendered("Example.\n" * self.count + row["text"], "It is a lift.", None)


@pytest.mark.parametrize("template", ["chatml", None])
def test_a_masked_answer_is_read_and_not_learned(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, template: str | None
) -> None:
    tokenizer = make_tokenizer(chat_templates[template] if template else None)
    masked = [{**m, "weight": 0} if m["content"].startswith("It is") else m for m in CHAT]
    encoded, whole = (_fit(Encoder(tokenizer), chat) for chat in (masked, CHAT))
    assert encoded.ids == whole.ids
    assert encoded.spans == (whole.spans[0], whole.spans[2])


def test_a_system_message_alone_is_a_paragraph_before_a_plain_prompt(
    make_tokenizer: MakeTokenizer,
) -> None:
    rendered = Rendered("Hi", "Yes", None, ({"role": "system", "content": "Be kind."},))
    tokenizer = make_tokenizer()
    ids = Encoder(tokenizer).encode_question(rendered)
    assert tokenizer.decode(ids) == "Be kind.\n\nHi\n"
