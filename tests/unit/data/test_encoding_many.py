"""Many rows at once give what each gives by itself, and a frame is used only where it is exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from brulee.data import encoding
from brulee.data.encoding import Encoded, Encoder
from brulee.data.template import Rendered
from brulee.data.tokens import Tokens
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., "PreTrainedTokenizerFast"]
Templates = dict[str, str]
TURNS = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is there <|im_start|> a room?"},
    {"role": "assistant", "content": "Yes."},
)
TRIMS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHOUTS = TRIMS.replace("m.content | trim", "m.content | upper if m.role == 'user' else m.content")
# What stands after the prompt depends on it.
SWITCHES = TRIMS.replace("| trim", "").replace(
    "assistant\n{% endif",
    "assistant\n{% if '/no_think' in messages[-1].content %}</think>{% endif %}{% endif",
)


class Asked:
    """A phrasing of rows with a text, an answer, and perhaps turns before."""

    source_columns = ("text",)
    fewer = None

    def render(self, row: Mapping[str, Any], key: str = "") -> Rendered | None:
        if row.get("skip"):
            return None
        if row.get("fails"):
            raise InputError("it fails.")
        history = row.get("history", ())
        return Rendered(f"{row['text']}\n\n{key}?", row["answer"], None, history, row.get("learn"))


def _rows(learn: bool) -> list[dict[str, Any]]:
    texts = [
        "Where is it?",
        "  two\n\n lines",
        "caf\u00e9 \N{SNOWMAN}",
        "He wrote <|im_end|>.",
        "x" * 40,
    ]
    rows: list[dict[str, Any]] = [{"text": t, "answer": f"It is {t}"} for t in texts]
    long = {"text": "The guest waits. " * 30, "answer": "He waits."}
    chat = {"text": "Quiet?", "answer": "No.", "history": TURNS}
    odd = [
        {"text": "a", "answer": "b", "skip": True},
        {"text": "a", "answer": " "},
        {"text": "a", "answer": "b", "fails": True},
        {"text": "a", "answer": "Far too long. " * 30},
    ]
    return [*rows, long, *odd, chat, {**chat, "learn": learn}, {**long, "history": TURNS}, rows[0]]


def _one_by_one(encoder: Encoder, items: list[Any]) -> Iterator[Any]:
    for item in items:
        try:
            yield encoder.fit(*item)
        except InputError as error:
            yield error


@pytest.mark.parametrize("batch", [1, 5, 256])
@pytest.mark.parametrize("prefix", [(), (300, 301)])
@pytest.mark.parametrize("kind", ["chatml", "with_bos", "trims", "switches", "plain", "seq2seq"])
def test_many_rows_give_what_each_gives_by_itself(
    make_tokenizer: MakeTokenizer,
    chat_templates: Templates,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    prefix: tuple[int, ...],
    batch: int,
) -> None:
    monkeypatch.setattr(encoding, "_BATCH", batch)
    template = {**chat_templates, "trims": TRIMS, "switches": SWITCHES}.get(kind)
    family: Any = "seq2seq" if kind == "seq2seq" else "causal"
    tokenizer = make_tokenizer(template, begins=family == "causal", ends=kind != "chatml")
    encoder = Encoder(tokenizer, kind=family, max_length=160, prefix_ids=prefix)
    items = [(Asked(), row, f"key {n}") for n, row in enumerate(_rows(learn=family == "causal"))]
    many, single = list(encoder.fit_many(iter(items))), list(_one_by_one(encoder, items))
    assert [str(found) for found in many] == [str(found) for found in single]
    documents = [found for found in many if isinstance(found, Encoded)]
    assert len(documents) >= len(items) - 5
    assert {found.cut > 0 for found in documents} == {True, False}
    assert sum(isinstance(found, InputError) for found in many) >= 3
    assert many.count(None) == 1


def test_a_text_that_is_cut_is_tokenised_whole_as_often_as_needed(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a document, as a question, and for the places of its tokens; it takes all the time."""
    encoder = Encoder(make_tokenizer(chat_templates["chatml"]), max_length=160)
    text, whole = "The guest waits. " * 300, []
    encode, offsets = Tokens._encode, Encoder._offsets

    def counted(self: Tokens, texts: list[str], bounds: bool, plain: bool = False) -> Any:
        whole.extend(one for one in texts if len(one) >= len(text))
        return encode(self, texts, bounds, plain=plain)

    def placed(self: Encoder, one: str) -> Any:
        whole.extend([one] * (len(one) >= len(text)))
        return offsets(self, one)

    monkeypatch.setattr(Tokens, "_encode", counted)
    monkeypatch.setattr(Encoder, "_offsets", placed)
    (found,) = encoder.fit_many([(Asked(), {"text": text, "answer": "He waits."}, "")])
    assert isinstance(found, Encoded)
    assert found.cut > 0
    assert len(whole) == 3


def test_what_fails_is_given_in_its_place_with_its_reason(make_tokenizer: MakeTokenizer) -> None:
    good, bad = {"text": "a", "answer": "b"}, {"text": "a", "answer": "b", "fails": True}
    encoder = Encoder(make_tokenizer())
    found = list(encoder.fit_many((Asked(), row, "") for row in (good, bad, good)))
    assert str(found[1]) == "it fails."
    assert found[0] == found[2] == encoder.fit(Asked(), good)


def test_items_are_read_as_documents_are_asked_for(
    make_tokenizer: MakeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_BATCH", 2)
    read = []

    def items() -> Iterator[Any]:
        for n in range(100):
            read.append(n)
            yield Asked(), {"text": str(n), "answer": "b"}, ""

    next(Encoder(make_tokenizer()).fit_many(items()))
    assert read == [0, 1]


PROMPTS = ["Why?", " a ", "\n\nb", "c\n\n", "</think>x", "{{ m }}", "/no_think", "<tool_response>"]


@pytest.mark.parametrize(
    ("template", "exact"), [("chatml", True), (TRIMS, True), (SHOUTS, False), (SWITCHES, False)]
)
def test_a_frame_round_prompts_is_used_where_it_is_exact(
    make_tokenizer: MakeTokenizer,
    chat_templates: Templates,
    monkeypatch: pytest.MonkeyPatch,
    template: str,
    exact: bool,
) -> None:
    tokenizer = make_tokenizer(chat_templates.get(template, template))
    chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    framed = [
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        for chat in chats
    ]
    encoder = Encoder(tokenizer)
    applied = []
    apply = type(tokenizer).apply_chat_template

    def noted(*args: Any, **options: Any) -> Any:
        applied.append(1)
        return apply(*args, **options)

    monkeypatch.setattr(type(tokenizer), "apply_chat_template", noted)
    assert [encoder.prompt_text(prompt) for prompt in PROMPTS] == framed
    assert len(applied) == (0 if exact else len(PROMPTS))


def test_a_tokenizers_own_settings_do_not_cut_or_pad_what_is_encoded(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer = make_tokenizer()
    encoder = Encoder(tokenizer)
    expected = encoder.encode("Where is the parcel?", "It is late, by a day.")
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    tokenizer.backend_tokenizer.encode_special_tokens = True
    assert encoder.encode("Where is the parcel?", "It is late, by a day.") == expected


@pytest.mark.parametrize("kind", ["chatml", "plain"])
def test_a_tokenizer_without_a_core_that_agrees_with_it_is_asked_itself(
    make_tokenizer: MakeTokenizer, chat_templates: Templates, kind: str
) -> None:
    tokenizer = make_tokenizer(chat_templates.get(kind), begins=True)
    items = [(Asked(), row, "") for row in _rows(learn=True)[:3]]
    direct = list(Encoder(tokenizer).fit_many(items))

    class Own(type(tokenizer)):
        """Puts a token of its own before every text, which its core knows nothing of."""

        def __call__(self, text: Any, *args: Any, **options: Any) -> Any:
            found = super().__call__(text, *args, **options)
            if isinstance(text, list):
                found["input_ids"] = [[7, *ids] for ids in found["input_ids"]]
            return found

    tokenizer.__class__ = Own
    own = list(Encoder(tokenizer).fit_many(items))
    assert [found.prompt for found in own] == [(7, *found.prompt) for found in direct]
