"""Token ids of documents: the chat template's own, one beginning, an end that is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from brulee.data.encoding import Encoder
from brulee.data.template import Rendered, Template
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., "PreTrainedTokenizerFast"]
Templates = dict[str, str]
BOS, EOS, IM_END = 1, 2, 4
PROMPT = "Summarise: the guest asked for a quiet room, but only room 12 was left."
COMPLETION = "The guest asked for a quiet room; the hotel had only number 12 (by the lift)."


class Summarise:
    """A stand-in for a template whose prompt has two source columns round an instruction."""

    source_columns = ("title", "dialogue")
    fewer = None

    def render(self, row: Mapping[str, Any], key: str = "") -> Rendered | None:
        if row.get("skip"):
            return None
        text = f"Before it.\n{row.get('title', '')}\n\n{row['dialogue']}\n\nNow the summary:"
        return Rendered(text, row["summary"], None)


@pytest.fixture
def chatml(make_tokenizer: MakeTokenizer, chat_templates: Templates) -> Encoder:
    return Encoder(make_tokenizer(chat_templates["chatml"]))


@pytest.fixture
def plain(make_tokenizer: MakeTokenizer) -> Encoder:
    return Encoder(make_tokenizer(begins=True))


def _conversation(system: str | None = None) -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    user = {"role": "user", "content": PROMPT}
    return [*first, user, {"role": "assistant", "content": COMPLETION}]


@pytest.mark.parametrize("system", [None, "Answer as a hotel clerk."])
@pytest.mark.parametrize("name", ["chatml", "with_bos"])
def test_ids_are_the_chat_templates(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, name: str, system: str | None
) -> None:
    tokenizer = make_tokenizer(chat_templates[name], begins=name == "with_bos")
    encoded = Encoder(tokenizer, system=system).encode(PROMPT, COMPLETION)
    whole = tokenizer.apply_chat_template(_conversation(system))["input_ids"]
    ids = list(encoded.ids)
    assert ids == whole[: len(ids)]
    # What the template puts after the end of a turn is not the answer's business.
    assert tokenizer.decode(whole[len(ids) :]).strip() == ""


@pytest.mark.parametrize("name", ["chatml", "with_bos"])
def test_the_prompt_at_inference_is_the_prompt_of_training(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, name: str
) -> None:
    tokenizer = make_tokenizer(chat_templates[name])
    encoder = Encoder(tokenizer)
    prompt = encoder.encode_prompt(PROMPT)
    assert tuple(prompt) == encoder.encode(PROMPT, COMPLETION).prompt
    asked = tokenizer.apply_chat_template(_conversation()[:-1], add_generation_prompt=True)
    assert prompt == asked["input_ids"]


def test_plain_prompts_at_inference_are_those_of_training(plain: Encoder) -> None:
    assert tuple(plain.encode_prompt(PROMPT)) == plain.encode(PROMPT, COMPLETION).prompt


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("name", ["with_bos", None])
def test_a_document_begins_exactly_once(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, name: str | None, begins: bool
) -> None:
    template = chat_templates[name] if name else None
    ids = Encoder(make_tokenizer(template, begins=begins)).encode(PROMPT, COMPLETION).ids
    # A tokenizer that puts no beginning before plain text means none; a chat template decides.
    assert ids.count(BOS) == int(begins or name is not None)
    assert BOS not in ids[1:]


@pytest.mark.parametrize(
    ("name", "end"), [("chatml", IM_END), ("with_bos", EOS), (None, EOS)], ids=str
)
def test_the_end_of_the_turn_is_the_last_learned_token(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, name: str | None, end: int
) -> None:
    encoder = Encoder(make_tokenizer(chat_templates[name] if name else None))
    encoded = encoder.encode(PROMPT, COMPLETION)
    assert encoded.completion[-1] == end
    assert encoded.completion.count(end) == 1
    assert end in encoder.stop_ids
    assert encoder.decode(list(encoded.completion)) == COMPLETION


def test_generation_also_stops_at_the_end_of_text(chatml: Encoder) -> None:
    assert chatml.stop_ids == (IM_END, EOS)


def test_prompt_tokens_are_not_learned_even_where_they_repeat_the_completion(
    chatml: Encoder,
) -> None:
    encoded = chatml.encode(COMPLETION, COMPLETION)
    assert encoded.learned == len(chatml.encode("x", COMPLETION).completion)
    assert encoded.prompt + encoded.completion == encoded.ids


def test_plain_text_ends_the_prompt_with_a_newline(plain: Encoder) -> None:
    assert plain.prompt_text("Say it.") == "Say it.\n"
    assert plain.prompt_text("Say it:\n") == "Say it:\n"
    decoded = plain.tokenizer.decode(plain.encode("Say it.", "Hello").ids)
    assert decoded == "<s>Say it.\nHello</s>"


def test_a_chat_template_can_be_left_aside(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    tokenizer = make_tokenizer(chat_templates["chatml"], begins=True)
    encoder = Encoder(tokenizer, chat_template="none")
    assert tokenizer.decode(encoder.encode("Say it.", "Hello").ids) == "<s>Say it.\nHello</s>"


def test_a_tokenizer_that_ends_every_text_does_not_end_the_prompt(
    make_tokenizer: MakeTokenizer,
) -> None:
    encoder = Encoder(make_tokenizer(begins=True, ends=True))
    encoded = encoder.encode(PROMPT, COMPLETION)
    assert EOS not in encoded.prompt
    assert encoded.completion[-1] == EOS


def test_an_encoder_decoder_reads_text_with_its_end_and_writes_text_with_its_end(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    tokenizer = make_tokenizer(chat_templates["chatml"], ends=True)
    encoder = Encoder(tokenizer, kind="seq2seq")
    encoded = encoder.encode(PROMPT, COMPLETION)
    assert list(encoded.prompt) == tokenizer(PROMPT)["input_ids"] == encoder.encode_prompt(PROMPT)
    assert list(encoded.completion) == tokenizer(text_target=COMPLETION)["input_ids"]
    assert encoded.prompt[-1] == encoded.completion[-1] == EOS


@pytest.mark.parametrize("completion", ["", "  \n"])
def test_an_empty_completion_is_refused(chatml: Encoder, completion: str) -> None:
    with pytest.raises(InputError, match="completion is empty"):
        chatml.encode(PROMPT, completion)


def test_a_template_that_rewrites_the_prompt_is_refused(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    with pytest.raises(InputError, match=r"rewrites the prompt.*model\.chat_template=none"):
        Encoder(make_tokenizer(chat_templates["rewrites"]))


def test_a_system_message_without_a_chat_template_is_refused(
    make_tokenizer: MakeTokenizer,
) -> None:
    with pytest.raises(InputError, match=r"data\.system"):
        Encoder(make_tokenizer(), system="Be brief.")


def test_a_tokenizer_without_an_end_is_refused(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="no end-of-text token"):
        Encoder(tokenizer)


def test_what_the_template_puts_before_an_answer_is_learned(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    # Some templates open an answer with a header that the generation prompt does not have.
    thinks = chat_templates["chatml"].replace(
        "{{ m.content }}", "{{ '(no thoughts) ' if m.role == 'assistant' else '' }}{{ m.content }}"
    )
    tokenizer = make_tokenizer(thinks)
    encoded = Encoder(tokenizer).encode(PROMPT, COMPLETION)
    assert tokenizer.decode(encoded.completion).startswith("(no thoughts) The guest")
    whole = tokenizer.apply_chat_template(_conversation())["input_ids"]
    assert list(encoded.ids) == whole[: len(encoded.ids)]
    assert Encoder(tokenizer).decode(list(encoded.completion)) == COMPLETION


# As reasoning models have it: thoughts of an answer are told apart by their closing tag.
THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% set parts = m.content.split('</think>') %}<think>\n"
    "{{ parts[0].replace('<think>', '').strip() if parts[1:] else '' }}\n</think>\n\n"
    "{{ parts[-1].strip() }}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("answer", ["It is late.", "<think>He asks.</think>It is late."])
def test_an_answers_own_thoughts_stand_where_the_template_puts_them(
    make_tokenizer: MakeTokenizer, answer: str
) -> None:
    tokenizer = make_tokenizer(THOUGHTS)
    encoded = Encoder(tokenizer).encode(PROMPT, answer)
    chat = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answer}]
    whole = tokenizer.apply_chat_template(chat)["input_ids"]
    assert list(encoded.ids) == whole[: len(encoded.ids)]
    assert tokenizer.decode(encoded.completion).count("<think>") == 1


def test_a_template_that_rewrites_the_prompt_for_some_answers_refuses_those(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    short = "{% if messages[-1].content == 'No.' %}Short. {% endif %}" + chat_templates["chatml"]
    awkward = short.replace("{{ m.content }}", "{{ m.content.replace('</think>', '') }}")
    encoder = Encoder(make_tokenizer(awkward))
    encoder.encode(PROMPT, COMPLETION)
    with pytest.raises(InputError, match="rewrites the prompt or the end of this answer"):
        encoder.encode(PROMPT, "No.")


def test_a_raw_text_that_begins_as_a_rendered_chat_gets_no_second_bos(make_tokenizer: Any) -> None:
    encoder = Encoder(make_tokenizer(begins=True))
    assert encoder.encode_raw("<s>[user] Hi") == encoder.encode_raw("[user] Hi")
    assert encoder.encode_raw("<s>[user] Hi").count(encoder.tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_a_raw_text_that_goes_on_does_not_end(make_tokenizer: Any, kind: Any) -> None:
    """An encoder reads the text's end, if its tokenizer writes one."""
    encoder = Encoder(make_tokenizer(begins=True, ends=True), kind=kind)
    whole = encoder.tokenizer("The guest")["input_ids"]
    assert (whole[0], whole[-1]) == (BOS, EOS)
    assert encoder.encode_raw("The guest") == (whole[:-1] if kind == "causal" else whole)


def test_documents_of_a_method_begin_with_its_prefix(chatml: Encoder) -> None:
    prefixed = chatml.with_prefix((300, 301))
    assert prefixed.encode_prompt(PROMPT) == [300, 301, *chatml.encode_prompt(PROMPT)]
    assert prefixed.encode(PROMPT, "ok").ids == (300, 301, *chatml.encode(PROMPT, "ok").ids)
    assert prefixed.with_prefix((300, 301)) is prefixed
    assert chatml.with_prefix(()) is chatml


def test_the_digest_tells_framings_apart(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    tokenizer = make_tokenizer(chat_templates["chatml"])
    framings = [
        Encoder(tokenizer),
        Encoder(tokenizer, chat_template="none"),
        Encoder(tokenizer, system="Be brief."),
        Encoder(make_tokenizer(chat_templates["with_bos"])),
    ]
    assert len({f.digest for f in framings}) == len(framings)
    assert Encoder(tokenizer, max_length=64).digest == framings[0].digest


def test_the_digest_does_not_change_with_the_day(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some templates print the date; a run resumed after midnight is still the same run.
    tokenizer = make_tokenizer("It is TODAY. " + chat_templates["chatml"])
    apply = type(tokenizer).apply_chat_template
    encoders = []
    for day in ("Monday", "Tuesday"):
        monkeypatch.setattr(
            type(tokenizer),
            "apply_chat_template",
            lambda *args, day=day, **options: apply(*args, **options).replace("TODAY", day),
        )
        encoder = Encoder(tokenizer)
        encoders.append((encoder.prompt_text("?"), encoder.digest))
    assert encoders[0][0] != encoders[1][0]
    assert encoders[0][1] == encoders[1][1]


def test_a_conversation_may_bring_its_own_system_message(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    encoder = Encoder(make_tokenizer(chat_templates["chatml"]), system="Be brief.")
    asked = [{"role": "user", "content": "Why?"}]
    assert "Be brief." in encoder.chat_text(asked)
    own = encoder.chat_text([{"role": "system", "content": "Be long."}, *asked])
    assert "Be long." in own
    assert "Be brief." not in own


def _row(turns: int = 40) -> dict[str, Any]:
    dialogue = "\n".join(f"Guest: I waited {i} minutes, café!" for i in range(turns))
    return {"title": "Late", "dialogue": dialogue, "summary": COMPLETION}


def _fitting(
    make_tokenizer: MakeTokenizer, templates: Templates, kind: str, length: int
) -> Encoder:
    if kind == "seq2seq":
        return Encoder(make_tokenizer(ends=True), kind="seq2seq", max_length=length)
    template = templates["chatml"] if kind == "chat" else None
    return Encoder(make_tokenizer(template, begins=True), max_length=length)


@pytest.mark.parametrize("length", [160, 161, 162, 163, 200])
@pytest.mark.parametrize("kind", ["chat", "plain", "seq2seq"])
def test_a_long_document_loses_the_end_of_its_source_and_nothing_else(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, kind: str, length: int
) -> None:
    encoder = _fitting(make_tokenizer, chat_templates, kind, length)
    row = _row()
    full = encoder.encode(Summarise().render(row).prompt, COMPLETION)
    encoded = encoder.fit(Summarise(), row)
    assert encoded is not None
    # Not a token more than needed, but for one character that may be several tokens long.
    assert length - 3 <= len(encoded.ids) <= length
    assert encoded.cut == len(full.ids) - len(encoded.ids)
    assert encoded.completion == full.completion
    text = encoder.tokenizer.decode(encoded.prompt)
    before, _, after = text.partition("Late\n\n")
    kept, instruction, _ = after.partition("\n\nNow the summary:")
    assert before.endswith("Before it.\n")
    assert instruction
    assert kept
    assert row["dialogue"].startswith(kept)


def test_a_source_column_that_no_template_can_spell_is_cut(chatml: Encoder) -> None:
    template = Template("dashes", "{{ the_text }} ||| {{ label }}")
    chatml.max_length = 64
    encoded = chatml.fit(template, {"the-text": "a guest " * 200, "label": "yes"})
    assert encoded is not None
    assert encoded.cut > 0
    assert len(encoded.ids) <= 64


@pytest.mark.parametrize("length", range(150, 158))
def test_characters_of_several_tokens_are_cut_whole(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, length: int
) -> None:
    encoder = _fitting(make_tokenizer, chat_templates, "chat", length)
    encoded = encoder.fit(Summarise(), {**_row(), "dialogue": "\N{SNOWMAN}" * 60})
    assert encoded is not None
    text = encoder.tokenizer.decode(encoded.prompt)
    assert "\N{SNOWMAN}" in text
    assert "\N{REPLACEMENT CHARACTER}" not in text


def test_a_source_that_stands_in_the_prompt_twice_still_fits(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    class Twice(Summarise):
        def render(self, row: Mapping[str, Any], key: str = "") -> Rendered | None:
            return Rendered(f"{row['dialogue']}\nAgain:\n{row['dialogue']}", row["summary"], None)

    encoder = _fitting(make_tokenizer, chat_templates, "chat", 160)
    encoded = encoder.fit(Twice(), _row(turns=5))
    assert encoded is not None
    assert len(encoded.ids) <= 160


def test_a_document_that_fits_is_left_alone(chatml: Encoder) -> None:
    row = _row(turns=2)
    encoded = chatml.fit(Summarise(), row)
    assert encoded == chatml.encode(Summarise().render(row).prompt, COMPLETION)
    assert encoded.cut == 0


def test_a_row_the_template_skips_is_none(chatml: Encoder) -> None:
    assert chatml.fit(Summarise(), {**_row(), "skip": True}) is None


def test_a_completion_longer_than_the_limit_is_refused_with_both_counts(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    encoder = _fitting(make_tokenizer, chat_templates, "chat", 40)
    learned = encoder.encode("x", COMPLETION).learned
    with pytest.raises(InputError, match=rf"of which {learned} are .*train\.max_length = 40"):
        encoder.fit(Summarise(), _row())


def test_a_template_without_a_source_to_cut_is_refused(
    make_tokenizer: MakeTokenizer, chat_templates: Templates
) -> None:
    class Fixed(Summarise):
        source_columns = ()

    encoder = _fitting(make_tokenizer, chat_templates, "chat", 160)
    with pytest.raises(InputError, match=r"train\.max_length = 160"):
        encoder.fit(Fixed(), _row())


def test_decoding_drops_stop_tokens_and_outer_spaces(chatml: Encoder) -> None:
    ids = chatml.tokenizer("  Hello there \n", add_special_tokens=False)["input_ids"]
    assert chatml.decode([*ids, IM_END]) == "Hello there"
    assert chatml.decode([]) == ""
