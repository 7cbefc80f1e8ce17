"""`brulee init`: what it writes is a recipe that opens, and its guesses are told as such."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from brulee.data.corpus import open_corpus
from brulee.data.starting import default_file
from brulee.evaluation import metric
from brulee.methods import build_method
from brulee.recipe import load_recipe

WORDS = [
    *("lamp", "shade", "broke", "late", "box", "colour"),
    *("wrong", "bright", "dark", "refund", "glass", "bulb"),
]
TEAMS = ("billing", "shipping", "other")
CHATS = [
    {"messages": [{"role": "user", "content": f"Where is my {word}?"},
                  {"role": "assistant", "content": f"The {word} is on its way."}]}
    for word in WORDS
]  # fmt: skip


def said(i: int) -> str:
    return " ".join(WORDS[(i * k + k) % len(WORDS)] for k in range(1, 9))


def table(file: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([columns, *rows])
    return str(file)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_chats_are_read_as_such_and_the_recipe_opens(brulee, here: Path) -> None:
    (here / "chats.jsonl").write_text("\n".join(map(json.dumps, CHATS)))
    done = brulee("init", "chats.jsonl", "--quiet")
    assert (done.code, done.out) == (
        0,
        "Wrote chats.yaml. Next: brulee data inspect chats.yaml, then brulee run chats.yaml\n",
    )
    text = (here / "chats.yaml").read_text()
    assert "# read as openai-chat: messages" in text
    assert "    # validation: 0.1  # share that `brulee sweep` chooses settings by" in text
    recipe = load_recipe("chats.yaml")
    (task,) = open_corpus(recipe).tasks.values()
    assert task.train
    assert task.test
    assert [metric(name) for name in recipe.evaluate.metrics]
    build_method(recipe.method, recipe.source)


def test_chats_that_cannot_be_read_are_left_out_by_the_recipe(brulee, here: Path) -> None:
    chats = [
        [{"from": "human", "value": f"{n}?"}, {"from": "gpt", "value": "!"}] for n in range(30)
    ]
    rows = [json.dumps({"conversations": chat[n % 5 == 2 :]}) for n, chat in enumerate(chats)]
    (here / "chats.jsonl").write_text("\n".join(rows), encoding="utf-8")
    assert brulee("init", "chats.jsonl").code == 0
    text = (here / "chats.yaml").read_text()
    assert "  # chats.jsonl: 6 of 30 chats are malformed and left out:\n" in text
    (task,) = open_corpus(load_recipe(here / "chats.yaml")).tasks.values()
    assert (len(task.rows), task.dropped["malformed chat"]) == (24, 6)


def test_a_table_is_asked_about_in_full_and_told_to_be_a_guess(brulee, here: Path) -> None:
    rows = [(i, f"c{i % 20}", said(i), "x" * (i % 7), TEAMS[i % 3]) for i in range(90)]
    table(here / "tickets.csv", ["ticket id", "customer_id", "Message Text", "note", "Team"], rows)
    done = brulee("init", "tickets.csv", "--model", "owner/name", "--out", "new/my.yaml")
    assert done.code == 0
    assert "The prompt is a guess: look over data.templates in new/my.yaml." in done.out
    recipe = load_recipe("new/my.yaml")
    assert recipe.model == "owner/name"
    (task,) = open_corpus(recipe).tasks.values()
    rendered = task.templates.templates[0].render(task.rows[1])
    assert rendered is not None
    assert rendered.prompt.startswith(f"Message Text: {said(1)}\n\nnote: x\n\n")
    assert rendered.prompt.endswith("Answer with one of: billing, other, shipping.")
    assert rendered.completion == "shipping"
    assert task.labels == ("billing", "other", "shipping")
    assert recipe.evaluate.metrics == ["accuracy", "ranked_accuracy", "macro_f1"]
    assert recipe.tasks[0][1].split.group == "customer_id"
    sides = [{task.rows[i]["customer_id"] for i in part} for part in (task.train, task.test)]
    assert not sides[0] & sides[1]


@pytest.mark.parametrize(
    "column",
    [
        "if",
        "None",
        "2nd",
        "a {{b}}",
        "x.y",
        "note-text",
        "|||",
        "a\n[b",
        "a\x85[b",
        "a\u2028b",
        "\x93a",
    ],
)
def test_any_name_of_a_column_can_be_asked_about(brulee, here: Path, column: str) -> None:
    table(here / "odd.csv", [column, "kind"], [(said(i), f"{{k{i % 3}}}") for i in range(40)])
    done = brulee("init", "odd.csv", "--quiet")
    assert done.code == 0, done.err
    (task,) = open_corpus(load_recipe("odd.yaml")).tasks.values()
    rendered = task.templates.templates[0].render(task.rows[1])
    assert rendered is not None
    assert (rendered.prompt.split("\n")[0], rendered.completion) == (said(1), "{k1}")


def test_a_column_of_texts_is_to_be_written_and_not_to_be_named(brulee, here: Path) -> None:
    rows = [(said(i), " ".join([said(i + 1), said(i + 2)])) for i in range(40)]
    table(here / "notes.csv", ["transcript", "notes"], rows)
    assert brulee("init", "notes.csv", "--quiet").code == 0
    (task,) = open_corpus(load_recipe("notes.yaml")).tasks.values()
    rendered = task.templates.templates[0].render(task.rows[1])
    assert rendered is not None
    assert rendered.prompt.endswith("\n\nWrite the notes.")


def test_columns_that_would_get_one_name_keep_two(brulee, here: Path) -> None:
    rows = [(said(i), "left", "right", "x") for i in range(40)]
    table(here / "two.csv", ["a_b", "a b", "a-b", "kind"], rows)
    assert brulee("init", "two.csv", "--quiet").code == 0
    (task,) = open_corpus(load_recipe("two.yaml")).tasks.values()
    rendered = task.templates.templates[0].render(task.rows[1])
    assert rendered is not None
    assert rendered.prompt.startswith(f"a_b: {said(1)}\n\na b: left\n\na-b: right\n\n")
    assert rendered.prompt.endswith(": right\n\nWhat is the kind?")


def test_a_family_that_fits_is_used_with_its_labels(brulee, here: Path) -> None:
    rows = [(f"{WORDS[i % 12]} {i}", said(i), 1 + i % 5) for i in range(60)]
    table(here / "reviews.csv", ["title", "body", "stars"], rows)
    done = brulee("init", "reviews.csv", "--json", "--quiet")
    assert done.json["guessed"] is True
    assert "review-rating" in done.json["described"]
    recipe = load_recipe(done.json["recipe"])
    assert recipe.tasks[0][1].templates == "review-rating"
    assert recipe.evaluate.metrics == ["accuracy", "ranked_accuracy", "macro_f1"]


def test_of_families_that_fit_the_one_with_as_many_answers_is_taken(brulee, here: Path) -> None:
    rows = [json.dumps({"text": said(i), "label": i % 3}) for i in range(60)]
    (here / "tweets.jsonl").write_text("\n".join(rows))
    assert brulee("init", "tweets.jsonl", "--quiet").code == 0
    recipe = load_recipe("tweets.yaml")
    (task,) = open_corpus(recipe).tasks.values()
    found = [task.templates.templates[0].render(task.rows[i]) for i in range(3)]
    assert {one.completion for one in found if one} == set(found[0].choices or ())


@pytest.mark.parametrize(
    ("classes", "learned", "first"),
    [
        (["refund", "repair", "praise"], ["refund", "repair", "praise"], 0),
        (["refund", "repair", "praise"], ["repair", "praise"], -1),  # as test rows without answers
        (["neg", "neutral", "pos"], ["negative", "neutral", "positive"], 0),
    ],
)
def test_classes_are_called_as_their_source_calls_them(
    brulee, here: Path, classes: list[str], learned: list[str], first: int
) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=classes)}
    )
    labels = [first, *(i % 2 + 1 for i in range(60))]
    rows = {"text": [said(i) for i in range(61)], "label": labels}
    datasets.Dataset.from_dict(rows, features).to_parquet(here / "rows.parquet")
    assert brulee("init", "rows.parquet", "--quiet").code == 0
    (task,) = open_corpus(load_recipe("rows.yaml")).tasks.values()
    found = [task.templates.templates[0].render(task.rows[i]) for i in range(3)]
    assert sorted({one.completion for one in found if one and one.completion}) == sorted(learned)


def test_an_answer_is_found_by_the_end_of_its_name_and_empty_columns_are_not_asked_about(
    brulee, here: Path
) -> None:
    answers = [f"It is {said(i + 1)}" if i != 10 else "" for i in range(90)]
    rows = [(said(i), answers[i], "", said(i + 2)) for i in range(90)]
    table(here / "asked.csv", ["customer text", "answer text", "empty", "meta"], rows)
    assert brulee("init", "asked.csv", "--quiet").code == 0
    (task,) = open_corpus(load_recipe("asked.yaml")).tasks.values()
    rendered = task.templates.templates[0].render(task.rows[1])
    assert rendered is not None
    assert rendered.completion == f"It is {said(2)}"
    assert "empty" not in rendered.prompt


def test_a_reply_is_learned_before_the_kind_of_matter(brulee, here: Path) -> None:
    rows = [(TEAMS[i % 3], said(i), f"Dear customer, of the {said(i)} we know.") for i in range(30)]
    table(here / "mails.csv", ["Category", "Customer message", "Our reply"], rows)
    assert brulee("init", "mails.csv").code == 0
    (task,) = open_corpus(load_recipe("mails.yaml")).tasks.values()
    (template,) = task.templates.templates
    rendered = template.render(task.rows[0])
    assert rendered is not None
    assert rendered.completion == rows[0][2]


def test_a_family_that_ignores_the_passage_is_none_that_fits(brulee, here: Path) -> None:
    row = {"question": "Who?", "context": "Ann came.", "answers": {"text": ["Ann"]}}
    (here / "qa.json").write_text(json.dumps([row] * 5))
    done = brulee("init", "qa.json")
    assert done.code == 2
    assert "do not say what is asked and what is learned" in done.err
    assert "data.templates: {prompt: ..., completion: ...}" in done.err


def test_labels_are_learned_whatever_their_column_is_called(brulee, here: Path) -> None:
    table(here / "avis.csv", ["catégorie", "avis"], [(TEAMS[i % 3], said(i)) for i in range(60)])
    assert brulee("init", "avis.csv", "--quiet").code == 0
    (task,) = open_corpus(load_recipe("avis.yaml")).tasks.values()
    rendered = task.templates.templates[0].render(task.rows[1])
    assert rendered is not None
    assert (rendered.prompt.split("\n")[0], rendered.completion) == (said(1), "shipping")


@pytest.mark.parametrize("column", ["label", "is_negative?"])
def test_numbered_labels_that_a_few_rows_lack_are_learned_from_the_others(
    brulee, here: Path, column: str
) -> None:
    rows = [(said(i), "" if i == 7 else i % 2) for i in range(60)]
    table(here / "notes.csv", ["text", column], rows)
    done = brulee("init", "notes.csv", "--quiet")
    assert done.code == 0, done.err
    (task,) = open_corpus(load_recipe("notes.yaml")).tasks.values()
    assert task.dropped["empty completion"] == 1
    assert task.labels == ("0", "1")
    assert "??" not in (here / "notes.yaml").read_text()


def test_texts_that_a_few_rows_lack_are_still_what_is_learned(brulee, here: Path) -> None:
    """The last column, though the one before it has no gap, and numbers are JSON as well."""
    rows = [
        json.dumps(
            {"page": str(i), "story": f"{said(i)} {i} {said(i + 1)}", "headline": said(i)}
            | ({} if i % 40 else {"headline": ""})
        )
        for i in range(80)
    ]
    (here / "news.jsonl").write_text("\n".join(rows))
    done = brulee("init", "news.jsonl", "--quiet")
    assert done.code == 0, done.err
    (task,) = open_corpus(load_recipe("news.yaml")).tasks.values()
    assert task.dropped["empty completion"] == 2


def test_solutions_with_boxed_answers_are_scored_by_them(brulee, here: Path) -> None:
    rows = [
        json.dumps({"problem": f"Add 1 to {n}.", "solution": rf"That is $\boxed{{{n + 1}}}$."})
        for n in range(40)
    ]
    (here / "sums.jsonl").write_text("\n".join(rows))
    assert brulee("init", "sums.jsonl", "--quiet").code == 0
    assert load_recipe("sums.yaml").evaluate.metrics == ["boxed_answer"]


@pytest.mark.parametrize(
    ("listed", "prompt", "completion"),
    [
        ({"labels": ["late", "angry"]}, "{}\n\nWrite the labels.", "late, angry"),
        ({"labels": ["late", None, ""]}, "{}\n\nWrite the labels.", "late"),
        (
            {"steps": ["Take the box out.", "Put the lamp in it."], "title": "Lamp"},
            "note: {}\n\nsteps: Take the box out.\nPut the lamp in it.\n\nWhat is the title?",
            "Lamp",
        ),
    ],
)
def test_lists_of_texts_are_joined(
    brulee, here: Path, listed: dict[str, Any], prompt: str, completion: str
) -> None:
    rows = [json.dumps({"note": f"{said(i)} {i}", **listed}) for i in range(40)]
    (here / "lists.jsonl").write_text("\n".join(rows))
    done = brulee("init", "lists.jsonl", "--quiet")
    assert done.code == 0, done.err
    (task,) = open_corpus(load_recipe("lists.yaml")).tasks.values()
    rendered = task.templates.templates[0].render(task.rows[3])
    assert rendered is not None
    assert (rendered.prompt, rendered.completion) == (prompt.format(f"{said(3)} 3"), completion)


def test_chats_written_out_as_text_are_not_learned_as_an_answer(brulee, here: Path) -> None:
    chat = "USER: {}?\n\n\nASSISTANT: Yes. <|endoftext|>"
    rows = [json.dumps({"system": f"S {i}", "chat": chat.format(said(i))}) for i in range(40)]
    (here / "calls.jsonl").write_text("\n".join(rows))
    done = brulee("init", "calls.jsonl", "--quiet")
    assert done.code == 2
    assert "the column 'chat' holds chats written out as text" in done.err


def test_sentence_pairs_are_translated_and_a_repeated_sentence_stays_on_one_side(
    brulee, here: Path
) -> None:
    """As the Hub's translation data sets have them: an id, and one column of two texts."""
    texts = [{"de": said(i // 2), "is": f"{said(i)} {i}"} for i in range(80)]
    texts[9] = {"de": said(4), "is": None}
    rows = [json.dumps({"id": str(i), "translation": text}) for i, text in enumerate(texts)]
    (here / "pairs.jsonl").write_text("\n".join(rows))
    done = brulee("init", "pairs.jsonl", "--quiet")
    assert done.code == 0, done.err
    recipe = load_recipe("pairs.yaml")
    spec = recipe.tasks[0][1]
    assert spec.columns == {"de": "translation.de", "translation_icelandic": "translation.is"}
    assert recipe.evaluate.metrics == ["bleu", "chrf"]
    (task,) = open_corpus(recipe).tasks.values()
    assert len(task.train) + len(task.test) == 79
    rendered = task.templates.templates[0].render(task.rows[0])
    assert rendered is not None
    assert rendered.prompt == f"Translate from German into Icelandic:\n\n{said(0)}"
    assert rendered.completion == f"{said(0)} 0"
    assert not {task.rows[i]["de"] for i in task.train} & {task.rows[i]["de"] for i in task.test}


def test_a_file_that_names_no_columns_gets_a_recipe_that_does(brulee, here: Path) -> None:
    rows = [[i, f"{said(i)}?", TEAMS[i % 3]] for i in range(60)]
    table(here / "bare.csv", rows[0], rows[1:])
    assert brulee("init", "bare.csv", "--quiet").code == 0
    recipe = load_recipe("bare.yaml")
    assert recipe.tasks[0][1].columns == {"column_2": "2", "column_3": "3"}
    (task,) = open_corpus(recipe).tasks.values()
    rendered = task.templates.templates[0].render(task.rows[0])
    assert rendered is not None
    assert (rendered.prompt.split("\n")[0], rendered.completion) == (f"{said(0)}?", "billing")
    assert len(task.rows) == 60


def test_a_first_line_of_texts_and_labels_is_a_row(brulee, here: Path) -> None:
    rows = [[said(i), TEAMS[i % 3]] for i in range(60)]
    table(here / "bare.csv", rows[0], rows[1:])
    assert brulee("init", "bare.csv", "--quiet").code == 0
    recipe = load_recipe("bare.yaml")
    assert recipe.tasks[0][1].columns == {"column_1": "1", "column_2": "2"}
    (task,) = open_corpus(recipe).tasks.values()
    assert (len(task.rows), task.labels) == (60, ("billing", "other", "shipping"))
    assert "the file's first line names no columns" in Path("bare.yaml").read_text()


@pytest.mark.parametrize("columns", [["What do you say of it?", "ham"], ["text", "spam"]])
def test_names_that_only_look_like_rows_stay_names(brulee, here: Path, columns: list[str]) -> None:
    rows = [[said(i), ("spam", "eggs")[i % 2]] for i in range(60)]
    table(here / "mail.csv", columns, rows)
    assert brulee("init", "mail.csv", "--quiet").code == 0
    (task,) = open_corpus(load_recipe("mail.yaml")).tasks.values()
    assert len(task.rows) == 60


def test_a_header_with_a_number_in_it_is_not_read_as_a_row(brulee, here: Path) -> None:
    table(
        here / "years.csv",
        ["text", "2019", "label"],
        [(said(i), i, "ab"[i % 2]) for i in range(60)],
    )
    done = brulee("init", "years.csv")
    assert done.code == 2
    assert (
        "years.csv, line 1: the first line has to name the columns, but it holds '2019'" in done.err
    )


def test_numbers_of_rows_without_a_name_are_no_text_and_no_row(brulee, here: Path) -> None:
    table(
        here / "frame.csv", ["", "text", "label"], [(i, said(i), TEAMS[i % 3]) for i in range(60)]
    )
    assert brulee("init", "frame.csv", "--quiet").code == 0
    (task,) = open_corpus(load_recipe("frame.yaml")).tasks.values()
    assert (len(task.rows), task.labels) == (60, ("billing", "other", "shipping"))
    rendered = task.templates.templates[0].render(task.rows[1])
    assert rendered is not None
    assert rendered.prompt.split("\n")[0] == said(1)


@pytest.mark.parametrize("column", ["document", "conversation", "Thread"])
def test_a_text_is_asked_about_though_its_name_could_be_an_id(
    brulee, here: Path, column: str
) -> None:
    table(here / "long.csv", [column, "label"], [(said(i), TEAMS[i % 3]) for i in range(60)])
    assert brulee("init", "long.csv", "--quiet").code == 0
    (task,) = open_corpus(load_recipe("long.yaml")).tasks.values()
    rendered = task.templates.templates[0].render(task.rows[1])
    assert rendered is not None
    assert rendered.prompt.split("\n")[0] == said(1)


def test_short_texts_in_a_column_called_like_a_group_are_asked_about_if_there_are_no_others(
    brulee, here: Path
) -> None:
    tickets = [f"{WORDS[i % 12]} was {WORDS[i % 7]}" for i in range(60)]
    rows = [(i, ticket, TEAMS[i % 3]) for i, ticket in enumerate(tickets)]
    table(here / "short.csv", ["id", "ticket", "category"], rows)
    done = brulee("init", "short.csv", "--quiet")
    assert (done.code, done.err) == (0, "")
    (task,) = open_corpus(load_recipe("short.yaml")).tasks.values()
    rendered = task.templates.templates[0].render(task.rows[1])
    assert rendered is not None
    assert rendered.prompt.split("\n")[0] == tickets[1]
    assert rendered.completion == TEAMS[1]


def test_answers_with_gaps_are_not_taken_for_what_is_asked(brulee, here: Path) -> None:
    rows = [(said(i), TEAMS[i % 3] if i % 5 else "") for i in range(60)]
    table(here / "gaps.csv", ["text", "label"], rows)
    done = brulee("init", "gaps.csv")
    assert done.code == 2
    assert "the column 'label' seems to be the completion, but 10 of the first 50" in done.err


@pytest.mark.parametrize(
    ("answer", "metrics", "least"),
    [
        ("第{i}号订单预计将于三天之内送达您指定的收货地址。", ["chrf", "rougeL:unicode"], 50),
        ("Заказ {i} будет доставлен в течение трёх рабочих дней.", ["chrf", "rougeL:unicode"], 45),
        ("คำสั่งซื้อหมายเลข{i}จะจัดส่งถึงที่อยู่ที่คุณระบุภายในสามวันทำการ", ["chrf", "rougeL:unicode"], 60),
        ("La commande {i} sera livrée à l'adresse indiquée demain.", ["rouge", "bleu"], 25),
        ("DE8937040044053201300{i}", ["exact_match", "token_f1"], 22),
    ],
    ids=["chinese", "russian", "thai", "french", "digits"],
)
def test_answers_in_any_script_have_room_and_a_score_that_reads_them(
    brulee, here: Path, answer: str, metrics: list[str], least: int
) -> None:
    table(here / "any.csv", ["问题", "答案"], [(said(i), answer.format(i=i)) for i in range(60)])
    assert brulee("init", "any.csv", "--quiet").code == 0
    recipe = load_recipe("any.yaml")
    assert recipe.evaluate.metrics == metrics
    assert recipe.evaluate.generation.max_new_tokens >= least


@pytest.mark.parametrize(
    ("answer", "metrics"),
    [
        ('{{"a": {i}, "of": "{w}"}}', "[json]"),
        ('[{i}, "{w}"]', "[json]"),
        ('```json\n{{"a": {i}}}\n```', '["json:fenced"]'),
    ],
)
def test_answers_that_are_json_are_judged_as_such(
    brulee, here: Path, answer: str, metrics: str
) -> None:
    rows = [(f"{w} of order {i}", answer.format(i=i, w=w)) for i, w in enumerate(WORDS * 2)]
    assert brulee("init", table(here / "orders.csv", ("text", "answer"), rows)).code == 0
    assert f"  metrics: {metrics}\n" in (here / "orders.yaml").read_text()
    load_recipe(here / "orders.yaml")
    rows[1] = (rows[1][0], "no JSON in any way")
    assert brulee("init", table(here / "mixed.csv", ("text", "answer"), rows)).code == 0
    assert "json" not in load_recipe(here / "mixed.yaml").evaluate.metrics[0]


def test_a_column_of_objects_is_learned_as_json(brulee, here: Path) -> None:
    rows = [{"note": f"{w} {i}", "record": {"n": i, "w": f"<{w}>"}} for i, w in enumerate(WORDS)]
    (here / "orders.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = brulee("init", "orders.jsonl")
    assert done.code == 0, done.err
    assert '"w": "<shade>"}' in done.out
    text = (here / "orders.yaml").read_text()
    assert '"{{record | tojson}}"' in text
    assert "metrics: [json]" in text


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        (["text", "score"], lambda i: [said(i), i * 0.31], ["pearson", "spearman"]),
        (["text", "score"], lambda i: [said(i), i * 7], ["exact_match"]),
        (["question", "answer"], lambda i: [said(i), f"{WORDS[i % 12]} {i}"],
         ["exact_match", "token_f1"]),
        (["question", "answer"], lambda i: [said(i), f"2024-01-{i % 28 + 1} 10:20:{i}"],
         ["exact_match", "token_f1"]),
        (["question", "answer"], lambda i: [said(i), said(i + 1)], ["rouge", "bleu"]),
        (["question", "answer"], lambda i: [said(i), f"{i}+1 = <<{i}+1={i + 1}>>\n#### {i + 1}"],
         ["final_answer"]),
        (["premise", "choice1", "choice2", "question", "label"],
         lambda i: [said(i), said(i + 1), said(i + 2), "cause", i % 2],
         ["accuracy", "ranked_accuracy"]),
    ],
    ids=["scores", "counts", "short", "times", "long", "worked", "choices"],
)  # fmt: skip
def test_what_is_written_says_how_it_is_scored(
    brulee, here: Path, columns: list[str], row: Callable[[int], list[Any]], expected: list[str]
) -> None:
    rows = [dict(zip(columns, row(i), strict=True)) for i in range(60)]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert brulee("init", "rows.jsonl", "--quiet").code == 0
    recipe = load_recipe("rows.yaml")
    assert recipe.evaluate.metrics == expected
    (task,) = open_corpus(recipe).tasks.values()
    assert task.train


def test_so_few_rows_still_have_one_to_be_scored_on(brulee, here: Path) -> None:
    rows = [(f"what {word} {said(i)}", f"that {word}") for i, word in enumerate(WORDS[:4])]
    table(here / "few.csv", ["question", "answer"], rows)
    done = brulee("init", "few.csv", "--json", "--quiet")
    assert done.json["rows"] == 4
    assert done.json["test_rows"] >= 1


def test_a_recipe_that_is_there_is_left_as_it_is(brulee, here: Path) -> None:
    (here / "chats.jsonl").write_text("\n".join(map(json.dumps, CHATS)))
    (here / "chats.yaml").write_text("mine")
    done = brulee("init", "chats.jsonl")
    assert done.code == 2
    assert (
        "chats.yaml: already exists and was not changed; name another file with --out." in done.err
    )
    assert (here / "chats.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"chosen": "a", "rejected": "b"}], "preference data"),
        ([{"text": "<|im_start|>user"}], "chats written out as text"),
        ([{"a": 1, "b": 2}], "do not say what is asked"),
    ],
)
def test_what_cannot_be_learned_from_writes_nothing(
    brulee, here: Path, rows: list[Any], says: str
) -> None:
    (here / "rows.json").write_text(json.dumps(rows * 20))
    done = brulee("init", "rows.json", "--quiet")
    assert done.code == 2
    assert says in done.err
    assert not (here / "rows.yaml").exists()


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("data/rows.train.jsonl.gz", "rows.yaml"),
        ("data/dataset_info.json:alpaca_en", "alpaca_en.yaml"),
        ("chats/", "chats.yaml"),
        ("owner/a name", "a-name.yaml"),
        ("{a,b}", "a-b.yaml"),
        ("data/*.jsonl", "data.yaml"),
        ("*.jsonl", "rows.yaml"),
    ],
)
def test_the_recipe_is_called_after_the_source(source: str, file: str) -> None:
    assert default_file(source) == Path(file)


THEIRS = """
base_model: bundled
adapter: lora
lora_r: 4
lora_target_linear: true
datasets: [{path: chats.jsonl, type: chat_template}]
learning_rate: 1e-3
train_on_inputs: true
use_eaft: true
"""


def test_a_file_of_another_tool_becomes_a_recipe_that_opens(brulee, here: Path) -> None:
    (here / "chats.jsonl").write_text("\n".join(map(json.dumps, CHATS)))
    (here / "ax.yml").write_text(THEIRS)
    done = brulee("init", "--from", "ax.yml", "--quiet")
    assert (done.code, done.out) == (
        0,
        "Read as axolotl's.\n"
        "Not in the recipe: use_eaft: true: the loss is the cross-entropy of the "
        "learned tokens.\n"
        "Wrote ax-brulee.yaml. Next: brulee data inspect ax-brulee.yaml, then brulee run "
        "ax-brulee.yaml\n",
    )
    recipe = load_recipe("ax-brulee.yaml")
    assert recipe.train.prompt_loss_weight == 1
    (task,) = open_corpus(recipe).tasks.values()
    assert task.train
    assert task.test
    assert build_method(recipe.method, recipe.source).label() == "LoRA r4"
    again = brulee("init", "--from", "ax.yml")
    assert (again.code, "already exists and was not changed" in again.err) == (2, True)


def test_what_a_file_of_another_tool_loses_is_json_too(brulee, here: Path) -> None:
    (here / "ax.yml").write_text(THEIRS)
    done = brulee("init", "--from", "ax.yml", "--out", "deep/mine.yaml", "--json", "--quiet")
    assert done.json["tool"] == "axolotl"
    assert done.json["recipe"] == "deep/mine.yaml"
    assert {key: value for key, value in done.json["left"][0].items() if key != "why"} == {
        "key": "use_eaft",
        "value": True,
        "matters": True,
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name either DATA (rows) or --from FILE"),
        (["rows.csv", "--from", "ax.yml"], "name either DATA (rows) or --from FILE"),
        (["--from", "missing.yml"], "--from missing.yml: no such file."),
        (
            ["--from", "ax.yml", "--model", "x"],
            "--model: with --from, the other tool's file names the model",
        ),
    ],
)
def test_init_wants_rows_or_a_file(arguments: list[str], said: str, brulee, here: Path) -> None:
    (here / "ax.yml").write_text(THEIRS)
    done = brulee("init", *arguments)
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_column_of_json_is_learned_wherever_it_stands_unless_another_has_labels(
    brulee, here: Path
) -> None:
    def orders(gap: int) -> list[str]:
        return ["" if i % gap == 1 else json.dumps({"who": f"A{i}", "n": i}) for i in range(60)]

    texts = [f"Note {i} of somebody called A{i}, for {i}." for i in range(60)]
    table(here / "full.csv", ["order", "text"], [*zip(orders(60), texts, strict=True)])
    assert brulee("init", "full.csv", "--quiet").code == 0
    recipe = load_recipe("full.yaml")
    assert recipe.evaluate.metrics == ["json"]
    (task,) = open_corpus(recipe).tasks.values()
    rendered = task.templates.templates[0].render(task.rows[2])
    assert rendered is not None
    assert rendered.completion == orders(60)[2]
    table(here / "gaps.csv", ["order", "text"], [*zip(orders(6), texts, strict=True)])
    done = brulee("init", "gaps.csv")
    assert done.code == 2
    assert "the column 'order' seems to be the completion, but 9 of the first 50" in done.err
    teams = [TEAMS[i % 3] for i in range(60)]
    table(here / "teams.csv", ["order", "team"], [*zip(orders(6), teams, strict=True)])
    assert brulee("init", "teams.csv", "--quiet").code == 0
    assert "{{team}}" in (here / "teams.yaml").read_text()
    sparse = [(orders(61)[0] if i % 3 == 0 else "", text, text) for i, text in enumerate(texts)]
    table(here / "sparse.csv", ["meta", "text", "note"], sparse)
    assert brulee("init", "sparse.csv", "--quiet").code == 0
    assert 'completion: "{{note}}"' in (here / "sparse.yaml").read_text()


@pytest.mark.parametrize("lacking", [True, False])
def test_init_says_that_a_key_which_an_object_lacks_is_learned_as_null(
    brulee, here: Path, lacking: bool
) -> None:
    at = [{"x": i} | ({"y": 1} if i % 2 or not lacking else {}) for i in range(40)]
    rows = [{"text": f"Note {i} of A{i}", "order": {"n": i, "at": [at[i]]}} for i in range(40)]
    (here / "keys.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = brulee("init", "keys.jsonl")
    assert done.code == 0, done.err
    says = "keys that an object lacks are learned as null"
    assert (says in " ".join(done.out.split()), says in (here / "keys.yaml").read_text()) == (
        lacking,
        lacking,
    )
