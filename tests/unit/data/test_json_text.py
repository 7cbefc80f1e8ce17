import json
import re

import pytest

from brulee.data.json_text import parse_json
from brulee.errors import InputError


def test_the_value_is_jsons_own() -> None:
    assert parse_json('{"a": [1, "\u2028"]}', "f.json") == {"a": [1, "\u2028"]}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('{"a": 1,\n "b": }', None, "f.json, line 2: not valid JSON: Expecting value (column 7)"),
        ('{"b": }', 7, "f.json, line 7: not valid JSON: Expecting value (column 7)"),
        ("[" * 100_000, None, "f.json: not usable JSON: nested too deeply"),
        ("9" * 5000, 3, "f.json, line 3: not usable JSON: nested too deeply or a number too long"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(
    text: str, line: int | None, said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        parse_json(text, "f.json", line)


def test_numbers_that_json_holds_are_read() -> None:
    assert parse_json(json.dumps(10**4000), "f.json") == 10**4000
