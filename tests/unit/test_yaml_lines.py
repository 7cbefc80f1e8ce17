import pytest
import yaml

from brulee.errors import InputError
from brulee.yaml_lines import comment, dump, parse, quoted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "f, line 1: not valid YAML: mapping values are not allowed"),
        ("a: \ud800", "f: not valid YAML"),
        ("a: \x00", "f: not valid YAML"),
        ("a: 1\na: 2", "f, line 2: the key 'a' is given twice."),
        ("- a\n--- b", "f, line 2: not valid YAML"),
        ("a: !other x", "f, line 1: the tag '!other' is not allowed here."),
        ("a:\n  !!int x", "f, line 2: 'x' is not what the tag 'tag:yaml.org,2002:int' says."),
        ("!!int ''", "f, line 1: '' is not what the tag"),
        ("!!bool x", "f, line 1: 'x' is not what the tag"),
        ("!!timestamp x", "f, line 1: 'x' is not what the tag"),
    ],
)
def test_malformed_yaml_is_one_sentence_with_its_file(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "f")
    assert str(caught.value).startswith(message)


def test_yaml_that_is_nested_too_deeply_is_one_sentence() -> None:
    # Newer releases of PyYAML count the depth themselves, and know the line.
    with pytest.raises(InputError, match=r"^f.*: not valid YAML: .*(nested too deeply|nesting)"):
        parse("[" * 5000 + "]" * 5000, "f")


def test_aliases_that_multiply_are_refused() -> None:
    lists = (f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    with pytest.raises(InputError, match="f: more than 300,000 values; do aliases"):
        parse(f"a0: &a0 [{', '.join('x' * 10)}]\n{''.join(lists)}", "f")


def test_scalars_follow_yaml_1_2_and_keys_keep_their_lines() -> None:
    value, lines = parse("a: 1e-4\nb:\n  on: yes\n  c: [true, 0o7, 12]", "f")
    assert value == {"a": 1e-4, "b": {"on": "yes", "c": [True, "0o7", 12]}}
    assert (lines[("a",)], lines[("b", "on")], lines[("b", "c", 1)]) == (1, 3, 4)


def test_a_merge_key_gives_what_the_mapping_does_not_say() -> None:
    text = "base: &b\n  a: 1\n  n: {c: 2}\nother: &o {a: 5, d: 6}\nx:\n  <<: [*b, *o]\n  d: 7\n"
    values, lines = parse(text, "f")
    assert values["x"] == {"a": 1, "n": {"c": 2}, "d": 7}
    assert lines[("x", "n", "c")] == 3
    assert lines[("x", "d")] == 7
    with pytest.raises(InputError, match=r"^f, line 1: << takes a mapping, or a list of them\.$"):
        parse("<<: 3\n", "f")


def test_words_of_yaml_1_1_are_true_and_false_only_where_it_is_asked_for() -> None:
    text = "a: yes\nb: off\nc: 'no'\n"
    assert parse(text, "f")[0] == {"a": "yes", "b": "off", "c": "no"}
    assert parse(text, "f", old=True)[0] == {"a": True, "b": False, "c": "no"}


def test_merges_of_merges_are_read_once() -> None:
    both = (f"{x}{i}: &{x}{i} {{<<: [*a{i - 1}, *b{i - 1}]}}\n" for i in range(1, 60) for x in "ab")
    values, _ = parse(f"a0: &a0 {{c: 1}}\nb0: &b0 {{d: 2}}\n{''.join(both)}", "f")
    assert values["a59"] == {"c": 1, "d": 2}


# What YAML refuses or takes for the end of a line; some are what is left of Windows' quotes.
ODD = ["a\x93b", "\x7f", "\x85", "a\x85\x85b", "a\u2028 b", "\u2029", "\ufeff", "\uffff", "\x00\n"]


@pytest.mark.parametrize("text", ["a: b", "[", *ODD])
def test_a_comment_is_one_line(text: str) -> None:
    assert parse(f"a: 1\n{comment(text)}\nb: 2\n", "f")[0] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "text",
    ["2e-4", "1.e3", "...", "2026-02-30", "2026-02-28", "1_000", "yes", "nan", "a/b.c-d", "", *ODD],
)
def test_a_text_that_is_written_reads_back_as_text(text: str) -> None:
    for old in (False, True):
        assert parse(f"a: {quoted(text)}\n", "f", old)[0] == {"a": text}


def test_a_text_that_cannot_be_mistaken_has_no_quotes() -> None:
    assert [quoted(text) for text in ("a/b.c-d", "run.2", "2e-4x")] == ["a/b.c-d", "run.2", "2e-4x"]


def test_what_is_dumped_reads_back_whatever_version_of_yaml_reads_it() -> None:
    texts = [
        "2e-4",
        "1.e3",
        "08",
        "0123",
        "1_000",
        "yes",
        "...",
        "2026-02-30",
        "-",
        "",
        "a: b",
        "é\n",
        *ODD,
    ]
    values = {"texts": texts, "numbers": [1, -0.5, 1e-5, 2e-4, 1e22, 10**20], "2e5": [None, True]}
    text = dump(values)
    assert parse(text, "f")[0] == parse(text, "f", old=True)[0] == values
    assert yaml.safe_load(text) == values
    assert "a/b.c-d\n" in dump({"source": "a/b.c-d"}), "quoted without need"
