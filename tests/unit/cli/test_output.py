"""Tables on a terminal lose nothing, and elsewhere have a line a row."""

from __future__ import annotations

import re
import sys

import pytest

from brulee.cli.output import print_table, print_text

NAME = "bigbench/natural_instructions/subtask005_mctaco_wrong_answer_generation_event_duration"
ROWS = [(NAME, "exact_match[gender-pronouns]", "0.9777"), ("mmlu", "only 2 of 57 tasks", "0.2857")]


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_table(["task", "score", "value"], ROWS)
    return capsys.readouterr().out.splitlines()


def test_a_row_is_a_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    head, _, first, second = printed(capsys)
    assert head.split() == ["task", "score", "value"]
    assert first.split() == list(ROWS[0])
    assert second.split() == ["mmlu", "only", "2", "of", "57", "tasks", "0.2857"]


def test_a_long_name_goes_on_in_its_cell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in printed(capsys)]
    assert max(map(len, lines)) <= 60
    assert not any("…" in line for line in lines)
    width = lines[0].index("score")
    cells = "".join(line[:width].strip() for line in lines[2:])
    assert cells == f"{NAME}mmlu"


def test_what_would_steer_the_terminal_is_blank(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["label"], [("a\x1b[2Jb\u202ec \u200d",)])
    assert capsys.readouterr().out.splitlines()[2].rstrip() == "a [2Jb c \u200d"


def test_columns_without_room_stand_below_and_no_number_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    heads = ("method", "weights", "gradients", "activations", "logits", "time", "fits")
    print_table(heads, [("Bottleneck adapters", *["1.23 GB"] * 4, "12 min 05 s", "yes")] * 2)
    text = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert max(map(len, text.splitlines())) <= 60
    assert (text.count("1.23 GB"), text.count("12 min 05 s")) == (8, 2)
    assert all(head in text.split() for head in heads)
    assert text.count("method ") == 2


def test_a_sentence_is_broken_between_words_on_a_terminal_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "A guard is a task of any suite, [bold] or one of those that come with\x1b brulee."
    print_text(said)
    assert capsys.readouterr().out == said.replace("\x1b", " ") + "\n"
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_text(said)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 30
    assert " ".join(lines).split() == said.replace("\x1b", " ").split()
