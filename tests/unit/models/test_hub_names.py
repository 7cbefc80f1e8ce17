from __future__ import annotations

from pathlib import Path

import pytest

from brulee.models.hub_names import hub_name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("bundled", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("acme/tiny", "acme/tiny"),
        ("gpt2", "gpt2"),
        ("/models/llama", None),
        ("./llama", None),
        ("a/b/c", None),
    ],
)
def test_a_path_is_no_name_on_the_hub(source: str, name: str | None) -> None:
    assert hub_name(source) == name


def test_a_folder_that_is_there_is_one_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "acme" / "tiny").mkdir(parents=True)
    assert hub_name("acme/tiny", tmp_path.joinpath) is None
