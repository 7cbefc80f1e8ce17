"""An entry of dataset_info.json keeps its defaults, and nothing in it is passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.data.dataset_info import InfoEntry, read_dataset_info
from brulee.data.formats import detect, require_templates
from brulee.data.sources import open_source
from brulee.errors import InputError


def entry(tmp_path: Path, value: Any) -> InfoEntry:
    file = tmp_path / "dataset_info.json"
    file.write_text(json.dumps({"mine": value}))
    return read_dataset_info(file, "mine")


def test_some_columns_leave_the_defaults_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"ask": "Add.", "input": "1 2", "output": "3"}\n')
    found = entry(tmp_path, {"file_name": "a.jsonl", "columns": {"prompt": "ask"}})
    assert found == InfoEntry(str(tmp_path / "a.jsonl"), {"instruction": "ask"}, None)
    detected = detect(open_source(found.source, columns=found.columns))
    rendered = require_templates(detected).templates[0].render(detected.rows[0])
    assert rendered is not None
    assert (rendered.prompt, rendered.completion) == ("Add.\n\n1 2", "3")


def test_chats_with_their_tags_are_read(tmp_path: Path) -> None:
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
    columns = {"messages": "chat", "system": "rules"}
    value = {"file_name": "a.json", "formatting": "sharegpt", "columns": columns, "tags": tags}
    assert entry(tmp_path, value).columns == {"conversations": "chat", "system": "rules"}


def test_a_column_of_tools_is_read(tmp_path: Path) -> None:
    call = {"name": "add", "arguments": {"a": 1}}
    said = (
        ("human", "1?"),
        ("function_call", json.dumps(call)),
        ("observation", "1"),
        ("gpt", "1!"),
    )
    chat = [{"from": who, "value": what} for who, what in said]
    rows = [{"conversations": chat, "api": json.dumps([{"name": "add", "parameters": {}}])}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    columns, tags = {"tools": "api"}, {"function_tag": "function_call"}
    value = {"file_name": "a.json", "formatting": "sharegpt", "columns": columns, "tags": tags}
    found = entry(tmp_path, value)
    detected = detect(open_source(found.source, columns=found.columns))
    rendered = require_templates(detected).templates[0].render(detected.rows[0])
    assert rendered is not None
    assert json.loads(rendered.tools)[0]["function"]["name"] == "add"
    assert json.loads(rendered.history[1]["tool_calls"])[0]["function"] == call


def test_a_hub_data_set_with_subset_and_limit(tmp_path: Path) -> None:
    value = {"hf_hub_url": "a/b", "ms_hub_url": "c/d", "subset": "en", "num_samples": 5}
    assert entry(tmp_path, value) == InfoEntry("a/b:en", {}, 5, hub=True)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (
            {"file_name": "a", "format": "sharegpt"},
            "unknown key 'format'; did you mean 'formatting",
        ),
        ({"file_name": "a", "formatting": "sharegtp"}, "did you mean 'sharegpt'"),
        ({"file_name": "a", "columns": {"promt": "x"}}, "did you mean 'prompt'"),
        ({"file_name": "a", "columns": {"prompt": 3}}, "columns is an object of names"),
        ({"file_name": "a", "columns": {"images": "x"}}, "images names images"),
        ({"file_name": "a", "columns": {"chosen": "x"}}, "preference data"),
        ({"file_name": "a", "ranking": True}, "preference data"),
        ({"file_name": "a", "tags": {"role_tg": "x"}}, "did you mean 'role_tag'"),
        ({"file_name": "a", "tags": {"role_tag": "speaker"}}, "role with content or from with"),
        ({"file_name": "a", "tags": {"user_tag": "customer"}}, "unknown user_tag 'customer'"),
        ({"file_name": "a", "split": "train[:9]"}, "is not the name of a split; use num_samples"),
        ({"file_name": "a", "subset": "en"}, "subset 'en' applies to data sets of the Hub"),
        ({"file_name": "a", "num_samples": 0}, "num_samples 0"),
        ({"script_url": "x"}, "script_url cannot be read"),
        ({}, "file_name or hf_hub_url is required"),
        ([], "an entry is an object"),
    ],
)
def test_what_would_be_passed_over_is_an_error(tmp_path: Path, value: Any, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        entry(tmp_path, value)
    assert "dataset_info.json: mine" in str(caught.value)
    assert reason in str(caught.value)


def test_a_file_or_name_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "dataset_info.json"
    with pytest.raises(InputError, match="no such file"):
        read_dataset_info(file, "mine")
    file.write_text('{"alpaca_en": {}}')
    with pytest.raises(InputError, match="did you mean 'alpaca_en'"):
        read_dataset_info(file, "alpaca-en")
    for text in ('{"a": ', "[]"):
        file.write_text(text)
        with pytest.raises(InputError, match=r"dataset_info\.json"):
            read_dataset_info(file, "a")


def test_an_entry_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "dataset_info.json"
    file.write_text('{"mine": {"file_name": "a.json"}, "mine": {"file_name": "b.json"}}')
    with pytest.raises(InputError, match="the key 'mine' is given twice"):
        read_dataset_info(file, "mine")
