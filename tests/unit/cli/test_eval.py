import re
from pathlib import Path
from typing import get_type_hints

import pytest

from brulee.cli.eval import evaluate
from brulee.evaluation.suites import SUITES


@pytest.mark.parametrize(("suite", "option"), [("bundled", "--out"), ("glue", "--bundle")])
def test_a_place_that_cannot_be_written_to_is_named_before_anything_is_asked(
    brulee, tmp_path: Path, suite: str, option: str
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    for place in (taken, taken / "below"):
        done = brulee("eval", tmp_path / "no-model", "--suite", suite, option, place)
        assert done.code == 2
        assert f"{option} {place}: {taken} is a file, where a folder is needed" in done.err


def test_the_help_says_what_lists_the_suites_and_names_none_that_is_not(brulee) -> None:
    (option,) = get_type_hints(evaluate, include_extras=True)["suite"].__metadata__
    assert "`brulee suites list`" in option.help
    named = re.search(r"such as (.*);", option.help)
    assert named
    names = re.findall(r"\w+", re.sub(r"\(.*?\)", "", named[1]))
    assert set(names) - {"or"} <= set(SUITES)
