import pytest

from brulee.errors import InputError
from brulee.yaml_lines import parse


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "f, line 1: not valid YAML: mapping values are not allowed"),
        ("a: \ud800", "f: not valid YAML"),
        ("a: \x00", "f: not valid YAML"),
        ("a: 1\na: 2", "f, line 2: the key 'a' is given twice."),
        ("- a\n--- b", "f, line 2: not valid YAML"),
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
