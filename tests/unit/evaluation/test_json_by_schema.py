"""The share of answers that are valid by a JSON Schema."""

from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation import metric
from brulee.evaluation.json_by_schema import JsonBySchema

pytest.importorskip("jsonschema")
KEY = "json_by_schema:order"


def _metric(folder: Path, schema: Any, kind: str = "json") -> JsonBySchema:
    file = folder / "order.json"
    file.write_text(schema if isinstance(schema, str) else json.dumps(schema))
    found = metric(f"{kind}:schema={file}")
    assert isinstance(found, JsonBySchema)
    return found


ORDER = {
    "type": "object",
    "properties": {"count": {"type": "integer", "minimum": 1}, "price": {"multipleOf": 0.1}},
    "required": ["count"],
}


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"count": 1}', 1.0),
        ('{"count": 1.0}', 1.0),
        ('{"count": 1e0, "price": 0.3}', 1.0),
        ('{"count": 1, "price": 0.35}', 0.0),
        ('{"count": 0}', 0.0),
        ('{"count": true}', 0.0),
        ('{"count": 1.5}', 0.0),
        ('{"count": 1, "count": 2}', 0.0),
        ('{"count": 1e999999999, "price": 1e999999999}', 0.0),
        ("[]", 0.0),
        ("one parcel", 0.0),
        ("", 0.0),
    ],
)
def test_an_answer_is_valid_or_not(tmp_path: Path, text: str, valid: float) -> None:
    (found,) = _metric(tmp_path, ORDER).statistics(text, ["whatever"])[KEY]
    assert found == valid


def test_a_text_is_compared_as_it_was_written(tmp_path: Path) -> None:
    composed, apart = "\u00e9", "e\u0301"
    for name, other in ((composed, apart), (apart, composed)):
        schema = {"properties": {name: {"const": name}}, "required": [name]}
        assert _metric(tmp_path, schema).valid(json.dumps({name: name}))
        assert not _metric(tmp_path, schema).valid(json.dumps({other: name}))
        assert not _metric(tmp_path, schema).valid(json.dumps({name: other}))
    assert not _metric(tmp_path, {}).valid(json.dumps({composed: 1, apart: 2}))


def test_a_fence_is_read_where_that_is_said(tmp_path: Path) -> None:
    text = 'Here:\n```json\n{"count": 2}\n```'
    assert not _metric(tmp_path, ORDER).valid(text)
    fenced = _metric(tmp_path, ORDER, "json:fenced")
    assert fenced.valid(text)
    assert fenced.keys == (f"{KEY}:fenced",)


def test_the_draft_is_the_one_that_the_schema_names(tmp_path: Path) -> None:
    old = {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3}
    assert _metric(tmp_path, old | {"exclusiveMaximum": True}).valid("2")
    assert not _metric(tmp_path, old | {"exclusiveMaximum": True}).valid("3")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"properties": {"a": {"type": "strng"}}}, ".properties.a.type: not a valid JSON schema"),
        ({"minimum": "3"}, ".minimum: not a valid JSON schema"),
        ("[]", "a JSON schema is an object"),
        ("{", "not valid JSON"),
        ({"$ref": "#/$defs/a"}, "refers to"),
        ({"$ref": "#"}, "refers to itself"),
    ],
)
def test_what_is_no_schema_is_refused_with_its_file(tmp_path: Path, schema: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        _metric(tmp_path, schema)
    assert said in str(caught.value)
    assert str(tmp_path / "order.json") in str(caught.value)


def test_nothing_is_looked_up_in_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(InputError, match="refers to"):
        _metric(tmp_path, {"$ref": "http://127.0.0.1:9/order.json"})


def test_names_that_say_too_little_or_too_much(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no file"):
        metric("json:schema=")
    with pytest.raises(InputError, match="the schema cannot be read"):
        metric(f"json:schema={tmp_path / 'none.json'}")
    with pytest.raises(InputError, match="unknown metric"):
        metric(f"json:unordered:schema={tmp_path / 'none.json'}")


def test_without_the_package_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'brulee\[json\]'"):
        metric("json:schema=order.json")
