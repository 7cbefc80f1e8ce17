"""What a model writes is JSON to the letter or is none, however hostile it is."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest

from brulee.data.strict_json import DEEPEST, NotJsonError, read, read_fenced, too_deep


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("{'a': 1}", "double quotes"),
        ('{"a": 1} Done.', "more than JSON (from character 9 on)"),
        ('{"a": 1', "delimiter"),
        ("\N{NO-BREAK SPACE}{}", "Expecting value"),
        ("[NaN]", "NaN"),
        ("-Infinity", "Infinity"),
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ('{"\\u00e9": 1, "e\\u0301": 2}', "is given twice"),
        ('{"\\ud800": 1}', "surrogate"),
        ("1e" + "9" * 30, "exponent"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "levels deep"),
        ('```json\n{"a": 1}\n```', "Expecting value"),
    ],
)
def test_what_is_not_json_is_told(text: str, why: str) -> None:
    with pytest.raises(NotJsonError) as told:
        read(text)
    assert why in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000, "[]" * 500_000, '{"a":' * 10_000 + "1" + "}" * 10_000,
        "[" * 10_000 + "]" * 10_000, "`" * 1_000_000, "```json\n" * 100_000, '"' + "\\" * 999_999,
    ],
)  # fmt: skip
def test_a_megabyte_of_anything_is_read_within_seconds(text: str) -> None:
    started = time.perf_counter()
    for how in (read, read_fenced):
        with pytest.raises(NotJsonError):
            how(text)
    assert time.perf_counter() - started < 5


def test_numbers_keep_every_digit_and_values_their_kind() -> None:
    found = read(' [12345678901234567890.5, 1e400, 1, true, null, "1"]\n')
    assert found == [Decimal("12345678901234567890.5"), Decimal("1e400"), 1, True, None, "1"]
    assert [type(one) for one in found[2:4]] == [Decimal, bool]
    assert len(str(read("9" * 100_000))) == 100_000
    assert read("[" * DEEPEST + "]" * DEEPEST)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Here it is:\n```json\n{"a": 1}\n```\nAnything else?', {"a": 1}),
        ('```\n{"a": 1}\n```', {"a": 1}),
        ('```{"a": 1}```', {"a": 1}),
        ('```JSON {"a": 1}', {"a": 1}),
        ('```json\n{"code": "```py"}\n```', {"code": "```py"}),
        ('{"code": "```json"}', {"code": "```json"}),
        ('```python\nx = {}\n```\n```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"old": 0}\n```\nbetter:\n```json\n{"a": 1}\n```', {"a": 1}),
        ('```json\n{"a": 1}\n```\n```json\n{"a": 2}\n```', {"a": 1}),
        ('Here:\n~~~json\n{"a": 1}\n~~~\nBye.', {"a": 1}),
        ('~~~\n{"code": "~~~"}\n~~~', {"code": "~~~"}),
        ('````json\n{"a": 1}\n````', {"a": 1}),
        ('`````\n{"code": "```"}\n`````', {"code": "```"}),
        ('````markdown\n```json\n{"old": 0}\n```\n````\n```json\n{"a": 1}\n```', {"a": 1}),
        ('~~~text\n```json\n{"old": 0}\n```\n~~~\n```json\n{"a": 1}\n```', {"a": 1}),
        ('Here you go~~~\n```json\n{"a": 1}\n```', {"a": 1}),
        ('```json\n{"a": 1}\n````', {"a": 1}),
    ],
)
def test_a_fence_is_found_beside_other_text(text: str, value: object) -> None:
    assert read_fenced(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "```python\n{}\n```",
        "```json5\n{}\n```",
        '```json\n{"a": 1} or so\n```',
        "```json\n```",
        "~~~python\n{}\n~~~",
        '````json\n{"a": 1}\n```',
        '```json\n{"a": 1}\n~~~',
        "no",
    ],
)
def test_another_language_or_more_than_json_in_the_fence_is_none(text: str) -> None:
    with pytest.raises(NotJsonError):
        read_fenced(text)


def test_depth_is_that_of_lists_and_objects() -> None:
    value: object = 1
    for _ in range(DEEPEST):
        value = [value, "x"]
    assert not too_deep(value)
    assert too_deep({"a": value})
