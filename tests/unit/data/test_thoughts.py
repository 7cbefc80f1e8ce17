"""Reasoning models: what their templates make of thoughts, and answers without them."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from brulee.data.encoding import Encoder
from brulee.data.framing import FramingError
from brulee.data.template import Rendered
from brulee.data.thoughts import Thoughts
from brulee.errors import InputError

MakeTokenizer = Callable[..., Any]

_FOUND = runpy.run_path(str(Path(__file__).parents[2] / "reasoning_templates.py"))
TEMPLATES, template, SAID = (_FOUND[name] for name in ("TEMPLATES", "template", "SAID"))
Encoders = Callable[[str], Encoder]


@pytest.fixture
def encoders(make_tokenizer: MakeTokenizer) -> Encoders:
    return lambda name: Encoder(make_tokenizer(TEMPLATES[name]))


def _written(encoder: Encoder, answer: str, reasoning: str = "") -> str:
    """What is learned for an answer, control tokens too."""
    more = {"reasoning_content": reasoning} if reasoning else {}
    rendered = Rendered("Is it late?", answer, None, answered_with=more)
    return str(encoder.tokenizer.decode(encoder.encode_rendered(rendered).completion))


@pytest.mark.parametrize(
    ("name", "without", "reasoned"),
    [
        ("shown", "<think>\n\n</think>\n\n", "<think>\nHe asks.\n</think>\n\n"),
        ("begun", "\n</think>\n\n", "He asks.\n</think>\n\n"),
        ("dropped", "\n</think>\n\n", "He asks.\n</think>\n\n"),
        ("closed", "</think>", "He asks.</think>"),
        ("emptied", "</think>", "He asks.\n</think>"),
        ("channels", "[final]", "[analysis]He asks.[end][final]"),
        ("square", "[THINK][/THINK]", "[THINK]He asks.[/THINK]"),
    ],
)
def test_answers_are_written_with_their_thoughts_and_read_back_without(
    encoders: Encoders, name: str, without: str, reasoned: str
) -> None:
    encoder = encoders(name)
    assert encoder.thoughts is not None
    opening, closing, begun, _ = encoder.thoughts
    assert encoder.prompt_text("?").rstrip().endswith(opening) is begun
    assert _written(encoder, "It is.") == f"{without}It is.<|im_end|>"
    assert _written(encoder, "It is.", "He asks.") == f"{reasoned}It is.<|im_end|>"
    # As an answer's text has them, where the prompt begins thoughts often without the first tag.
    for text in (f"{opening}He asks.{closing}It is.", f"He asks.\n{closing}\n\nIt is."):
        assert _written(encoder, text) == f"{reasoned}It is.<|im_end|>"
        assert encoder.answer_text(Rendered("Is it late?", text, None)) == "It is."
    for text, thoughts in ((f"{without}It is.", ""), (f"{reasoned}It is.", "He asks.")):
        ids = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert encoder.parted([*ids, *encoder.end_ids]) == (thoughts, "It is.")
        assert encoder.decode(ids) == "It is."


@pytest.mark.parametrize("name", TEMPLATES)
def test_thoughts_that_do_not_end_have_no_answer(encoders: Encoders, name: str) -> None:
    encoder = encoders(name)
    assert encoder.thoughts is not None
    text = "He asks whether" if encoder.thoughts.begun else f"{encoder.thoughts.opening}He asks"
    ids = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert encoder.parted(ids) == (text.removeprefix(encoder.thoughts.opening), "")


def test_what_was_not_thought_is_an_answer(encoders: Encoders) -> None:
    encoder = encoders("shown")
    ids = encoder.tokenizer("It is late <think> or not", add_special_tokens=False)["input_ids"]
    assert encoder.parted(ids) == ("", "It is late <think> or not")


def test_several_answers_that_would_lose_their_thoughts_are_not_learned_at_once(
    encoders: Encoders,
) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    rendered = Rendered("Is it late?", "It is.", None, tuple(turns), learn_history=True)
    with pytest.raises(FramingError, match=r"data\.turns: last"):
        encoders("dropped").encode_rendered(rendered)
    last = Rendered("Is it late?", "It is.", None, tuple(turns))
    encoded = encoders("dropped").encode_rendered(last)
    assert encoders("dropped").decode(list(encoded.completion)) == "It is."


@pytest.mark.parametrize("mark", ["<reserved_107>", "<bot>", "[BOT]", "<|assistant|>"])
def test_a_prompt_that_ends_with_another_tag_begins_no_thoughts(
    make_tokenizer: MakeTokenizer, mark: str
) -> None:
    kept = "{% for m in messages %}{{ 'MARK' if m.role == 'assistant' else 'U:' }}{{ m.content }}"
    marked = kept + "\n{% endfor %}{{ 'MARK' if add_generation_prompt else '' }}"
    encoder = Encoder(make_tokenizer(marked.replace("MARK", mark)))
    assert encoder.prompt_text("?").endswith(mark)
    assert encoder.thoughts is None
    dropping = marked.replace("{{ 'MARK' if m.role == 'assistant' else 'U:' }}", "A:", 1)
    with pytest.raises(InputError, match="rewrites the prompt"):
        Encoder(make_tokenizer(dropping.replace("MARK", mark)))


def test_a_tag_may_share_its_last_token_with_what_follows() -> None:
    tags, pieces = (
        Thoughts("<think>", "</think>", begun=True),
        ["He a", "sks</thi", "nk>It", " is."],
    )

    def shown(ids: list[int], control: bool) -> str:
        return "".join(pieces[i] for i in ids)

    assert tags.parted([0, 1, 2, 3], shown) == ("He asks", "It is.")


def test_control_tokens_after_thoughts_are_no_part_of_the_answer() -> None:
    pieces = ["<think>", "He asks", "</think>", "It", "<pad>", " is."]

    def shown(ids: list[int], control: bool) -> str:
        return "".join(pieces[i] for i in ids if control or pieces[i] != "<pad>")

    tags = Thoughts("<think>", "</think>")
    assert tags.parted([0, 1, 2, 3, 4, 5], shown) == ("He asks", "It is.")


def test_a_template_that_names_the_tags_and_shows_nothing_knows_thoughts(
    make_tokenizer: MakeTokenizer,
) -> None:
    silent = "{# what stands between <think> and </think> is the model's #}" + template(
        "{{ m.content }}"
    )
    encoder = Encoder(make_tokenizer(silent))
    assert encoder.thoughts == Thoughts("<think>", "</think>")
    assert _written(encoder, "<think>He asks.</think>It is.").startswith("<think>He asks.</think>")


@pytest.mark.parametrize("ended", ["<think>\n\n</think>\n\n", "<|channel>thought\n<channel|>"])
def test_a_prompt_that_ends_its_thoughts_is_followed_by_the_answer(
    make_tokenizer: MakeTokenizer, ended: str
) -> None:
    encoder = Encoder(make_tokenizer(template(SAID, ended)))
    assert _written(encoder, "It is.") == "It is.<|im_end|>"
    assert encoder.unthinking == []
    for answer, reasoning in (("<think>He asks.</think>It is.", ""), ("It is.", "He asks.")):
        with pytest.raises(FramingError, match="closes the reasoning before an answer"):
            _written(encoder, answer, reasoning)


@pytest.mark.parametrize("name", ["shown", "dropped", "channels"])
def test_a_template_with_the_date_is_framed_as_before_after_midnight(
    make_tokenizer: MakeTokenizer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from transformers.utils import chat_template_utils

    today = {"number": 28}
    clock = SimpleNamespace(now=lambda: datetime(2026, 11, today["number"], 23, 59))
    monkeypatch.setattr(chat_template_utils, "datetime", clock)
    dated = "<|im_start|>system\n{{ strftime_now('%d.%m.%Y') }}<|im_end|>\n" + TEMPLATES[name]
    encoder, asked = Encoder(make_tokenizer(dated)), Rendered("Is it late?", "It is.", None)
    before = encoder.encode_rendered(asked)
    today["number"] = 29
    after = encoder.encode_rendered(asked)
    assert after.completion == before.completion
    assert "29.11.2026" in encoder.tokenizer.decode(after.prompt)
    assert encoder.tokenizer.decode(before.prompt).replace("28.", "29.") == (
        encoder.tokenizer.decode(after.prompt)
    )
    assert encoder.thoughts is not None
    run = Encoder(make_tokenizer(dated), day=date(2024, 2, 29))
    assert "29.02.2024" in run.tokenizer.decode(run.encode_rendered(asked).prompt)
    assert run.over(make_tokenizer(dated)).encode_rendered(asked) == run.encode_rendered(asked)
    assert run.digest == encoder.digest


def test_usual_tags_in_a_row_are_thoughts_of_a_model_with_others(encoders: Encoders) -> None:
    for name, reasoned in (
        ("channels", "[analysis]He asks.[end][final]"),
        ("square", "[THINK]He asks.[/THINK]"),
    ):
        encoder, text = encoders(name), "<think>\nHe asks.\n</think>\n\nIt is."
        assert _written(encoder, text) == f"{reasoned}It is.<|im_end|>"
        assert encoder.answer_text(Rendered("Is it late?", text, None)) == "It is."
        assert encoder.answer_text(Rendered("?", "An <think> or </think>", None)).startswith("An")


def test_thoughts_in_an_answer_that_a_template_would_drop_are_refused(
    encoders: Encoders, make_tokenizer: MakeTokenizer
) -> None:
    hides = "{# <|channel> <channel|> #}" + template("{{ m.content }}")
    with pytest.raises(FramingError, match="does not show the reasoning"):
        _written(Encoder(make_tokenizer(hides)), "<think>He asks.</think>It is.")
    with pytest.raises(FramingError, match="does not show the reasoning"):
        _written(encoders("hybrid"), "<think>He asks.</think>It is.")
    assert _written(encoders("hybrid"), "It is.") == "It is.<|im_end|>"
