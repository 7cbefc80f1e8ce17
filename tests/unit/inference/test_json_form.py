"""Answers that have to be JSON by a schema: what may come next, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from brulee.data.encoding import Encoder
from brulee.errors import InputError, NotNumbersError
from brulee.inference.engine import Engine
from brulee.inference.generation import Live, Order, follow
from brulee.inference.json_form import Form, FormError, json_form
from brulee.inference.sampling import Sampling
from brulee.inference.session import Session, open_engine, session_of
from brulee.models.loading import Base

pytest.importorskip("llguidance")
jsonschema = pytest.importorskip("jsonschema")

MakeBase = Callable[..., Base]
STOPS = (4, 2)  # <|im_end|>, and the end of a text
ORDER = {
    "type": "object",
    "properties": {
        "item": {"enum": ["parcel", "room"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 40},
        "price": {"type": "number", "minimum": 0, "maximum": 9},
        "day": {"type": "string", "pattern": "^(mon|tues|sun)day$"},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1, "maxItems": 2},
        "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/tag"}]},
    },
    "required": ["item", "tags"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": "string", "minLength": 2, "maxLength": 5}},
}
SMALL = {
    "type": "object",
    "properties": {"item": {"enum": ["parcel", "room"]}, "new": {"type": "boolean"}},
    "required": ["item"],
    "additionalProperties": False,
}
FREE = {"type": "object"}
SCHEMAS: list[dict[str, Any]] = [
    ORDER,
    {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"required": ["a"]}], "type": "object"},
    {"oneOf": [{"const": {"k": 1}}, {"type": "number", "exclusiveMinimum": 3, "maximum": 8}]},
    {"type": "object", "patternProperties": {"^x": {"const": 1}}, "minProperties": 1,
     "additionalProperties": False, "maxProperties": 2},
    {"type": "number", "minimum": -3, "exclusiveMaximum": -1.25},
    {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "minimum": 3,
     "exclusiveMinimum": True, "maximum": 5},
    {"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 'q"\\\n\u0001é😀'},
     "maxItems": 2},
    {"enum": [1, "1", True, None, [1, {"a": 2}], 1.5]},
    {"type": "string", "pattern": "a[0-9]", "maxLength": 6},
]  # fmt: skip


@pytest.fixture(scope="module")
def session(make_base: MakeBase) -> Session:
    base = make_base("llama")
    return session_of(base, None, {}, base.folder)


def _drawn(
    form: Form, seed: int, most: int = 400, stops: Sequence[int] = STOPS, tokens: int = 300
) -> Live:
    """An answer of a model that knows nothing: its logits are noise."""
    order = Order(0, most, [1], seed, stops)
    row = Live.begun(order, Sampling(most, 1.0, form=form), lambda _: False, several=False)
    noise = torch.Generator().manual_seed(seed)
    while not row.ended:
        follow([row], [[]], torch.randn(1, tokens, generator=noise))
    return row


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_whatever_the_model_thinks_an_answer_is_valid_by_its_schema(
    session: Session, schema: dict[str, Any]
) -> None:
    form, texts = json_form(session.tokenizer, schema), set()
    for seed in range(25):
        row = _drawn(form, seed)
        text = session.tokenizer.decode(row.ids)
        assert row.broken is None
        if row.cut:
            continue
        texts.add(text)
        jsonschema.validate(json.loads(text), schema)
    assert len(texts) > 1


def test_an_answer_ends_with_the_sign_after_which_nothing_may_follow(session: Session) -> None:
    form = json_form(session.tokenizer, {"const": "a"})
    row = _drawn(form, 0, most=3)
    assert session.tokenizer.decode(row.ids) == '"a"'
    assert (row.ended, row.cut) == (True, False)


def test_a_stop_id_may_come_where_the_json_is_whole_and_nowhere_else(session: Session) -> None:
    walk = json_form(session.tokenizer, {"type": "integer"}).begin()
    for text, may in [("", False), ("-", False), ("1", True), ("2", True)]:
        for token in session.tokenizer.encode(text, add_special_tokens=False):
            walk.take(token)
        logits = torch.zeros(300)
        walk.hide(logits, {4})
        assert (logits[4] == 0.0) == may
        assert logits[2] == -math.inf, "the tokenizer's end of text is no stop id of this model"


def test_logits_beyond_the_vocabulary_are_no_tokens(session: Session) -> None:
    walk = json_form(session.tokenizer, FREE).begin()
    logits = torch.zeros(320)
    walk.hide(logits, STOPS)
    assert (logits[300:] == -math.inf).all()
    assert session.tokenizer.decode([int(logits.argmax())]) == "{"


def test_a_model_that_gives_no_numbers_is_found_out_within_a_schema(session: Session) -> None:
    form = json_form(session.tokenizer, FREE)
    for temperature in (0.0, 1.0):
        sampling = Sampling(5, temperature, form=form)
        row = Live.begun(Order(0, 5, [1], 0, STOPS), sampling, lambda _: False, several=False)
        logits = torch.zeros(1, 300)
        logits[0, 250:] = math.nan
        follow([row], [[]], logits)
        assert isinstance(row.broken, NotNumbersError)


def test_a_token_that_the_model_may_not_write_is_no_part_of_json(session: Session) -> None:
    """Where JSON needs it, the answer ends in a sentence, and not with another token."""
    form = json_form(session.tokenizer, FREE)
    begins = [i for i in range(300) if session.tokenizer.decode([i]).startswith("{")]
    for barred, allowed in (([5], True), (begins, False)):
        for temperature in (0.0, 1.0):
            order = Order(0, 5, [1], 0, STOPS, barred=barred)
            sampling = Sampling(5, temperature, form=form)
            row = Live.begun(order, sampling, lambda _: False, several=False)
            follow([row], [[]], torch.zeros(1, 300))
            assert (row.broken is None) == allowed
            assert allowed or "no token of the model's vocabulary" in str(row.broken)


def test_no_more_spaces_than_one_or_those_of_a_new_line(session: Session) -> None:
    def takes(text: str) -> bool:
        walk = json_form(session.tokenizer, FREE).begin()
        for token in session.tokenizer.encode(text, add_special_tokens=False):
            walk.take(token)
        return not walk.problem

    assert takes('{"a": 1, "b": [1,2]}')
    assert takes('{\n  "a": 1,\n  "b": {\n    "c": 2\n  }\n}')
    assert not takes('{  "a"')
    assert not takes('{\n\n"a"')


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"type": "strng"}, "s cannot be enforced: Invalid type: strng; valid: array, boolean, "),
    ({"properties": {"a.b\n": {"format": "phone"}}},
     r's.properties["a.b\n"] cannot be enforced: Unknown format: phone; valid: date, date-time, '),
    ({"items": [{"type": "strng"}]}, "s.items[0] cannot be enforced: Invalid type"),
    ({"$schema": "v9"}, "s cannot be enforced: it refers to json-schema:///v9, and nothing is f"),
    ({"properties": {"id": {"enum": ["a", {"b": 1234567890123456789}]}}},
     "s.properties.id.enum[1].b cannot be enforced: 1234567890123456789 has too many digits"),
    ({"anyOf": [{"type": "null"}, {"const": 0.36712383142708804}]}, "s.anyOf[1].const cannot be"),
    ({"items": {"minimum": 2**53 + 1}}, "s.items.minimum cannot be enforced: 9007199254740993 has"),
    ({"properties": {"a": {"items": {"uniqueItems": True}}}},
     's.properties.a.items cannot be enforced: Unimplemented keys: ["uniqueItems"].'),
    ({"anyOf": [{"type": "null"}, {"not": {"type": "null"}}]}, "s.anyOf[1] cannot be enforced"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"pattern": "(?=a)"}}}}},
     "s.$defs.a.properties.b cannot be enforced: regex parse error"),
    ({"properties": {"a": {"$ref": "http://x.y/z"}}}, "s.properties.a cannot be enforced"),
    ({"items": {"oneOf": [{"type": "string"}, {"minLength": 2}]}},
     "s.items cannot be enforced: an answer may fit several parts of its oneOf; write anyOf."),
    ({"$ref": "#"}, "s cannot be enforced: nothing is valid by it."),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "s cannot be enforced: Unsatisfiable"),
    ({"x-guidance": {"lenient": True}, "items": {"uniqueItems": True}}, "s.items cannot be enf"),
    ({"const": "\ud800"}, "s cannot be enforced"),
    ({"enum": [f"value {i}" for i in range(100_000)]}, "s cannot be enforced"),
]  # fmt: skip


def test_formats_that_are_told_are_those_that_are_known(session: Session) -> None:
    with pytest.raises(InputError) as caught:
        json_form(session.tokenizer, {"type": "string", "format": "phone"})
    named = str(caught.value).rstrip(".").partition("valid: ")[2].split(", ")
    known = {*named, "idn-email", "uri-reference", "regex", "json-pointer", "iri", "binary"}
    for name in sorted(known):
        refused = False
        try:
            json_form(session.tokenizer, {"type": "string", "format": name})
        except InputError:
            refused = True
        assert refused == (name not in named), name


@pytest.mark.parametrize(
    "number", [2**53, -(2**53), 0.1, 1e-7, 123456789012.345, 1e15, 99.99, 1.5e-10, 1e22, -0.0]
)
def test_a_number_that_is_given_is_written_to_the_digit(session: Session, number: float) -> None:
    row = _drawn(json_form(session.tokenizer, {"const": number}), 0)
    assert json.loads(session.tokenizer.decode(row.ids)) == number


@pytest.mark.parametrize(("schema", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_schema_that_cannot_be_held_to_is_refused_with_its_place(
    session: Session, schema: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        json_form(session.tokenizer, schema, "s")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_package_the_command_that_mends_it_is_told(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'brulee\[json\]'"):
        json_form(session.tokenizer, FREE)


def _marked(signs: str) -> Any:
    """A tokenizer as T5's, which marks spaces, of single signs."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *signs, "\u2581a", "tru"]
    core = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


_SIGNS = '[]":,-.\\0123456789abcdefghijklmnopqrstuvwxyz'


def test_a_vocabulary_that_marks_spaces_writes_json() -> None:
    tokenizer = _marked(_SIGNS + "{}")
    form = json_form(tokenizer, ORDER | {"required": ["item", "tags", "day"]})
    for seed in range(10):
        row = _drawn(form, seed, stops=(1,), tokens=len(tokenizer))
        assert row.broken is None
        if not row.cut:
            jsonschema.validate(json.loads(tokenizer.decode(row.ids)), ORDER)


def test_what_is_held_to_is_told_to_the_letter(make_base: MakeBase) -> None:
    tokenizer = _marked(_SIGNS + "{}")
    tokenizer.clean_up_tokenization_spaces = True
    base = replace(make_base("llama"), tokenizer=tokenizer)
    row = _drawn(json_form(tokenizer, {"const": "a , b"}), 0, stops=(1,), tokens=len(tokenizer))
    encoder = Encoder(tokenizer, kind="causal")
    assert encoder.decode(row.ids) == '"a , b"'  # as a run scores it
    engine = open_engine(base, encoder)
    assert engine.texts(Sampling()).decode(row.ids) == '"a , b"'


def test_a_vocabulary_that_cannot_write_json_is_refused() -> None:
    with pytest.raises(InputError, match=r"its vocabulary has no '\{'"):
        json_form(_marked(_SIGNS), FREE)
    with pytest.raises(InputError, match="its vocabulary has no 'é'"):
        json_form(_marked(_SIGNS + "{}()é"[:4]), {"const": "é"})


def _bare_words() -> Any:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordPiece({"[UNK]": 0, "[SEP]": 1, "a": 2}, unk_token="[UNK]"))
    core.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="[SEP]", unk_token="[UNK]")


def test_a_tokenizer_whose_bytes_are_not_known_is_refused() -> None:
    with pytest.raises(InputError, match="the text of its tokens is not known"):
        json_form(_bare_words(), FREE)


def test_bytes_as_tokens_write_json() -> None:
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer()
    form = json_form(tokenizer, {"enum": ["ä", "ö", 12]})
    row = _drawn(form, 0, stops=(1,), tokens=len(tokenizer))
    assert json.loads(tokenizer.decode(row.ids)) in ("ä", "ö", 12)


def test_a_search_for_the_likeliest_is_refused_within_a_schema(session: Session) -> None:
    with pytest.raises(InputError, match="beams = 4 is not valid with a JSON schema"):
        Sampling(5, beams=4, form=json_form(session.tokenizer, FREE))


@pytest.fixture(scope="module", params=["llama", "gpt2", "mistral", "bart", "t5"])
def engine(make_base: MakeBase, request: pytest.FixtureRequest) -> tuple[Engine, Base]:
    base = make_base(request.param)
    return session_of(base, None, {}, base.folder).engine, base


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_kind_of_model_writes_what_its_logits_say_within_the_schema(
    engine: tuple[Engine, Base], temperature: float
) -> None:
    model, base = engine
    prompts = [base.tokenizer.encode(text) for text in ("a parcel", "The guest", "one two three")]
    sampling = Sampling(250, temperature, seed=3, form=json_form(base.tokenizer, SMALL))
    written = model.complete(prompts, sampling)
    most = model.order(0, prompts[0], 0, sampling).most
    for prompt, one in zip(prompts, written, strict=True):
        if len(one.ids) < most:
            jsonschema.validate(json.loads(one.text), SMALL)
        if prompt is prompts[0]:
            assert list(model.stream(prompt, sampling)) == list(one.ids)
    assert any(len(one.ids) < most for one in written)


def test_an_answer_that_cannot_go_on_is_an_error_and_no_text(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = json_form(session.tokenizer, FREE)
    walk = form.begin()
    walk.take(session.tokenizer.encode("x", add_special_tokens=False)[0])  # no JSON begins so
    monkeypatch.setattr(Form, "begin", lambda _: walk)
    with pytest.raises(FormError, match="cannot go on as its schema has it"):
        session.engine.complete([[1, 5]], Sampling(5, form=form))
