"""Word lists: the bundled ones are sound, a user's own is checked."""

from importlib import resources
from pathlib import Path

import pytest

from brulee.errors import InputError
from brulee.evaluation import word_lists

FOLDER = resources.files("brulee.evaluation.word_lists")
NAMES = sorted(f.name.removesuffix(".tsv") for f in FOLDER.iterdir() if f.name.endswith(".tsv"))


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_list_says_where_it_comes_from_and_is_read(name: str) -> None:
    assert (FOLDER / f"{name}.tsv").read_text("utf-8").startswith("# ")
    assert word_lists.bundled(name)


@pytest.mark.parametrize("name", ["contractions", "dialect", "misspellings"])
def test_a_list_of_replacements_changes_every_word(name: str) -> None:
    for word, others in word_lists.bundled(name).items():
        assert word not in others
        assert len(set(others)) == len(others)


def test_a_list_of_ones_own_is_read_and_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    file.write_text("# mine\n\nlift\televator\nlift\thoist\n")
    assert word_lists.read(file) == {"lift": ("elevator", "hoist")}
    file.write_text("lift\televator\nlorry truck\n")
    with pytest.raises(InputError, match=r"mine.tsv, line 2: 'lorry truck' holds one column"):
        word_lists.read(file)
    file.write_text("# nothing\n")
    with pytest.raises(InputError, match="has no entry"):
        word_lists.read(file)
    with pytest.raises(InputError, match="cannot be read"):
        word_lists.read(tmp_path / "none.tsv")
