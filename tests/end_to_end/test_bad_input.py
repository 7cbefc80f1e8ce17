"""Whatever a person gets wrong is one sentence and exit code 2, and nothing is lost."""

import runpy
from pathlib import Path
from typing import Any

import pytest

BAD: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "bad_inputs.py"))


@pytest.mark.parametrize("case", BAD["CASES"], ids=[c.title for c in BAD["CASES"]])
def test_bad_input_is_one_sentence(case: Any, at: Any, brulee: Any) -> None:
    for arguments in case.first(at):
        assert brulee(*arguments).code == 0
    arguments = case.arrange(at)
    before = contents(at.folder)
    done = brulee(*arguments)
    assert (done.code, len(done.errors)) == (2, 1), done.err
    assert case.says in done.errors[0]
    assert "Traceback" not in done.err
    after = contents(at.folder)
    assert {file: after.get(file) for file in before} == before


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
