"""What is shown of a row is what is trained on, and what is read at inference."""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from brulee.data.corpus import open_corpus
from brulee.data.encoding import Encoder
from brulee.data.inspection_rows import Shown, pieces, show
from brulee.recipe import recipe_from_dict

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

ROWS = "text,label\n" + "".join(
    f"the customer asked {i} \U0001f600 caf\u00e9,yes\n" for i in range(30)
)


@pytest.fixture
def shown(
    tmp_path: "Path",
    make_tokenizer: "Callable[..., PreTrainedTokenizerFast]",
    chat_templates: dict[str, str],
) -> Callable[..., Shown | None]:
    file = tmp_path / "rows.csv"
    file.write_text(ROWS, encoding="utf-8")

    def make(
        max_length: int = 500, chat: str | None = "chatml", template: int = 0, **data: object
    ) -> Shown | None:
        asked = {"prompt": "Is it so?\n{{text}}", "completion": "{{label}}"}
        recipe = recipe_from_dict({"data": {"source": str(file), "templates": asked, **data}})
        corpus = open_corpus(recipe)
        tokenizer = make_tokenizer(chat_templates[chat] if chat else None)
        encoder = Encoder(tokenizer, max_length=max_length)
        task = corpus.tasks["rows"]
        return show(task, "rows", encoder, task.train[0], template, "0/0/0")

    return make


@pytest.mark.parametrize("chat", ["chatml", "with_bos", None])
def test_the_pieces_join_up_to_the_prompt_and_the_completion(shown, chat: str | None) -> None:
    row = shown(chat=chat)
    text = "".join(piece.text for piece in row.pieces)
    learned = "".join(piece.text for piece in row.pieces if piece.learned)
    assert text == row.prompt + learned
    assert "\U0001f600 caf\u00e9" in text
    assert learned.startswith("yes")
    assert sum(len(piece.ids) for piece in row.pieces) == row.tokens
    assert sum(len(piece.ids) for piece in row.pieces if piece.learned) == row.learned


def test_a_character_of_several_tokens_is_one_piece(shown) -> None:
    (emoji,) = [piece for piece in shown().pieces if "\U0001f600" in piece.text]
    assert len(emoji.ids) > 1


def test_special_tokens_are_written_out_and_the_end_of_the_turn_is_learned(shown) -> None:
    special = [piece for piece in shown().pieces if piece.special]
    assert [piece.text for piece in special][:2] == ["<|im_start|>", "<|im_end|>"]
    assert (special[-1].text, special[-1].learned) == ("<|im_end|>", True)


@pytest.mark.parametrize("max_length", [500, 45])
def test_inference_reads_the_tokens_that_training_put_before_the_answer(
    shown, max_length: int
) -> None:
    row = shown(max_length)
    assert row.same
    assert (row.cut > 0) == (max_length == 45)
    assert row.tokens <= max_length


def test_a_row_that_cannot_fit_says_so_instead_of_a_document(shown) -> None:
    row = shown(max_length=20)
    assert row.pieces == ()
    assert "do not fit into train.max_length = 20" in row.problem


def test_shown_examples_stand_in_the_prompt(shown) -> None:
    row = shown(shots={"count": 2, "share": 1.0})
    assert row.prompt.count("yes") == 2
    assert row.same


def test_pieces_of_every_answer_of_a_chat_are_learned(
    make_tokenizer, chat_templates, tmp_path: "Path"
) -> None:
    file = tmp_path / "chats.jsonl"
    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "Well?"), ("assistant", "Yes")]
    chats = [[{"role": r, "content": f"{c} {i}"} for r, c in turns] for i in range(20)]
    file.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    task = open_corpus(recipe_from_dict({"data": {"source": str(file)}})).tasks["chats"]
    encoder = Encoder(make_tokenizer(chat_templates["chatml"]))
    row = show(task, "chats", encoder, task.train[0], 0, "")
    assert row is not None
    learned = "".join(piece.text for piece in row.pieces if piece.learned)
    assert re.fullmatch(r"Hello \d+<\|im_end\|>Yes \d+<\|im_end\|>", learned)
    assert row.same
    assert row.prompt.endswith("<|im_start|>assistant\n")


def test_nothing_is_lost_between_read_and_learned(make_tokenizer) -> None:
    encoder = Encoder(make_tokenizer())
    encoded = encoder.encode("a", "\u00e9")
    found = list(pieces(encoder.tokenizer, encoded))
    assert [piece.text for piece in found] == ["a", "\n", "\u00e9", "</s>"]
    assert [piece.learned for piece in found] == [False, False, True, True]


def test_an_encoder_decoders_prompt_and_completion_are_both_shown(
    make_tokenizer, tmp_path: "Path"
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(ROWS, encoding="utf-8")
    asked = {"prompt": "Is it so?\n{{text}}", "completion": "{{label}}"}
    recipe = recipe_from_dict({"data": {"source": str(file), "templates": asked}})
    task = open_corpus(recipe).tasks["rows"]
    encoder = Encoder(make_tokenizer(ends=True), kind="seq2seq")
    row = show(task, "rows", encoder, task.train[0], 0, "")
    assert row is not None
    assert row.same
    assert "".join(piece.text for piece in row.pieces) == f"{row.prompt}</s>yes</s>"
