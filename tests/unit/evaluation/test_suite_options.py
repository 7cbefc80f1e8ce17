from __future__ import annotations

from brulee.evaluation.suite_options import changed, protocol, suite_options
from brulee.evaluation.suites import suite


def test_what_differs_is_what_was_set_to_something_else() -> None:
    mmlu = suite("mmlu")
    assert changed(suite_options(mmlu, {"prompt": "original", "shots": 5})) == {}
    asked = suite_options(mmlu, {"prompt": "harness", "subjects": "virology"})
    assert changed(asked) == {"prompt": "harness", "subjects": ["virology"]}
    assert protocol(asked) == {"prompt": "harness"}


def test_where_prompts_lie_changes_no_name() -> None:
    assert changed(suite_options(suite("bbh"), {"prompts": "/some/folder"})) == {}
