"""Files of any content: read, told apart, rendered, tokenised, or refused with their name."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brulee.data.encoding import Encoder
from brulee.data.formats import detect, require_templates
from brulee.data.pieces import pieces
from brulee.data.sources import open_source
from brulee.data.template import Rendered
from brulee.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ODD = [
    "\x00", "\ud800", "\udc80x", "\u202e\u2066abc\u2069", "\U0001f468\u200d\U0001f469", "e\u0301",
    "\ufeff", "\u2028", "\r", "|||", "{{ x }}", "{% include 'x' %}", "<|im_end|>", "</s>",
    "\x1b[2J", "x" * 5000, " ", "", "\\", '"', "'", "\t", "\uffff", "\ue0b0\ue0b1\ue0b2",
]  # fmt: skip
TEXTS = st.one_of(st.sampled_from(ODD), st.text(max_size=12), st.sampled_from(["yes", "Tea?"]))
CLEAN = st.sampled_from([text for text in ODD if text.isprintable() and text.strip()])
# Names that decide a format, so that each format meets values that do not fit it.
COLUMNS = st.sampled_from(
    ["prompt", "completion", "instruction", "input", "output", "history", "system", "messages",
     "conversations", "text", "chosen", "rejected", "label", "question", "answer", "inputs",
     "targets", "inputs_pretokenized", "targets_pretokenized", "dialogue", "summary",
     "definition", "Definition", "Instances", "answer_choices", "a-b", "a_b", "", "\u202e", "x y"]
)  # fmt: skip
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt", "nobody", "", None])
TURNS = st.one_of(
    st.fixed_dictionaries({"role": ROLES, "content": TEXTS}),
    st.fixed_dictionaries({"from": ROLES, "value": TEXTS}),
    st.fixed_dictionaries({"role": ROLES, "content": st.none(), "weight": st.integers(0, 1)}),
)
CHATS = st.lists(TURNS, max_size=4)
LEAVES = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(), st.floats(), st.just(2**70), st.just(10**400)
)
VALUES = st.one_of(
    TEXTS,
    CHATS,
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=6,
    ),
    st.integers(1, 60).map(lambda depth: json.loads("[" * depth + "]" * depth)),
)
RECORDS = st.lists(st.dictionaries(COLUMNS, VALUES, max_size=4), max_size=4)
# Rows of one shape, which get further than those that differ from each other.
SHAPED = st.one_of(
    st.lists(st.fixed_dictionaries({"prompt": CLEAN, "completion": CLEAN}), min_size=1),
    st.lists(st.fixed_dictionaries({"prompt": TEXTS, "completion": TEXTS}), max_size=4),
    st.lists(st.fixed_dictionaries({"messages": CHATS}), max_size=3),
    st.lists(st.fixed_dictionaries({"conversations": CHATS, "system": TEXTS}), max_size=3),
    st.lists(st.fixed_dictionaries({"instruction": TEXTS, "output": TEXTS, "input": TEXTS})),
    st.lists(
        st.fixed_dictionaries({
            "Definition": st.lists(TEXTS, max_size=2),
            "Instances": st.lists(
                st.fixed_dictionaries({"input": TEXTS, "output": st.lists(TEXTS, max_size=2)}),
                max_size=2,
            ),
        }),
        max_size=2,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> Encoder:
    return Encoder(make_tokenizer(), max_length=64)


def follow(file: Path, content: bytes, encoder: Encoder) -> int:
    """Take a file as far as it goes; how many of its rows became token ids."""
    file.write_bytes(content)
    name, encoded, refused = str(file), 0, ""
    try:
        detected = detect(open_source(name))
        templates = require_templates(detected)
    except InputError as error:
        refused = str(error)
    if refused:
        assert refused.startswith(name)
        return 0
    for i, row in enumerate(detected.rows):
        assert detected.rows.place(i).startswith(name)
        try:
            rendered = templates.templates[0].render(row)
            if rendered is not None:
                encoder.encode(rendered.prompt, rendered.completion)
                encoded += 1
        except InputError:
            continue
    return encoded


def as_lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(r) + "\n" for r in records).encode()


def test_records_of_any_shape(tmp_path: Path, encoder: Encoder) -> None:
    reached = 0

    @given(st.one_of(SHAPED, RECORDS), st.booleans())
    def check(records: list[dict[str, Any]], lines: bool) -> None:
        nonlocal reached
        content = as_lines(records) if lines else json.dumps(records).encode()
        reached += follow(tmp_path / ("a.jsonl" if lines else "a.json"), content, encoder)

    check()
    assert reached > 10  # or the examples are all refused at the door


def test_lines_cut_and_mixed(tmp_path: Path, encoder: Encoder) -> None:
    pieces = st.one_of(
        st.sampled_from([b'{"prompt": "a", "completion": "b"}', b"{", b"}", b"[]", b"null",
                         b"1e999", b'{"a": NaN}', b'"', b"\xff\xfe", b"\xed\xa0\x80", b"\x00",
                         b"\r", b"\n", b'{"prompt": "\\ud800", "completion": "b"}', b"\xef\xbb\xbf",
                         b"9" * 5000,
                         b'{"prompt": "a", "prompt": "b", "completion": 1}', b"[" * 3000]),
        st.binary(max_size=20),
    )  # fmt: skip

    @given(st.lists(pieces, max_size=6), st.sampled_from([b"\n", b"", b"\r\n"]))
    def check(parts: list[bytes], glue: bytes) -> None:
        follow(tmp_path / "a.jsonl", glue.join(parts), encoder)

    check()


def test_tables_of_any_text(tmp_path: Path, encoder: Encoder) -> None:
    @given(
        st.lists(st.lists(TEXTS, min_size=1, max_size=3), max_size=4),
        st.sampled_from([["prompt", "completion"], ["text"], ["a", "b", "c"], []]),
        st.sampled_from([".csv", ".tsv"]),
        st.booleans(),
    )
    def check(table: list[list[str]], header: list[str], suffix: str, quoted: bool) -> None:
        lines = [header, *table] if header else table
        delimiter = "," if suffix == ".csv" else "\t"
        text = io.StringIO()
        if quoted:
            csv.writer(text, delimiter=delimiter).writerows(lines)
        else:
            text.writelines(f"{delimiter.join(line)}\n" for line in lines)
        content = text.getvalue().encode("utf-8", "surrogatepass")
        follow(tmp_path / f"a{suffix}", content, encoder)

    check()


@pytest.mark.parametrize(
    "suffix",
    [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".jsonl.gz", ".csv.zst"],
)
def test_bytes_of_any_kind(tmp_path: Path, encoder: Encoder, suffix: str) -> None:
    starts = [
        b"",
        b"ARROW1\0\0",
        b"PAR1",
        b"\x1f\x8b\x08\x00",
        b"\x28\xb5\x2f\xfd",
        b"\xff\xff\xff\xff",
    ]

    @given(st.sampled_from(starts), st.binary(max_size=60))
    def check(start: bytes, rest: bytes) -> None:
        follow(tmp_path / f"a{suffix}", start + rest, encoder)

    check()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_whole_file_with_a_byte_changed(tmp_path: Path, encoder: Encoder, suffix: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"prompt": ["a", "é"], "completion": ["b", "c"], "n": [[1], [2, 3]]})
    file = tmp_path / f"whole{suffix}"
    if suffix == ".parquet":
        pq.write_table(table, file)
    else:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    whole = file.read_bytes()

    @given(st.integers(0, len(whole) - 1), st.integers(0, 255), st.booleans())
    def check(place: int, byte: int, cut: bool) -> None:
        after = b"" if cut else whole[place + 1 :]
        follow(tmp_path / f"a{suffix}", whole[:place] + bytes([byte]) + after, encoder)

    check()


def test_entries_of_any_shape(tmp_path: Path, encoder: Encoder) -> None:
    keys = st.sampled_from(
        ["file_name", "hf_hub_url", "formatting", "ranking", "subset", "split", "folder", "columns",
         "num_samples", "tags", "format"]
    )  # fmt: skip
    usual = st.sampled_from(
        ["a.jsonl", "../a.jsonl", "sharegpt", "alpaca", "train", "test", {"prompt": "prompt"},
         {"response": "completion"}, {"role_tag": "role", "content_tag": "content"}, 1, True, []]
    )  # fmt: skip
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    info = tmp_path / "dataset_info.json"

    @given(st.one_of(VALUES, st.dictionaries(keys, st.one_of(usual, VALUES), max_size=4)))
    def check(entry: Any) -> None:
        info.write_text(json.dumps({"mine": entry}))
        with contextlib.suppress(InputError):
            require_templates(detect(open_source(f"{info}:mine")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("brulee.data.hub._reachable", lambda _: False)
        check()


def test_files_side_by_side_of_any_text(tmp_path: Path) -> None:
    @given(st.lists(TEXTS, max_size=4), st.lists(TEXTS, max_size=4))
    def check(left: list[str], right: list[str]) -> None:
        for name, lines in {"a": left, "b": right}.items():
            (tmp_path / f"t.{name}").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        with contextlib.suppress(InputError):
            rows = open_source(f"{tmp_path}/t.{{a,b}}")
            assert rows.columns == ["a", "b"]

    check()


def test_fields_of_many_megabytes_are_read_and_refused_by_the_template(
    tmp_path: Path, encoder: Encoder
) -> None:
    huge = json.dumps({"prompt": "x" * 20_000_000, "completion": "y"})
    assert follow(tmp_path / "a.jsonl", huge.encode(), encoder) == 0
    row = next(iter(open_source(str(tmp_path / "a.jsonl"))))
    assert len(row["prompt"]) == 20_000_000


def test_texts_of_any_bytes(tmp_path: Path, encoder: Encoder) -> None:
    reached = 0
    parts = st.lists(st.one_of(TEXTS.map(lambda t: t.encode("utf-8", "surrogatepass")),
                               st.sampled_from([b"\n\n", b"\r\n", b"\n", b"word " * 900]),
                               st.binary(max_size=3)), max_size=8)  # fmt: skip

    @given(parts, st.sampled_from(["a.txt", "a.md"]))
    def check(parts: list[bytes], name: str) -> None:
        nonlocal reached
        reached += follow(tmp_path / name, b"".join(parts), encoder)

    check()
    assert reached > 10


def test_odd_texts_are_divided_without_loss(encoder: Encoder) -> None:
    cut = 0

    @given(st.lists(st.one_of(TEXTS, st.just("a word \u6f22\u5b57 ")), min_size=1, max_size=40))
    def check(parts: list[str]) -> None:
        nonlocal cut
        text = "".join(parts).encode("utf-8", "replace").decode()
        if not text.strip():
            return
        found = pieces(text, encoder.starts(text), lambda p: counted(encoder, p), 24, 1)
        assert "".join(found) == text
        assert max(counted(encoder, piece) for piece in found) <= 24
        cut += len(found) > 1

    check()
    assert cut > 10


def counted(encoder: Encoder, text: str) -> int:
    """Tokens of a text with its end; a blank one is no document."""
    if not text.strip():
        return 1
    return len(encoder.encode_rendered(Rendered("", text, None, plain=True)).ids)
