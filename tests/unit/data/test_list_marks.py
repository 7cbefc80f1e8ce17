from __future__ import annotations

import pytest

from brulee.data.list_marks import entry, unmarked


@pytest.mark.parametrize(
    "line", ["A. clouds", "(b) clouds", "c) clouds", " 12. clouds", "- clouds", "choice: clouds"]
)
def test_a_mark_is_no_part_of_what_an_entry_says(line: str) -> None:
    assert entry(line) == "clouds"
    assert unmarked(f"Which?\n{line}\nSay it.") == "Which?\nclouds\nSay it."


@pytest.mark.parametrize(
    "line", ["clouds", "A cloud", "2.5 clouds", "-clouds", "Q: clouds", "As. clouds", "A."]
)
def test_what_is_no_mark_stays(line: str) -> None:
    assert entry(line) is None
    assert unmarked(line) == line


def test_options_on_one_line_lose_their_letters_and_names_keep_theirs() -> None:
    assert unmarked("Who? (A) J. Smith B) Ann (C) f(x) or g") == "Who? J. Smith Ann f(x) or g"
