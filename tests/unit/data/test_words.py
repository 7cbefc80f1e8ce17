import sys
import time
import unicodedata

import pytest

from brulee.data.words import extract, has_words, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The parcel's LATE, 3.5 days!", ["the", "parcel", "s", "late", "3", "5", "days"]),
        ("snake_case", ["snake", "case"]),
        ("Straße CAFE\u0301 ＡＢＣ", ["strasse", "café", "abc"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("你好，世界 ok", ["你", "好", "世", "界", "ok"]),
        ("𠀀𠀁", ["𠀀", "𠀁"]),
        ("ที่", ["ที่"]),
        ("привет, мир", ["привет", "мир"]),
        ("🎉 party", ["party"]),
        ("half \ud800 pair", ["half", "pair"]),
        (" \n\t", []),
        ("", []),
    ],
)
def test_words_of_every_script(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert [has_words(text, count) for count in range(8)] == [n <= len(expected) for n in range(8)]


def test_marks_of_every_plane_are_part_of_their_words() -> None:
    far = map(chr, range(0x10000, sys.maxunicode + 1))
    marks = "".join(mark for mark in far if unicodedata.category(mark)[0] == "M")
    assert len(marks) > 400
    assert words(f"b{marks} c") == [f"b{unicodedata.normalize('NFKC', marks)}", "c"]


def test_one_odd_character_does_not_change_the_other_words() -> None:
    plain = "Ana ordered two lamps on 3 May"
    assert words(f"{plain} 字")[:-1] == words(plain)
    assert words(f"{plain} 𠀀")[:-1] == words(plain)


def test_extract_keeps_the_punctuation_between_its_words() -> None:
    assert extract("He said: Hello, World! Bye.", 2, 3) == "hello, world"
    assert extract("你好，世界。再见", 1, 2) == "好,世"


def test_a_curly_quote_does_not_make_reading_slow() -> None:
    texts = [f"the customer\u2019s parcel number {i} was late again and " * 8 for i in range(500)]
    words(texts[0])
    started = time.process_time()
    for text in texts:
        words(text)
    assert time.process_time() - started < 1
