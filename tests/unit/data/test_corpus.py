"""Tasks opened together: paths, shared splits, what is held out, what is drawn."""

import json
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brulee import progress
from brulee.data.corpus import Corpus, open_corpus
from brulee.data.encoding import Encoder
from brulee.errors import InputError
from brulee.recipe import load_recipe, recipe_from_dict

ASK = {"prompt": "Q {{ q }}", "completion": "{{ a }}"}
BACK = {"prompt": "Which question has the answer {{ a }}?", "completion": "{{ q }}"}
WORDS = (
    "amber",
    "birch",
    "cedar",
    "dune",
    "ember",
    "fjord",
    "grove",
    "heath",
    "islet",
    "jetty",
    "knoll",
    "lagoon",
)


def written(folder: Path, name: str, count: int) -> str:
    rows = [
        {
            "q": f"{name} {WORDS[i % 12]} {WORDS[i // 12 % 12]} number {i}?",
            "a": f"answer {name} {i}",
        }
        for i in range(count)
    ]
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def opened(data: Any) -> Corpus:
    return open_corpus(recipe_from_dict({"data": data}))


def task(source: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "templates": ASK, **more}


def test_malformed_chats_are_counted_and_in_no_split(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    for n in range(60):
        turns = [("user", f"What is {n}?"), ("assistant", f"A number, {n}.")]
        chat = [{"role": role, "content": text} for role, text in turns[n % 6 == 1 :]]
        with file.open("a") as lines:
            lines.write(json.dumps({"messages": chat}) + "\n")
    found = opened({"source": str(file), "malformed_chats": "skip", "split": {"test": 0.2}})
    (read,) = found.tasks.values()
    assert read.dropped["malformed chat"] == 10
    assert (len(read.rows), read.count_read) == (50, 60)
    used = sorted((*read.train, *read.test))
    assert [read.rows[i]["prompt"] for i in used] == [
        f"What is {n}?" for n in range(60) if n % 6 != 1
    ]
    assert read.rows.place(used[1]).endswith("chats.jsonl, line 3")


def test_a_lone_task_stands_under_its_name(tmp_path: Path) -> None:
    corpus = opened(task(written(tmp_path, "one", 40)))
    assert list(corpus.tasks) == list(corpus.trained) == ["one"]
    assert [test.name for test in corpus.tests] == ["one/test"]


def test_nested_mixtures_draw_each_task_at_its_rate(tmp_path: Path) -> None:
    one, two, three = (written(tmp_path, name, n) for name, n in (("a", 30), ("b", 60), ("c", 90)))
    corpus = opened(
        {
            "mix": {"kind": "weights"},
            "tasks": [
                task(one, weight=0.4),
                {"name": "rest", "weight": 0.6, "mix": {"kind": "equal"},
                 "tasks": [task(two), task(three)]},
            ],
        }
    )  # fmt: skip
    assert list(corpus.tasks) == ["a", "rest/b", "rest/c"]
    mixture = corpus.mixture({path: t.train for path, t in corpus.tasks.items()}, seed=0)
    counts = Counter(mixture.sample(i).part for i in range(1000))
    assert {path: round(n / 1000, 2) for path, n in counts.items()} == {
        "a": 0.4, "rest/b": 0.3, "rest/c": 0.3
    }  # fmt: skip


def test_tasks_over_one_source_share_one_split(tmp_path: Path) -> None:
    source = written(tmp_path, "shared", 60)
    corpus = opened([task(source, name="ask"), task(source, name="back", templates=BACK)])
    ask, back = corpus.tasks.values()
    assert (ask.train, ask.test) == (back.train, back.test)
    alone = opened(task(source, templates=BACK))
    assert alone.tasks["shared"].test != ask.test, "the split would not have differed anyway"


def test_tasks_over_one_source_that_ask_for_two_splits_are_refused(tmp_path: Path) -> None:
    source = written(tmp_path, "shared", 60)
    asked = [task(source, name="ask"), task(source, name="back", split={"test": 0.5})]
    with pytest.raises(InputError, match="tasks over one source share one split"):
        opened(asked)


def test_a_source_under_two_names_is_one_source(tmp_path: Path) -> None:
    source = written(tmp_path, "shared", 60)
    again = f"{tmp_path}/../{tmp_path.name}/shared.jsonl"
    ask, back = opened(
        [task(source, name="ask"), task(again, name="back", templates=BACK)]
    ).tasks.values()
    assert (ask.train, ask.test) == (back.train, back.test)
    held = opened({"hold_out": {"tasks": ["ask"]},
                   "tasks": [task(source, name="ask"), task(again, name="back"),
                             task(written(tmp_path, "else", 40))]})  # fmt: skip
    assert held.held_out == {"ask": "named", "back": "same data set as ask"}


def test_tasks_that_read_one_source_to_two_lengths_are_refused(tmp_path: Path) -> None:
    source = written(tmp_path, "shared", 60)
    asked = [task(source, name="ask"), task(source, name="back", limit=40)]
    with pytest.raises(InputError, match="ask reads 60 rows of it where this one reads 40"):
        opened(asked)


def test_two_splits_of_one_folder_are_two_sources(tmp_path: Path) -> None:
    (tmp_path / "qa").mkdir()
    for split in ("train", "validation", "test"):
        written(tmp_path / "qa", split, 40)
    columns = {"prompt": "q", "response": "a"}
    info = {split: {"file_name": "qa", "split": split, "columns": columns}
            for split in ("validation", "test")}  # fmt: skip
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    one, two = opened(
        [task(f"{tmp_path}/dataset_info.json:{name}", name=name,
              columns={"q": "instruction", "a": "output"})
         for name in info]
    ).tasks.values()  # fmt: skip
    assert one.rows.digests == two.rows.digests, "they would not have been taken for one anyway"
    assert one.rows[0] != two.rows[0]
    assert one.splits is not two.splits


def test_a_held_out_cluster_takes_every_task_of_its_data_sets_along(tmp_path: Path) -> None:
    one, two, three = (written(tmp_path, name, 40) for name in "abc")
    corpus = opened(
        {
            "hold_out": {"clusters": ["nli"]},
            "tasks": [
                task(one, cluster="nli"),
                task(one, name="title", cluster="summary"),
                task(two, dataset=one, name="other"),
                task(three, cluster="summary"),
            ],
        }
    )
    assert corpus.trained == ("c",)
    assert corpus.held_out == {
        "a": "cluster nli", "title": "same data set as a", "other": "same data set as a"
    }  # fmt: skip
    assert [test.path for test in corpus.tests] == list(corpus.tasks)


@pytest.mark.parametrize(
    ("hold_out", "says"),
    [
        ({"clusters": ["nil"]}, "did you mean 'nli'"),
        ({"tasks": ["b"]}, "unknown task 'b'"),
        ({"tasks": ["a", "c"]}, "every task is held out"),
    ],
)
def test_what_cannot_be_held_out_says_why(tmp_path: Path, hold_out: Any, says: str) -> None:
    one, two = (written(tmp_path, name, 40) for name in "ac")
    with pytest.raises(InputError, match=says):
        opened({"hold_out": hold_out, "tasks": [task(one, cluster="nli"), task(two)]})


def test_a_task_to_hold_out_without_its_mixture_is_told_its_path(tmp_path: Path) -> None:
    one, two = (written(tmp_path, name, 40) for name in "ac")
    mixture = {"name": "flan", "tasks": [task(one), task(two)]}
    with pytest.raises(InputError, match=r"unknown task 'a'; .* by its path, here 'flan/a'"):
        opened({"hold_out": {"tasks": ["a"]}, "tasks": [mixture]})


def test_held_out_phrasings_are_tested_and_never_trained_on() -> None:
    corpus = opened(
        {
            "source": "bundled/support-chats",
            "templates": "dialogue-summary",
            "hold_out_templates": 0.25,
        }
    )
    (found,) = corpus.tasks.values()
    trained, held = {t.name for t in found.templates}, {t.name for t in found.held_out}
    assert len(held) == round(0.25 * len(trained | held)) >= 2
    assert not trained & held
    assert found.templates.templates[0].name not in held
    assert [test.name for test in corpus.tests] == [
        "support-chats/test", "support-chats/test-unseen-phrasings"
    ]  # fmt: skip
    asked = {corpus.tests[1].template_of(row).name for row in found.test}
    assert asked == held


def test_the_only_phrasing_is_not_held_out(tmp_path: Path) -> None:
    data = task(written(tmp_path, "a", 20))
    with pytest.raises(InputError, match="has one phrasing of its task, which is needed"):
        opened(data | {"hold_out_templates": 0.5})


def test_a_held_out_phrasing_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plain"):
        opened(
            {
                "source": "bundled/support-chats",
                "templates": "dialogue-summary",
                "hold_out_templates": ["plian"],
            }
        )


@pytest.mark.parametrize(
    ("tasks", "line", "says"),
    [
        ("  - {source: SOURCE}\n  - {source: SOURCE}\n", 3, "second task is called 'a'"),
        ("  - {source: SOURCE}\n  - tasks: [{source: SOURCE}]\n", 3, "needs a name"),
        ("  - {source: SOURCE, system: Hello}\n", 2, "one system message, data.system"),
        ("  - {source: SOURCE, templates: nope}\n", 2, "nope"),
    ],
)
def test_a_mistake_in_a_mixture_names_its_line(
    tmp_path: Path, tasks: str, line: int, says: str
) -> None:
    text = "data:\n" + tasks.replace("SOURCE", written(tmp_path, "a", 20))
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"recipe.yaml, line {line}: ") as caught:
        open_corpus(load_recipe(tmp_path / "recipe.yaml"))
    assert says in str(caught.value)


def test_hold_out_inside_a_mixture_inside_a_mixture_is_refused(tmp_path: Path) -> None:
    inner = {
        "name": "in",
        "tasks": [task(written(tmp_path, "a", 20))],
        "hold_out": {"tasks": ["a"]},
    }
    with pytest.raises(InputError, match="hold_out belongs at the top of data"):
        opened([inner])


def test_rationale_picks_the_phrasings_and_says_when_there_is_none(tmp_path: Path) -> None:
    rows = [
        {"question": f"What is {i} + {i}?", "answer": f"{i} and {i} make {2 * i}.\n#### {2 * i}"}
        for i in range(40)
    ]
    file = tmp_path / "maths.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = {
        kind: len(
            opened({"source": str(file), "templates": "gsm8k", "rationale": kind})
            .tasks["maths"]
            .templates
        )
        for kind in ("any", "with", "without")
    }
    assert sizes["any"] >= sizes["with"] + sizes["without"] > sizes["with"] > 0
    with pytest.raises(InputError, match="rationale with: no template of review-rating is left"):
        opened(
            {"source": "bundled/product-reviews", "templates": "review-rating", "rationale": "with"}
        )


def test_few_shot_draws_show_training_rows_of_other_groups_only() -> None:
    corpus = opened(
        {
            "source": "bundled/product-reviews",
            "templates": "review-rating/out-of-five",
            "split": {"group": "product"},
            "shots": {"count": 3, "share": 0.5, "test": 2},
        }
    )
    (found,) = corpus.tasks.values()
    bodies = {str(found.rows[i]["body"]): i for i in range(len(found.rows))}
    shown = []
    for row in found.train[:40]:
        shots = found.shots_of(f"0/0/{row}")
        phrasing = found.phrasing(found.templates.templates[0], row, shots, f"0/0/{row}")
        rendered = phrasing.render(found.rows[row], "")
        assert rendered is not None
        inside = {i for body, i in bodies.items() if body in rendered.prompt}
        assert row in inside
        assert len(inside) == shots + 1
        assert inside - {row} <= set(found.train)
        assert all(found.splits.groups[i] != found.splits.groups[row] for i in inside - {row})
        shown.append(shots)
    assert set(shown) == {0, 3}
    assert 8 < shown.count(3) < 32


def test_rows_that_differ_in_a_column_no_template_can_spell_are_no_repeats(tmp_path: Path) -> None:
    rows = [{"the-text": f"{WORDS[i % 12]} {i}", "label": ("yes", "no")[i % 2]}
            for i in range(40)]  # fmt: skip
    file = tmp_path / "dashes.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    phrased = {"prompt": "{{ the_text }}", "completion": "{{ label }}"}
    (found,) = opened({"source": str(file), "templates": phrased}).tasks.values()
    assert (found.splits.duplicates, len(found.train), len(found.test)) == (0, 34, 6)


def test_a_column_that_another_task_calls_otherwise_tells_rows_apart(tmp_path: Path) -> None:
    rows = [{"q": f"{WORDS[i % 2]}?", "a": WORDS[i % 2], "more": f"{WORDS[i // 12]} {i}"}
            for i in range(40)]  # fmt: skip
    file = tmp_path / "columns.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    renamed = {"columns": {"text": "more"}, "name": "other",
               "templates": {"prompt": "{{ text }}", "completion": "{{ a }}"}}  # fmt: skip
    for tasks in (
        [task(str(file)), task(str(file), **renamed)],
        [task(str(file), **renamed), task(str(file))],
    ):
        assert {t.splits.duplicates for t in opened(tasks).tasks.values()} == {0}


def test_references_may_be_lists_and_numbers_and_no_objects(
    tmp_path: Path, make_tokenizer: Any, chat_templates: dict[str, str]
) -> None:
    rows = [{"q": f"{WORDS[i % 12]} {i}?", "a": f"a{i}", "more": ["b", "", "c"], "least": 0,
             "odd": {"text": "d"}} for i in range(20)]  # fmt: skip
    file = tmp_path / "several.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoder = Encoder(make_tokenizer(chat_templates["chatml"]))
    (found,) = opened(task(str(file), references=["more", "least"])).tasks.values()
    item = found.item(3, encoder, None)
    assert item is not None
    assert item.references == ("a3", "b", "c", "0")
    (odd,) = opened(task(str(file), references=["odd"])).tasks.values()
    with pytest.raises(InputError, match="line 4: the column 'odd', which"):
        odd.item(3, encoder, None)


def test_a_row_before_which_no_example_can_stand_is_named(
    tmp_path: Path, make_tokenizer: Any, chat_templates: dict[str, str]
) -> None:
    source = written(tmp_path, "one", 40)
    (found,) = opened(task(source, shots={"count": 2})).tasks.values()
    alone = replace(found, train=found.train[:1])
    encoder = Encoder(make_tokenizer(chat_templates["chatml"]))
    place = re.escape(found.rows.place(alone.train[0]))
    with pytest.raises(InputError, match=f"^task one: no example can be shown before {place}: "):
        alone.encode(encoder, alone.train[0], 0, "", 2)


def test_a_row_whose_number_is_nan_lacks_it(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = [float(i) for i in range(39)]
    table = pa.table({"q": [f"{i}?" for i in range(40)], "a": [*numbers, float("nan")]})
    pq.write_table(table, tmp_path / "numbers.parquet")
    with pytest.raises(InputError, match="row 40: the label 'a' that template 'inline' needs is"):
        opened(task(str(tmp_path / "numbers.parquet")))


def test_entries_that_call_two_columns_by_one_name_lose_no_row(tmp_path: Path) -> None:
    rows = [{"q": f"{WORDS[i % 2]}?", "a": WORDS[i % 2], "more": f"{WORDS[i // 12]} {i}"}
            for i in range(40)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {name: {"prompt": name, "response": "a"} for name in ("q", "more")}
    info = {name: {"file_name": "rows.jsonl", "columns": of} for name, of in columns.items()}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    phrased = {"prompt": "{{ instruction }}", "completion": "{{ output }}"}
    entries = [{"source": f"{tmp_path}/dataset_info.json:{name}", "name": name,
                "templates": phrased} for name in info]  # fmt: skip
    one, two = opened(entries).tasks.values()
    assert (one.splits.duplicates, two.splits.duplicates) == (0, 0)
    assert (one.train, one.test) == (two.train, two.test)


def test_a_task_of_natural_instructions_under_two_names_is_one_source(tmp_path: Path) -> None:
    instances = [{"input": f"{WORDS[i % 12]} {i}", "output": [f"a{i}"]} for i in range(40)]
    (tmp_path / "it.json").write_text(json.dumps({"Definition": "Do.", "Instances": instances}))
    again = f"{tmp_path}/../{tmp_path.name}/it.json"
    one, two = opened(
        [{"source": f"{tmp_path}/it.json"}, {"source": again, "name": "two"}]
    ).tasks.values()
    assert one.splits is two.splits


def test_chats_beside_a_task_that_reads_one_column_of_them_lose_no_row(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": f"{WORDS[i % 12]} {i}?"},
              {"role": "assistant", "content": f"a{i}"}] for i in range(40)]  # fmt: skip
    rows = [{"messages": chat, "title": WORDS[i % 2]} for i, chat in enumerate(turns)]
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    title = {"prompt": "Name one.", "completion": "{{ title }}"}
    tasks = [{"source": str(file), "name": "title", "templates": title},
             {"source": str(file), "name": "chats"}]  # fmt: skip
    for asked in (tasks, tasks[::-1]):
        assert {t.splits.duplicates for t in opened(asked).tasks.values()} == {0}


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        # Not {{label}}, which is the number of the answer here.
        (
            {
                "prompt": "{{text}}",
                "completion": "{{answer_choices[label]}}",
                "answer_choices": "no ||| yes",
            },
            "{% if label is not none %} ... {% endif %} around the completion leaves such rows "
            "out.",
        ),
        ("plain-text", "Remove such rows from the file."),
    ],
)
def test_rows_without_a_value_are_told_how_to_be_left_out(
    tmp_path: Path, templates: Any, said: str
) -> None:
    row = {"text": "a b", "label": 0}
    gap = {**row, "text" if templates == "plain-text" else "label": None}
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(r) for r in [row, gap, row]))
    source = str(tmp_path / "rows.jsonl")
    data = {"source": source, "templates": templates, "split": {"test": 0}}
    with pytest.raises(InputError) as caught:
        open_corpus(recipe_from_dict({"data": data}))
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("late?", 'Did you mean data.columns: {late: "late?"}?'),
        ("where it went", "data.columns: {late: COLUMN} takes another column for it."),
    ],
)
def test_a_column_under_another_name_is_told_how_to_be_given(
    tmp_path: Path, column: str, said: str
) -> None:
    (tmp_path / "rows.csv").write_text(f'"q","{column}"\nWhere?,no\nWhen?,yes\n')
    data = {
        "source": str(tmp_path / "rows.csv"),
        "templates": {"prompt": "{{ q }}", "completion": "{{ late }}"},
    }
    with pytest.raises(InputError) as caught:
        open_corpus(recipe_from_dict({"data": data}))
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("source: nowhere.jsonl", "line 3: nowhere.jsonl: no such file or folder."),
        ("source: bundled/suport-chats", "line 3: unknown bundled data set 'suport-chats'; did"),
        ("source: suport-chats", "line 3: suport-chats: no such source; did you mean bundled/"),
        ("columns: {q: z}", "line 3: one.jsonl: unknown column 'z'"),
        ("templates: {prompt: '{{ z }}', completion: x}", "line 3: one.jsonl: no column 'z', whi"),
    ],
)
def test_what_a_task_names_and_is_not_there_is_said_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "one", 4)
    source = "" if changed.startswith("source") else ", source: one.jsonl"
    (tmp_path / "r.yaml").write_text(f"data:\n - {{\n   {changed}\n   {source}}}\n")
    with pytest.raises(InputError) as refused:
        open_corpus(load_recipe(tmp_path / "r.yaml"))
    assert f"r.yaml, {said}" in str(refused.value)


def test_what_left_no_row_is_said_in_words(tmp_path: Path) -> None:
    never = {"prompt": "{% if q == 1 %}{{ q }}{% endif %}", "completion": "{{ a }}"}
    with pytest.raises(InputError, match="train on; left out: 40 template not applicable"):
        opened(task(written(tmp_path, "one", 40), templates=never))


@pytest.mark.parametrize("names", [("a", "b"), ("a", "a")])
def test_the_bar_of_a_mixture_counts_reading_splitting_and_checking(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    names: tuple[str, str],
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", 0.0)
    files = [written(tmp_path, name, 20) for name in names]
    with progress.shown(True):
        opened([task(file, name=f"t{number}") for number, file in enumerate(files)])
    told = re.findall(r"Opening tasks: (\d)/6 steps", capsys.readouterr().err)
    # Tasks over one source are split together.
    assert told == list("123456" if names == ("a", "b") else "12456")


def test_many_sources_are_described_once_a_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("brulee.data.corpus.note", said.append)
    pairs, chats = [], []
    for number in range(6):
        asked, answer = f"Is {WORDS[number]} so?", f"It is {number}."
        turns = [("user", asked), ("assistant", answer)]
        pairs.append({"prompt": asked, "completion": answer})
        chats.append({"messages": [{"role": r, "content": c} for r, c in turns]})
    names = []
    for number, rows in enumerate([pairs, chats] * 6):
        names.append(str(tmp_path / f"{number}.jsonl"))
        text = "\n".join(json.dumps({**row, "of": number}) for row in rows)
        Path(names[-1]).write_text(text, encoding="utf-8")
    opened([{"source": name} for name in names[:4]])
    assert [text.partition(":")[0] for text in said] == names[:4]
    said.clear()
    opened([{"source": name} for name in names])
    assert [text.partition("\n")[0].partition(" (")[0] for text in said] == [
        f"{names[0]}: read as prompt-completion",
        f"and 5 more read as prompt-completion, from {names[2]} to {names[10]}.",
        f"{names[1]}: read as openai-chat",
        f"and 5 more read as openai-chat, from {names[3]} to {names[11]}.",
    ]


def test_a_terminal_is_told_that_data_is_read_while_nothing_is_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("brulee.progress._enabled", True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    (tmp_path / "r.yaml").write_text("data: {source: bundled/support-chats}\n")
    open_corpus(load_recipe(tmp_path / "r.yaml"), preview=False)
    assert "Reading the data ..." in capsys.readouterr().err
