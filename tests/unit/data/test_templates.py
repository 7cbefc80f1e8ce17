"""Rendering as promptsource does it, inside limits, and loading from library, file and recipe."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from jinja2.exceptions import SecurityError

from brulee.data import sandbox
from brulee.data.sandbox_watch import Watch
from brulee.data.templates import (
    Rendered,
    Template,
    TemplateMetadata,
    TemplateSet,
    load_templates,
    read_templates,
)
from brulee.errors import InputError

PROMPTSOURCE_FILE = """
dataset: toys
subset: small
templates:
  6a9b1f3e-0000-4000-8000-000000000001: !Template
    answer_choices: No ||| Yes
    id: 6a9b1f3e-0000-4000-8000-000000000001
    jinja: 'Is {{toy}} fun?

      ||| {% if label != -1 %}{{ answer_choices[label] }}{% endif %}'
    metadata: !TemplateMetadata
      choices_in_prompt: null
      languages:
      - en
      metrics:
      - Pearson correlation
      original_task: true
    name: fun?
    reference: ''
    task_template: true
"""


def rendered(jinja: str, row: dict[str, Any], **options: Any) -> tuple[str, str]:
    result = Template("t", jinja, **options).render(row, "key")
    assert result is not None
    return result.prompt, result.completion


def refused(jinja: str, row: dict[str, Any] | None = None, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        Template("phrase", jinja, **options).render(row or {})
    return str(caught.value)


@pytest.mark.parametrize(
    "jinja", ["{{a}}|||{{b}}", "{{a}} ||| {{b}}", "{% if a %}{{a}}|||{% endif %}{{b}}"]
)
def test_a_value_that_ends_in_a_bar_keeps_it(jinja: str) -> None:
    assert rendered(jinja, {"a": "| x | y |", "b": "|z|"}) == ("| x | y |", "|z|")


def test_a_prompt_that_ends_in_a_bar_keeps_it() -> None:
    (template,) = load_templates({"prompt": "| {{a}} |", "completion": "| {{b}}"})
    assert template.render({"a": "x", "b": "y"}) == Rendered("| x |", "| y", None)


@pytest.mark.parametrize("choices", ["{{a}}|||{{b}}", "{{ [a, b] | join('|||') }}"])
def test_an_answer_choice_that_ends_in_a_bar_keeps_it(choices: str) -> None:
    template = Template("t", "{{q}} ||| {{answer_choices[1]}}", answer_choices=choices)
    found = template.render({"q": "?", "a": "x|", "b": "y"})
    assert found == Rendered("?", "y", ("x|", "y"))


def test_separators_in_the_keys_of_a_value_survive() -> None:
    jinja = "{% for key, value in a.items() %}{{key}}={{value}}{% endfor %} ||| done"
    assert rendered(jinja, {"a": {"x|||y": 1}}) == ("x|||y=1", "done")


def test_parts_are_stripped_and_separators_in_values_survive() -> None:
    row = {"a": " x ||| y ", "b": [{"c": "1|||2"}]}
    assert rendered("P {{a}}\n ||| \n {{ b[0].c }} ", row) == ("P  x ||| y", "1|||2")
    assert row == {"a": " x ||| y ", "b": [{"c": "1|||2"}]}


def test_answer_choices_render_per_row_and_protect_the_separator() -> None:
    template = Template("t", "{{q}} ||| {{answer_choices[n]}}", "{{ c | join('|||') }}")
    result = template.render({"q": "?", "c": ["a ||| b", " c"], "n": 0})
    assert result is not None
    assert result.choices == ("a ||| b", "c")
    assert result.completion == "a ||| b"


def test_an_empty_prompt_does_not_apply_but_an_empty_completion_is_unlabelled() -> None:
    template = Template("t", "{% if n %}{{n}} ||| {{label}}{% endif %}")
    assert template.render({"n": 0, "label": "x"}) is None
    result = template.render({"n": 1, "label": None})
    assert result is not None
    assert (result.prompt, result.completion) == ("1", "")


def test_templates_may_change_their_own_copy_of_a_row() -> None:
    row = {"l": ["a"]}
    assert rendered("{% set _ = l.append('b') %}{{ l | join }} ||| {{ l | length }}", row) == (
        "ab",
        "2",
    )
    assert row == {"l": ["a"]}


def test_dashed_columns_are_read_with_underscores() -> None:
    assert rendered("{{a_b}}|||{{c}}", {"a-b": 1, "c": 2}) == ("1", "2")


def test_promptsource_functions() -> None:
    jinja = (
        "{% for a, b in zip(x, y) %}{{a}}{{b}}{{ loop.last }} {% endfor %}"
        "{{ ['p', 'q', 'p'] | most_frequent }}{{ 'z' | highlight }} ||| {{ x ~ y }}"
    )
    assert rendered(jinja, {"x": [1, 2], "y": [3, 4]}) == (
        "13False 24True ['p']z",
        "[1, 2][3, 4]",
    )


def test_a_value_written_as_json_keeps_its_order_and_its_characters() -> None:
    value = {"z": "O'Neil <b> & \N{LATIN SMALL LETTER E WITH ACUTE}", "a": [1.5, True, None]}
    made = Template("t", "{{ x }} ||| {{ value | tojson }}").render({"x": "?", "value": value}, "")
    assert made is not None
    assert made.completion == json.dumps(value, ensure_ascii=False)
    indented = Template("t", "{{ x }} ||| {{ value | tojson(indent=2) }}")
    found = indented.render({"x": "?", "value": value}, "")
    assert found is not None
    assert found.completion == json.dumps(value, ensure_ascii=False, indent=2)


def test_choice_is_drawn_by_key_and_uniform_over_keys() -> None:
    template = Template("t", "{{ ['a', 'b', 'c'] | choice }}{{ choice('xyz') }} ||| {{n}}")
    results = [template.render({"n": 1}, f"row {i}") for i in range(900)]
    assert results == [template.render({"n": 1}, f"row {i}") for i in range(900)]
    counts = Counter(result.prompt for result in results if result)
    assert len(counts) == 9
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 26  # chi-square, p = 0.001


def test_columns_read_are_found_without_locals_and_functions() -> None:
    jinja = (
        "{% set t = title %}{% for w in body %}{{w}}{% endfor %}{{ zip(t, range(2)) | list }}"
        "{{answer_choices}} ||| {{ answer_choices[stars] }}{{ title }}"
    )
    template = Template("t", jinja, "{{options}}")
    assert template.columns == {"title", "body", "stars", "options"}
    assert template.source_columns == ("body",)


def test_source_columns_follow_separators_inside_branches() -> None:
    jinja = "{{a}}{% if b %}{{c}} ||| {{d}}{% else %}{{e}} ||| {{f}}{% endif %}{{g}}"
    assert Template("t", jinja).source_columns == ("a", "b", "c", "e")


def test_a_column_named_like_a_function_is_still_a_column() -> None:
    assert rendered("{{ zip }}|||{{ range(2) | list }}", {"zip": "90210"}) == ("90210", "[0, 1]")


def test_a_missing_column_is_named_with_those_present() -> None:
    message = refused("{{dialog}} ||| {{summary}}", {"dialogue": "a", "summary": "b"})
    assert message == (
        "template 'phrase': 'dialog' is undefined; columns present: dialogue, summary."
    )
    assert rendered("{% if x is defined %}{{x}}{% endif %}{{y}}|||", {"y": 1}) == ("1", "")


@pytest.mark.parametrize(
    "jinja",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ x.append.__globals__ }}",
        "{{ x.__init__ }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{{ '%s' | attr('__class__') }}",
    ],
)
def test_attributes_of_python_are_refused(jinja: str) -> None:
    assert refused(jinja + " ||| y", {"x": [1]}).startswith("template 'phrase': ")


@pytest.mark.parametrize(
    "jinja",
    [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% set r = range(99999) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ x }}{% endfor %}",
        "{{ 'x' * 10**9 }}",
        "{{ x * 10**7 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:999999999d}'.format(1) }}",
        "{{ 'x' | center(10**9) }}",
        "{{ 'x'.ljust(10**9) }}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x~n.x %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x+n.x %}{% endfor %}",
        "{% set l = [1] %}{% for i in range(60) %}{{ l.extend(l) }}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_runaway_template_stops(jinja: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox.MAX_SECONDS < 2
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.3)
    start = time.process_time()  # not what other processes take
    assert refused(jinja + " ||| y", {"x": "text " * 20}).startswith("template 'phrase': ")
    assert time.process_time() - start < 2


def test_other_mistakes_in_a_template_are_input_errors() -> None:
    assert "malformed jinja, line 2 of it" in refused("a\n{{ b ||| c")
    assert "malformed jinja, line 1 of it: expected token" in refused("{{ a b }} ||| c")
    assert "No filter named 'upcase'" in refused("{{ b | upcase }} ||| c")
    assert "malformed answer_choices" in refused("a ||| b", answer_choices="{% if %}")
    assert "put ||| between" in refused("{{a}}", {"a": 1})
    assert "rendered ||| 2 times" in refused("a ||| b ||| c")
    assert "division" in refused("{{ 1 / 0 }} ||| c")
    assert "may not be called 'answer_choices'" in refused("a ||| b", {"answer_choices": 1})
    assert "no loader" in refused("{% include '/etc/passwd' %} ||| b")


@pytest.mark.parametrize("name", ["Customer's note", "intent id", "late?", "price (EUR)#"])
def test_a_column_that_is_no_name_in_jinja_is_told_how_to_print(name: str) -> None:
    said = refused(f"{{{{ {name} }}}} ||| {{{{ b }}}}")
    assert f'write {{{{text}}}} and data.columns: {{text: "{name}"}}' in said
    assert "data.columns" not in refused("{{ a if b is odd els c }} ||| c")
    assert "data.columns" not in refused("{{ a.b( }} ||| c")


def test_promptsource_files_load_as_they_are() -> None:
    (template,) = read_templates(PROMPTSOURCE_FILE, "toys", "toys.yaml")
    assert (template.name, template.metadata.original_task) == ("fun?", True)
    assert template.metadata.metrics == ("Pearson correlation",)
    result = template.render({"toy": "Lego", "label": 1})
    assert result is not None
    assert (result.prompt, result.completion, result.choices) == (
        "Is Lego fun?",
        "Yes",
        ("No", "Yes"),
    )


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("jinja:", "jinga:", "toys.yaml, line 5: unknown key 'jinga'; did you mean 'jinja'?"),
        ("languages:", "language:", "did you mean 'languages'?"),
        ("original_task: true", "original_task: maybe", "original_task is true or false"),
        ("name: fun?", "name: [1]", "name [1] is not text"),
        ("No ||| Yes", "[No, Yes]", "answer_choices ['No', 'Yes'] is not text"),
        ("templates:", "prompts:", "a mapping with the key 'templates'"),
        ("{% endif %}", "", "toys.yaml, line 5: template 'fun?': malformed jinja"),
        ("!Template\n", "!!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_a_malformed_template_file_is_named_with_its_line(
    before: str, after: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_templates(PROMPTSOURCE_FILE.replace(before, after, 1), "toys", "toys.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("toys.yaml")


def test_specs_name_families_templates_files_and_inline_text(tmp_path: Path) -> None:
    assert len(load_templates("dialogue-summary")) == 12
    (plain,) = load_templates("dialogue-summary/plain")
    assert plain.jinja == "Summarize the following conversation.\n\n{{dialogue}} ||| {{summary}}"
    (tmp_path / "toys.yaml").write_text(PROMPTSOURCE_FILE)
    loaded = load_templates(["dialogue-summary/tldr", "toys.yaml"], lambda name: tmp_path / name)
    assert [t.name for t in loaded] == ["tldr", "fun?"]
    (inline,) = load_templates({"prompt": "{{a}}", "completion": "{{b}}", "name": "mine"})
    assert (inline.name, inline.source_columns) == ("mine", ("a",))


def test_families_that_use_one_name_are_told_apart() -> None:
    found = {t.name: t for t in load_templates(["sst2", "rotten-tomatoes"])}
    assert len(found) == len(load_templates("sst2")) + len(load_templates("rotten-tomatoes"))
    (own,) = load_templates("sst2/poster-quote")
    assert found["sst2/poster-quote"].jinja == own.jinja
    assert found["sst2/poster-quote"].metadata == own.metadata
    assert "rotten-tomatoes/poster-quote" in found
    assert "thumb" in found


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dialog-summary", "did you mean 'dialogue-summary'"),
        ("dialogue-summary/plane", "did you mean 'plain'?"),
        ("toy.yaml", "no such template file. Did you mean"),
        ([], "the list is empty"),
        (["dialogue-summary", "dialogue-summary/plain"], "two templates are called 'plain'"),
        ({"jinja": "a ||| b", "choices": "x"}, "unknown key 'choices'"),
        ({"prompt": "a"}, "the key 'completion' is required"),
        ({"jinja": "a ||| b", "prompt": "a"}, "either jinja, or prompt"),
        ({"jinja": 3}, "templates.jinja: 3 is not text"),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path: Path, spec: Any, message: str) -> None:
    (tmp_path / "toys.yaml").write_text(PROMPTSOURCE_FILE)
    with pytest.raises(InputError) as caught:
        load_templates(spec, lambda name: tmp_path / name)
    assert message in str(caught.value)


def test_the_digest_follows_what_is_rendered() -> None:
    first = load_templates({"jinja": "a ||| b"})
    assert first.digest == load_templates({"jinja": "a ||| b"}).digest
    assert first.digest != load_templates({"jinja": "a ||| c"}).digest
    assert first.digest != load_templates({"jinja": "a ||| b", "answer_choices": "b"}).digest


CLUSTERED_FILE = PROMPTSOURCE_FILE.replace(
    "subset: small\n", "cluster: play\nsources: [owner/toys, toys.csv]\n"
)


def test_cluster_and_sources_are_kept_and_leave_the_digest_alone() -> None:
    plain = read_templates(PROMPTSOURCE_FILE, "toys", "toys.yaml")
    assert (plain.cluster, plain.sources) == (None, ())
    clustered = read_templates(CLUSTERED_FILE, "toys", "toys.yaml")
    assert (clustered.cluster, clustered.sources) == ("play", ("owner/toys", "toys.csv"))
    assert clustered.digest == plain.digest


def test_one_template_of_a_family_keeps_its_cluster_and_a_mixed_list_has_none() -> None:
    family = load_templates("dialogue-summary")
    assert family.cluster == "summarization"
    one = load_templates("dialogue-summary/plain")
    assert (one.cluster, one.sources) == (family.cluster, family.sources)
    alike = load_templates(["dialogue-summary/plain", "review-summary/headline"])
    assert alike.cluster == "summarization"
    assert alike.sources == (*family.sources, *load_templates("review-summary").sources)
    assert load_templates(["dialogue-summary/plain", "review-rating/form-field"]).cluster is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cluster: [play]", "toys.yaml: cluster ['play'] is not a name"),
        ("cluster: ' '", "toys.yaml: cluster ' ' is not a name"),
        ("sources: owner/toys", "toys.yaml: sources 'owner/toys' is not a list"),
        ("sources: [1]", "toys.yaml: sources [1] is not a list of data set names"),
        ("clusters: play", "unknown key 'clusters'; did you mean 'cluster'?"),
    ],
)
def test_a_malformed_cluster_or_source_is_refused(line: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_templates(PROMPTSOURCE_FILE.replace("subset: small", line), "toys", "toys.yaml")
    assert message in str(caught.value)


def test_sets_group_by_the_source_columns_their_templates_share() -> None:
    assert load_templates("review-rating").source_columns == ("body",)
    assert load_templates("dialogue-summary").source_columns == ("dialogue",)


def test_questions_on_one_passage_are_one_group() -> None:
    # The inverted templates write a question about a passage, which the others have to answer.
    assert load_templates("squad").source_columns == ("context",)


def test_inverted_templates_that_share_no_source_do_not_decide_the_groups() -> None:
    inverted = TemplateMetadata(original_task=False)
    first, second, back = (
        Template("first", "{{text}} {{hint}} ||| {{label}}"),
        Template("second", "{{text}} ||| {{label}}"),
        Template("back", "{{label}} ||| {{text}}", metadata=inverted),
    )
    assert TemplateSet("t", (first, second, back)).source_columns == ("text",)
    assert TemplateSet("t", (back,)).source_columns == ("label",)


GOLD = "promptsource_gold/amazon_polarity_user_satisfied.jsonl"
USER_SATISFIED = (
    "Here is a review left by a customer on a product. Would you say he was "
    "{{answer_choices[1]}} or {{answer_choices[0]}}?\nTitle: {{title}}\nReview: {{content}}\n ||| "
    "{{answer_choices[label]}}"
)


@pytest.mark.skipif("BRULEE_REAL_DATA" not in os.environ, reason="BRULEE_REAL_DATA is not set")
def test_renders_what_promptsource_rendered() -> None:
    template = Template("user_satisfied", USER_SATISFIED, "dissatisfied ||| satisfied")
    lines = (Path(os.environ["BRULEE_REAL_DATA"]) / GOLD).read_text(encoding="utf-8").splitlines()
    for gold in map(json.loads, lines):
        head, _, content = gold["prompt"].replace("\r\n", "\n").partition("\nReview: ")
        answer = gold["completion"].removesuffix("<|endoftext|>")
        title = head.partition("\nTitle: ")[2]
        row = {"title": title, "content": content, "label": int(answer == "satisfied")}
        result = template.render(row)
        assert result is not None
        assert (result.prompt, result.completion) == (gold["prompt"].strip(), answer)


def test_a_process_that_was_stopped_goes_on_rendering() -> None:
    watch = Watch(0.05, "key")
    time.sleep(0.1)
    watch.check_time()
    began = time.thread_time()
    while time.thread_time() < began + 0.06:
        pass
    with pytest.raises(SecurityError, match="it runs for more than"):
        watch.check_time()


def test_a_short_rendering_does_not_ask_for_the_time_it_worked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "thread_time", None)
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    assert rendered("{{x}} {{ x * 2 }} ||| y", {"x": "a"}) == ("a aa", "y")


@pytest.mark.parametrize("label", ["1", 1.0])
def test_a_label_that_is_no_whole_number_says_what_to_write(label: object) -> None:
    said = refused("{{a}} ||| {{answer_choices[label]}}", {"a": "x", "label": label},
                   answer_choices="no ||| yes")  # fmt: skip
    assert "as in answer_choices[label | int]; columns present: a, label" in said
    jinja = "{{a}} ||| {{answer_choices[label | int]}}"
    assert rendered(jinja, {"a": "x", "label": label}, answer_choices="no ||| yes") == ("x", "yes")


def test_a_recipe_given_as_a_template_file_is_told_to_be_one() -> None:
    with pytest.raises(InputError, match="`brulee data inspect` shows a recipe's rows"):
        read_templates("model: bundled\ndata: {source: rows.csv}\n", "toys", "toys.yaml")
