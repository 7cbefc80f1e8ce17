"""What is not ours says so, in the file itself and in NOTICE, which every distribution carries."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LISTS = ROOT / "src" / "brulee" / "evaluation" / "word_lists"


def test_word_lists_under_a_licence_of_their_own_are_in_the_notice() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    licensed = [
        file
        for file in sorted(LISTS.glob("*.tsv"))
        if "All rights reserved" in file.read_text(encoding="utf-8")
    ]
    assert [file.name for file in licensed] == ["irregular_forms.tsv"]
    for file in licensed:
        assert str(file.relative_to(ROOT).as_posix()) in notice
        header = " ".join(
            line.strip("# \n")
            for line in file.read_text(encoding="utf-8").splitlines()
            if line.startswith("#")
        )
        terms = header[header.index("Permission to use") :]
        assert terms in " ".join(notice.split())


def test_the_distribution_carries_the_notice() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"LICENSE", "NOTICE"} <= set(project["license-files"])
