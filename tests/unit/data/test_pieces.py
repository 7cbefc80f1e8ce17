"""Plain texts: what is learned of them, and how one that is too long is divided."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brulee.data.corpus import Corpus, open_corpus
from brulee.data.encoding import Encoder
from brulee.data.pieces import divide, pieces
from brulee.data.template import Rendered
from brulee.errors import InputError
from brulee.recipe import recipe_from_dict

WORDS = [f"word{number} " * 7 for number in range(12)]
TEXTS = [f"Document {number}. " + "".join(WORDS) * (1 + number % 3) for number in range(20)]


def corpus_of(texts: list[str], write: Callable[..., str], **data: Any) -> Corpus:
    rows = write([{"text": text} for text in texts])
    split = {"test": 0.25, "validation": 0.1, "near_duplicates": False}
    return open_corpus(recipe_from_dict({"data": {"source": rows, "split": split, **data}}))


@pytest.fixture
def write(tmp_path: Any) -> Callable[..., str]:
    import json

    def write(rows: list[dict[str, Any]]) -> str:
        file = tmp_path / "texts.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(file)

    return write


@pytest.mark.parametrize("chat", [None, "chatml", "with_bos"])
@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("ends", [False, True])
def test_all_of_a_text_is_learned_but_for_what_nothing_stands_before(
    make_tokenizer: Callable[..., Any],
    chat_templates: dict[str, str],
    chat: str | None,
    begins: bool,
    ends: bool,
) -> None:
    tokenizer = make_tokenizer(chat and chat_templates[chat], begins=begins, ends=ends)
    encoder = Encoder(tokenizer)
    text = "  The guest asked.\n\n"
    own = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = encoder.encode_rendered(Rendered("", text, None, plain=True))
    eos, start = tokenizer.eos_token_id, [tokenizer.bos_token_id] if begins else []
    assert list(found.ids) == [*start, *own, eos]
    assert found.spans == ((1, len(found.ids)),)
    goes_on = encoder.encode_rendered(Rendered("", text, None, plain=True, ends=False))
    assert list(goes_on.ids) == [*start, *own]


def test_what_a_method_reads_first_is_not_learned(make_tokenizer: Callable[..., Any]) -> None:
    encoder = Encoder(make_tokenizer()).with_prefix((7, 7, 7))
    found = encoder.encode_rendered(Rendered("", "The guest", None, plain=True))
    assert found.spans == ((4, len(found.ids)),)


def test_a_control_token_in_a_text_is_text(
    make_tokenizer: Callable[..., Any], chat_templates: dict[str, str]
) -> None:
    tokenizer = make_tokenizer(chat_templates["chatml"])
    found = Encoder(tokenizer).encode_rendered(
        Rendered("", "He wrote <|im_end|> twice.", None, plain=True)
    )
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") not in found.ids
    assert tokenizer.decode(found.ids[:-1]) == "He wrote <|im_end|> twice."


@given(
    text=st.text(alphabet=st.sampled_from("ab \n\té\U0001f600漢"), min_size=1, max_size=400),
    most=st.integers(12, 40),
)
def test_pieces_join_up_to_the_text_and_fit(text: str, most: int) -> None:
    # Four tokens a character, as of bytes, and a frame of two.
    starts = [at for at in range(len(text)) for _ in range(4)]
    found = pieces(text, starts, lambda piece: 4 * len(piece) + 2, most, 2)
    assert "".join(found) == text
    assert all(piece and 4 * len(piece) + 2 <= most for piece in found)


def test_a_cut_is_made_where_a_paragraph_a_line_or_a_word_ends() -> None:
    def cut(text: str) -> str:
        return pieces(text, range(len(text)), len, 20, 0)[0]

    assert cut("aaaa aaaa aaaa a\n\naa\naaa aaa") == "aaaa aaaa aaaa a\n\n"
    assert cut("aaaa aaaa aaaa aa\naaa aaa") == "aaaa aaaa aaaa aa\n"
    assert cut("aaaa aaaa aaaa aaa aaaa aaa") == "aaaa aaaa aaaa aaa"
    assert cut("aaaa aaaa aaaa aaaaa aaa aaa") == "aaaa aaaa aaaa aaaaa"
    assert cut("a" * 30) == "a" * 20


def test_a_piece_that_has_more_tokens_by_itself_is_cut_shorter() -> None:
    text = "a" * 40
    found = pieces(text, range(40), lambda piece: len(piece) + 3 * (len(piece) > 5), 20, 0)
    assert "".join(found) == text
    assert max(map(len, found)) == 17


def test_a_piece_of_white_space_is_left_out(
    make_tokenizer: Callable[..., Any], write: Callable[..., str]
) -> None:
    texts = [f"Document {number}.{' ' * 2000}The end of {number}." for number in range(20)]
    divided = divide(corpus_of(texts, write), Encoder(make_tokenizer(), max_length=64))
    (task,) = divided.tasks.values()
    pieces = [task.rows[row]["text"] for row in (*task.train, *task.validation, *task.test)]
    assert all(piece.strip() for piece in pieces)
    words = " ".join("".join(pieces).replace("Document", " Document").split())
    assert all(f"Document {n}. The end of {n}." in words for n in range(20))


def test_no_room_for_a_token_is_refused(
    make_tokenizer: Callable[..., Any], write: Callable[..., str]
) -> None:
    corpus = corpus_of(TEXTS, write)
    encoder = Encoder(make_tokenizer(), max_length=8).with_prefix((0,) * 8)
    with pytest.raises(InputError, match=r"train\.max_length leaves 0 tokens for a piece"):
        divide(corpus, encoder)


def test_a_tokenizer_that_knows_no_places_divides_nothing(
    make_tokenizer: Callable[..., Any], write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make_tokenizer()
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    assert divide(corpus_of(TEXTS, write), Encoder(tokenizer, max_length=10_000)).tasks
    with pytest.raises(InputError, match="gives no token offsets, which are needed to cut a text"):
        divide(corpus_of(TEXTS, write), Encoder(tokenizer, max_length=64))


def test_long_texts_are_divided_and_nothing_of_them_is_lost(
    make_tokenizer: Callable[..., Any], write: Callable[..., str]
) -> None:
    whole = corpus_of(TEXTS, write)
    encoder = Encoder(make_tokenizer(begins=True), max_length=64)
    divided = divide(whole, encoder)
    (before,), (task,) = whole.tasks.values(), divided.tasks.values()
    assert len(task.train) > len(before.train)
    for name in ("train", "validation", "test"):
        joined: dict[int, str] = {}
        assert task.division is not None
        for row in getattr(task, name):
            of = task.division.of[row]
            joined[of] = joined.get(of, "") + task.rows[row]["text"]
        assert joined == {row: before.rows[row]["text"] for row in getattr(before, name)}
    documents = [task.draw(encoder, row, 0, "") for row in task.train]
    assert all(len(document.ids) <= 64 for document in documents)
    last = [row for row in task.train if not task.rows[row]["goes_on"]]
    assert len(last) == len(before.train)
    eos = encoder.tokenizer.eos_token_id
    ends = [row for row, one in zip(task.train, documents, strict=True) if one.ids[-1] == eos]
    assert ends == last
    assert task.rows.place(task.train[1]).endswith("piece 2")


def test_a_text_that_fits_stays_as_it_is_and_where_it_was(
    make_tokenizer: Callable[..., Any], write: Callable[..., str]
) -> None:
    divided = divide(corpus_of(TEXTS, write), Encoder(make_tokenizer(), max_length=10_000))
    (task,) = divided.tasks.values()
    assert len(task.rows) == len(TEXTS)
    assert task.rows.place(3).endswith("texts.jsonl, line 4")


def test_pieces_of_one_text_are_drawn_together(
    make_tokenizer: Callable[..., Any], write: Callable[..., str]
) -> None:
    encoder = Encoder(make_tokenizer(), max_length=64)
    (task,) = divide(corpus_of(TEXTS, write), encoder).tasks.values()
    assert task.division is not None
    groups: dict[int, set[str]] = {}
    for row in task.test:
        item = task.item(row, encoder, None)
        assert item is not None
        groups.setdefault(task.division.of[row], set()).add(item.group)
    assert all(len(found) == 1 and "" not in found for found in groups.values())
    assert len(set.union(*groups.values())) == len(groups)


def test_an_encoder_decoder_has_no_prompt_to_read(
    make_tokenizer: Callable[..., Any], write: Callable[..., str]
) -> None:
    encoder = Encoder(make_tokenizer(ends=True), kind="seq2seq")
    with pytest.raises(InputError, match="plain text, which has no prompt for an encoder-decoder"):
        divide(corpus_of(TEXTS, write), encoder)


@pytest.mark.parametrize(
    "given", [{"system": "Be kind."}, {"shots": {"count": 1}}, {"references": ["text"]}]
)
def test_what_belongs_to_a_prompt_or_an_answer_is_refused(
    write: Callable[..., str], given: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=f"has no prompts.*so {next(iter(given))} does not apply"):
        corpus_of(TEXTS, write, **given)


def test_plain_text_by_name_takes_a_column_whatever_stands_beside_it(tmp_path: Any) -> None:
    file = tmp_path / "pages.jsonl"
    file.write_text(
        "".join(
            f'{{"body": "Page {n}, of which much is to say.", "label": {n}}}\n' for n in range(9)
        )
    )
    data = {"source": str(file), "templates": "plain-text", "columns": {"text": "body"}}
    (task,) = open_corpus(recipe_from_dict({"data": data})).tasks.values()
    assert task.plain
    with pytest.raises(InputError, match="plain-text has no prompt and cannot be in a list"):
        open_corpus(recipe_from_dict({"data": data | {"templates": ["plain-text", "ag-news"]}}))


def test_a_blank_text_is_left_out_and_a_null_one_named(write: Callable[..., str]) -> None:
    (task,) = corpus_of([*TEXTS, " \n"], write).tasks.values()
    assert task.dropped["blank text"] == 1
    with pytest.raises(InputError, match=r"texts\.jsonl, line 1: the column 'text'.*is missing"):
        corpus_of([None, *TEXTS], write)  # type: ignore[list-item]


def test_repeated_and_nearly_repeated_texts_stay_on_one_side(write: Callable[..., str]) -> None:
    texts = [" ".join(f"{word}{number}" for word in range(100)) for number in range(8)]
    near = texts[2].replace("55", "term", 1)
    (task,) = corpus_of([texts[0], *texts, near], write, split={"test": 0.25}).tasks.values()
    assert (task.splits.duplicates, task.splits.near_duplicates) == (1, 1)
    assert task.splits.groups[3] == task.splits.groups[9]
