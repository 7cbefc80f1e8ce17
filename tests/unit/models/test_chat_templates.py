"""Chat templates that a recipe brings, and the variables it sets in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brulee.data.encoding import Encoder
from brulee.errors import InputError
from brulee.models.chat_templates import (
    by_recipe,
    by_record,
    recorded,
    with_template,
    with_variables,
)
from brulee.models.tokenizers import encoder_of, load_encoder
from brulee.recipe import Recipe, recipe_from_dict

HYBRID = (
    "{% set quiet = enable_thinking is defined and not enable_thinking %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if quiet %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
SHOWN = "{% for m in messages %}{{ m.role }} ({{ style }}): {{ m.content }}</s>\n{% endfor %}"
SHOWN += "{% if add_generation_prompt %}assistant ({{ style }}): {% endif %}"
Write = Callable[..., Recipe]


@pytest.fixture
def recipe(tiny_model_folder: Path) -> Write:
    """`recipe(chat_template=...)`: a recipe for the tiny model, with more keys of its model."""

    def made(**model: Any) -> Recipe:
        values = {"model": {"name": str(tiny_model_folder), **model}}
        return recipe_from_dict(values | {"data": {"source": "rows.csv", "templates": "rte"}})

    return made


@pytest.fixture
def shown(tmp_path: Path) -> str:
    """A file with a template that reads a variable."""
    path = tmp_path / "shown.jinja"
    path.write_text(SHOWN)
    return str(path)


def test_a_file_takes_the_place_of_the_tokenizers_own(recipe: Write, shown: str) -> None:
    encoder = load_encoder(recipe(chat_template=shown, chat_template_kwargs={"style": "kind"}))
    assert encoder.prompt_text("Hi") == "user (kind): Hi</s>\nassistant (kind): "
    document = encoder.tokenizer.decode(encoder.encode("Hi", "Yes?").ids)
    assert document.endswith("assistant (kind): Yes?</s>")
    own = load_encoder(recipe())
    assert own.prompt_text("Hi").startswith("<|im_start|>user")  # another tokenizer is not touched
    assert own.digest != encoder.digest


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, "True"),
        (None, "None"),
        ('it\'s "so"\n{{ x }} ☃ \\n', 'it\'s "so"\n{{ x }} ☃ \\n'),
        (-3, "-3"),
        (1e-7, "1e-07"),
        (["a", 2], "['a', 2]"),
        ({"a": {"b": False}}, "{'a': {'b': False}}"),
    ],
)
def test_a_variable_is_what_the_recipe_says(
    recipe: Write, shown: str, value: Any, written: str
) -> None:
    encoder = load_encoder(recipe(chat_template=shown, chat_template_kwargs={"style": value}))
    assert encoder.prompt_text("Hi").endswith(f"assistant ({written}): ")


def test_a_variable_is_set_in_the_tokenizers_own_template(
    recipe: Write, make_tokenizer: Callable[..., Any]
) -> None:
    tokenizer = make_tokenizer(HYBRID)
    quiet = recipe(chat_template_kwargs={"enable_thinking": False})
    encoder = encoder_of(by_recipe(tokenizer, "causal", quiet), "causal", quiet)
    assert encoder.prompt_text("?").endswith("<think>\n\n</think>\n\n")
    assert not encoder_of(tokenizer, "causal", recipe()).prompt_text("?").endswith("\n\n")
    # What is recorded frames prompts as training did, whatever the tokenizer has by then.
    text = recorded(encoder.tokenizer, quiet)
    later = by_record(make_tokenizer("{{ messages[0].content }}"), text)
    assert encoder_of(later, "causal", recipe()).digest == encoder.digest
    assert recorded(tokenizer, recipe()) == "auto"
    assert by_record(tokenizer, "auto") is tokenizer


def test_of_several_templates_by_name_each_has_the_variable(
    recipe: Write, make_tokenizer: Callable[..., Any]
) -> None:
    several = with_template(make_tokenizer(), {"default": SHOWN, "tool_use": SHOWN})
    asked = recipe(chat_template_kwargs={"style": "kind"})
    found = by_recipe(several, "causal", asked)
    assert list(recorded(found, asked)) == ["default", "tool_use"]
    assert encoder_of(found, "causal", asked).prompt_text("Hi").endswith("assistant (kind): ")


def test_templates_without_a_default_are_refused_by_name(
    recipe: Write, make_tokenizer: Callable[..., Any], tmp_path: Path
) -> None:
    several = with_template(make_tokenizer(), {"rag": SHOWN, "tool_use": SHOWN})
    with pytest.raises(InputError) as caught:
        encoder_of(several, "causal", recipe())
    assert str(caught.value) == (
        "the tokenizer's chat templates (rag, tool_use) have no 'default'; write the one to use "
        "into a file and name that by model.chat_template, or set model.chat_template=none to "
        "train without one."
    )
    (tmp_path / "own.jinja").write_text(SHOWN)
    asked = recipe(chat_template=str(tmp_path / "own.jinja"))
    assert encoder_of(by_recipe(several, "causal", asked), "causal", asked).prompt_text("Hi")


def test_variables_that_are_set_later_have_the_last_word(
    make_tokenizer: Callable[..., Any],
) -> None:
    begun = "\n  {% if n %}<s>{% endif %}" + SHOWN
    own = "{%- set kind = style ~ '' %}\n"  # which reads one
    begun = own + begun.replace("style", "kind")
    once = with_variables(make_tokenizer(begun), {"style": 'a "%}', "n": [-1.5e-9, True]}, "kwargs")
    twice = with_variables(with_variables(once, {"style": "b"}, "kwargs"), {"n": 2}, "kwargs")
    prompts = [Encoder(each).prompt_text("Hi") for each in (once, twice)]
    written = "\n<s>user (STYLE): Hi</s>\nassistant (STYLE): "  # what the template begins with, too
    assert prompts == [written.replace("STYLE", style) for style in ('a "%}', "b")]


def test_a_file_may_come_from_windows(recipe: Write, tmp_path: Path) -> None:
    file = tmp_path / "windows.jinja"
    file.write_bytes(b"\xef\xbb\xbf" + SHOWN.replace("\n", "\r\n").encode())
    assert load_encoder(recipe(chat_template=str(file))).prompt_text("Hi").startswith("user (): Hi")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"chat_template": "EMPTY"},
            r"model\.chat_template: '.*empty\.jinja' is empty; valid: auto",
        ),
        ({"chat_template": SHOWN}, r"model\.chat_template: that is the text of a template; write"),
        *(
            (
                {"chat_template": "FILE", "chat_template_kwargs": {name: 1}},
                f"does not read '{name}'",
            )
            for name in ("if", "m", "role", "assistant")  # words of its text, but no variables
        ),
        (
            {"chat_template": "nine"},
            r"model\.chat_template: 'nine' is no file; did you mean 'none'\? valid: auto",
        ),
        (
            {"chat_template": "FILE", "chat_template_kwargs": {"styel": 1}},
            r"model\.chat_template_kwargs\.styel: .* does not read 'styel'; did you mean 'style'\? "
            r"valid: style\.",
        ),
        (
            {"chat_template": "PLAIN", "chat_template_kwargs": {"style": 1}},
            r"does not read 'style'; it has no variables to set",
        ),
        (
            {"chat_template_kwargs": {"messages": []}},
            r"model\.chat_template_kwargs\.messages: every chat template already gets this",
        ),
        (
            {"chat_template": "FILE", "chat_template_kwargs": {"style": float("nan")}},
            r"model\.chat_template_kwargs\.style: nan is no number",
        ),
        (
            {"chat_template": "none", "chat_template_kwargs": {"style": 1}},
            r"model\.chat_template_kwargs: chat_template is none, which has no variables",
        ),
        (
            {"chat_template": "BROKEN"},
            r"model\.chat_template: '.*broken\.jinja', line 2: unexpected '}'",
        ),
    ],
)
def test_what_cannot_be_meant_is_told(
    recipe: Write, shown: str, tmp_path: Path, model: dict[str, Any], message: str
) -> None:
    broken = tmp_path / "broken.jinja"
    broken.write_text("{% for m in messages %}\n{{ m.content } }{% endfor %}")
    empty = tmp_path / "empty.jinja"
    empty.write_text("\n")
    plain = tmp_path / "plain.jinja"
    plain.write_text(SHOWN.replace("{{ style }}", ""))
    files = {"FILE": shown, "BROKEN": str(broken), "EMPTY": str(empty), "PLAIN": str(plain)}
    model = {k: files.get(v, v) if isinstance(v, str) else v for k, v in model.items()}
    with pytest.raises(InputError, match=message):
        load_encoder(recipe(**model))


def test_an_encoder_decoder_has_none(tiny_t5_folder: Path, shown: str) -> None:
    values = {"model": {"name": str(tiny_t5_folder), "chat_template": shown}}
    with pytest.raises(InputError, match=r"model\.chat_template: an encoder-decoder reads"):
        load_encoder(recipe_from_dict(values | {"data": {"source": "rows.csv"}}))


def test_a_tokenizer_without_a_template_has_no_variables(
    recipe: Write, make_tokenizer: Callable[..., Any]
) -> None:
    with pytest.raises(InputError, match="has no chat template of its own"):
        by_recipe(make_tokenizer(None), "causal", recipe(chat_template_kwargs={"style": 1}))
