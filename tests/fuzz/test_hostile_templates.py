"""Templates from strangers: each ends in time, in bounded memory, inside the sandbox."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brulee.data import sandbox
from brulee.data.template import Template
from brulee.errors import InputError

ATTACKS = (Path(__file__).parent / "hostile.txt").read_text(encoding="utf-8").splitlines()
# What a text would hold if a template had got hold of Python.
ESCAPES = ("<class", "<module", "<function", "built-in", "<bound", " at 0x", "root:", "{'__name__'")
LIMIT = 0.3
# Time of the processor past the limit that one step may take before the clock is looked at.
SLACK = 1.2


def row() -> dict[str, Any]:
    return {
        "x": "text " * 20,
        "l": [1, 2, 3],
        "d": {"a": [1]},
        "n": 7,
        "big": "y" * 900_000,
        "words": ["w"] * 50_000,
    }


def outcome(jinja: str, values: dict[str, Any]) -> str:
    """The sentence that refuses a template, or what it rendered: nothing of Python's."""
    try:
        rendered = Template("hostile", f"{jinja} ||| y").render(values)
    except InputError as error:
        return str(error)
    text = rendered.prompt if rendered else ""
    assert not [sign for sign in ESCAPES if sign in text]
    return text


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_SECONDS", LIMIT)


@pytest.mark.parametrize("jinja", ATTACKS)
def test_an_attack_ends_in_time_and_inside_the_sandbox(jinja: str, short_limit: None) -> None:
    begin = time.process_time()
    text = outcome(jinja, row())
    assert time.process_time() - begin < LIMIT + SLACK
    assert len(text) <= sandbox.MAX_LENGTH


def test_the_stated_limit_is_kept() -> None:
    jinja = "{% for i in range(99999) %}{% if 'q' in words %}{% endif %}{% endfor %}"
    begin = time.process_time()
    assert "runs for more than 1.5 seconds" in outcome(jinja, row())
    assert time.process_time() - begin < 1.5 + SLACK


@pytest.mark.parametrize(
    "jinja",
    [
        "{{ range(99999) | map('center', 99999) | list | length }}",
        "{% set z %}{% for i in range(99999) %}{{ big }}{% endfor %}{% endset %}{{ z | length }}",
        "{{ ('{0}' * 200000).format(big) }}",
        "{{ big.replace('y', big) }}",
        "{{ ([big] * 100000) | tojson }}",
    ],
)
def test_a_text_that_is_only_built_on_the_way_is_bounded(jinja: str, short_limit: None) -> None:
    values = row()
    tracemalloc.start()
    try:
        outcome(jinja, values)
        assert tracemalloc.get_traced_memory()[1] < 300_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "jinja",
    [
        "{{ " + "(" * 5000 + "x" + ")" * 5000 + " }}",
        "{{ " + "[" * 150 + "]" * 150 + " }}",
        "{{ " + "not " * 5000 + "x }}",
        "{{ x" + " + x" * 3000 + " }}",
        "{% if x %}" * 500 + "{% endif %}" * 500,
        "{% for i in l %}" * 25 + "{% endfor %}" * 25,
        "{{ " + "9" * 5000 + " }}",
        "{{ x" + " | upper" * 3000 + " }}",
        "{{ x" + ".y" * 3000 + " }}",
        "x" * 300_000,
        "{% macro " * 1000,
        "{{ '" * 1000,
        "{" * 100_000,
        "{#" * 50_000,
    ],
)
def test_a_template_too_deep_or_too_long_is_one_sentence(jinja: str) -> None:
    begin = time.process_time()
    assert outcome(jinja, row()).startswith("template 'hostile': ")
    assert time.process_time() - begin < 3


def test_chance_is_the_same_for_the_same_key() -> None:
    template = Template("t", "{{ l | random }}{{ choice(l) }}{{ l | choice }} ||| y")
    drawn = {key: template.render({"l": [*range(9)]}, key) for key in "abcdefgh"}
    assert drawn == {key: template.render({"l": [*range(9)]}, key) for key in "abcdefgh"}
    assert len({one.prompt for one in drawn.values() if one}) > 4


# Random templates from a small grammar: values, then filters, methods, attributes, operators.
NUMBERS = st.sampled_from([0, -1, 3, 10**5, 10**9, 10**30, True, 0.5])
WORDS = st.sampled_from(
    ["", "a", "__class__", "format", "{0.__class__}", "%999999999d", "{:>{w}}", "\ud800", "\u202e",
     "a.b", "upper", "0", "é\U0001f600"]
)  # fmt: skip
ATOMS = st.one_of(
    st.sampled_from(["x", "l", "d", "n", "big", "words", "none", "missing", "choice", "range(9)",
                     "range(99999)", "namespace()", "dict", "zip(l, words)", "[l, l]", "(x,)",
                     "{'a': l}", "self", "loop"]),
    NUMBERS.map(str),
    WORDS.map(repr),
)  # fmt: skip
ARGUMENTS = st.lists(ATOMS, max_size=3).map(", ".join)
NAMES = st.sampled_from([n for n in sandbox.LimitedEnvironment().filters if n.strip() == n])
METHODS = st.sampled_from(
    ["append", "center", "count", "encode", "expandtabs", "extend", "format", "format_map", "get",
     "index", "insert", "items", "join", "pop", "replace", "rfind", "rsplit", "sort", "split",
     "splitlines", "strip", "title", "to_bytes", "translate", "update", "zfill", "__init__", "mro"]
)  # fmt: skip
OPERATORS = st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and"])


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({}) | {}({})".format, inner, NAMES, ARGUMENTS),
        st.builds("({}).{}({})".format, inner, METHODS, ARGUMENTS),
        st.builds("({}) {} ({})".format, inner, OPERATORS, inner),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("(({}) if ({}) is {})".format, inner, inner, st.sampled_from(["string", "none"])),
        st.builds("({})({})".format, inner, ARGUMENTS),
    )


EXPRESSIONS = st.recursive(ATOMS, grown, max_leaves=6)
TEMPLATES = st.one_of(
    st.builds("{{{{ {} }}}}".format, EXPRESSIONS),
    st.builds("{{% for i in {} %}}{{{{ {} }}}}{{% endfor %}}".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("{{% set z %}}{{{{ {} }}}}{{% endset %}}{{{{ z * 9 }}}}".format, EXPRESSIONS),
    st.builds("{{% macro m(a) %}}{{{{ {} }}}}{{{{ m(a) }}}}{{% endmacro %}}{{{{ m({}) }}}}".format,
              EXPRESSIONS, ATOMS),
    st.text(st.sampled_from("{}%#|x()[]'\" \n.in=-"), max_size=40),
)  # fmt: skip


def test_random_templates_never_fail_otherwise() -> None:
    @given(TEMPLATES)
    def check(jinja: str) -> None:
        begin = time.process_time()
        outcome(jinja, values)
        assert time.process_time() - begin < LIMIT + SLACK

    values = row()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "MAX_SECONDS", LIMIT)
        check()
