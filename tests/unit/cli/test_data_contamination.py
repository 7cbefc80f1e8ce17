import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from brulee.cli.data_contamination import contamination
from brulee.cli.failures import sentences
from brulee.evaluation.answers import Answer, append

Call = Callable[..., SimpleNamespace]
CHANCE = random.Random(5)
POOL = [f"word{i}" for i in range(500)]


def row(number: int) -> dict[str, Any]:
    text = " ".join(CHANCE.choices(POOL, k=20))
    return {"id": f"chat {number}", "text": text, "stars": ("good", "bad")[number % 2]}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe over published splits; the second test row quotes the training row on line 4."""
    monkeypatch.chdir(tmp_path)
    train, test = [row(i) for i in range(12)], [row(i) for i in range(4)]
    quoted = " ".join(train[3]["text"].split()[2:18])
    test[1]["text"] = f"They said: {quoted.title()}."
    for name, rows in (("train", train), ("test", test), ("bare", [{"said": quoted}])):
        folder = tmp_path / ("rows" if name != "bare" else "")
        folder.mkdir(exist_ok=True)
        lines = (json.dumps(one) + "\n" for one in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines))
    (tmp_path / "recipe.yaml").write_text(
        "data:\n  source: rows\n"
        "  templates: {prompt: 'Good or bad? {{ text }}', completion: '{{ stars }}'}\n"
        "evaluate: {metrics: [accuracy]}\n"
    )
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(sentences()(contamination))

    def run(*arguments: str) -> SimpleNamespace:
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as left:
            app([*arguments, "--quiet"])
        captured = capsys.readouterr()
        return SimpleNamespace(code=left.value.code or 0, out=captured.out, err=captured.err)

    return run


def test_a_quoted_training_row_is_shown_with_both_places(place: Path, call: Call) -> None:
    called = call("recipe.yaml")
    assert called.code == 0
    assert "12 training rows" in called.out
    assert "rows/test.jsonl, line 2: dirty by 13-gram; 89% of 18 words in 8-grams" in called.out
    assert "16 words also in rows/train.jsonl, line 4: word" in called.out
    assert "1 (25.0%)" in called.out


def test_json_holds_the_matches(place: Path, call: Call) -> None:
    found = json.loads(call("recipe.yaml", "--json").out)
    assert found["trained"] == {"rows": 12, "words": 240}
    (test,) = found["tests"]
    assert (test["name"], test["items"], test["dirty"]) == ("rows/test", 4, 1)
    (match,) = test["matches"]
    assert (match["reason"], match["place"]) == ("13-gram", "rows/test.jsonl, line 2")
    assert (match["trained_source"], match["trained_row"]) == ("rows", 3)
    assert (found["scores"], found["model"]) == ([], {})


def test_another_file_is_compared_instead(place: Path, call: Call) -> None:
    tests = json.loads(call("recipe.yaml", "--against", "bare.jsonl", "--json").out)["tests"]
    assert [(test["name"], test["dirty"]) for test in tests] == [("bare.jsonl", 1)]
    several = call("recipe.yaml", "--against", "bare.jsonl", "--against", "rows", "--json")
    assert [test["dirty"] for test in json.loads(several.out)["tests"]] == [1, 13]


LEAKED = ("The Moon's phases are caused by", "clouds", "Earth's shadow", "tides")
ANGLE = "the angle between Sun and Moon seen from Earth"


@pytest.mark.parametrize(
    ("columns", "of"),
    [
        ({"q": LEAKED[0], "o": [LEAKED[1], ANGLE, *LEAKED[2:]]}, "{{ q }} {{ o }}"),
        (
            {"q": f"{LEAKED[0]}\nA. clouds\nB. {ANGLE}\nC. Earth's shadow\nD. tides", "o": []},
            "{{ q }}",
        ),
        ({"q": "\n".join([LEAKED[0], LEAKED[1], ANGLE, *LEAKED[2:]]), "o": []}, "{{ q }}"),
        (
            {"q": f"{LEAKED[0]} (a) clouds (b) {ANGLE} (c) Earth's shadow (d) tides", "o": []},
            "{{ q }}",
        ),
        (
            {"q": f"{LEAKED[0]}\n1) clouds\n2) {ANGLE}\n3) Earth's shadow\n4) tides", "o": []},
            "{{ q }}",
        ),
    ],
    ids=["in a column", "in the text", "without letters", "on one line", "numbered"],
)
def test_items_of_a_suite_are_looked_for_as_rows_hold_them(
    place: Path, call: Call, columns: dict[str, Any], of: str
) -> None:
    rows = [{"q": row(20)["text"], "o": [], "a": "x"}, {**columns, "a": "B"}]
    (place / "leak.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    templates = json.dumps({"prompt": of, "completion": "{{ a }}"})
    recipe = f"data: {{source: leak.jsonl, templates: {templates}, split: {{test: 0}}}}\n"
    (place / "leak.yaml").write_text(recipe)
    files = Path(__file__).parents[2] / "fixtures" / "mmlu"
    chosen = ["--suite-set", "subjects=astronomy,prehistory"]
    asked = ["--suite", "mmlu", "--data", str(files), *chosen]
    called = call("leak.yaml", *asked, "--json")
    assert called.code == 0, called.err
    tests = {test["name"]: test for test in json.loads(called.out)["tests"]}
    assert {name: test["dirty"] for name, test in tests.items()} == {
        "mmlu/astronomy": 1, "mmlu/prehistory": 0
    }  # fmt: skip
    (match,) = tests["mmlu/astronomy"]["matches"]
    assert (match["place"], match["trained_row"]) == ("mmlu/astronomy, row 1", 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recipe.yaml", "--against", "bar.jsonl"], "Did you mean bare.jsonl"),
        (["recipe.yaml", "--against", "empty.jsonl"], "empty"),
        (["recipe.yaml", "--suite", "mmlo"], "did you mean 'mmlu'"),
        (["recipe.yaml", "--suite", "mmlu", "--data", "nowhere"], "nowhere"),
        (["recipe.yaml", "--suite", "mmlu", "--suite-set", "subject=x"], "'subjects'"),
        (["recipe.yaml", "--suite", "mmlu", "--suite-set", "split"], "--suite-set 'split'"),
        (["recipe.yaml", "--suite", "mmlu", "--suite-set", "split=x"], "--suite-set, suite mmlu"),
        (["recipe.yaml", "--data", "rows"], "name it with --suite"),
        (["recipe.yaml", "--run", "runs/none"], "no run is here"),
        (["none.yaml", "--set", "data.source=x"], "none.yaml"),
    ],
)
def test_bad_input_is_one_sentence(
    place: Path, call: Call, arguments: list[str], said: str
) -> None:
    (place / "empty.jsonl").write_text("")
    called = call(*arguments)
    assert called.code == 2
    assert called.err.startswith("error: ")
    assert said in called.err
    assert called.err.count("\n") == 1


def test_nothing_held_out_is_nothing_to_compare(place: Path, call: Call) -> None:
    called = call(
        "recipe.yaml", "--set", "data.source=rows/train.jsonl", "--set", "data.split.test=0"
    )
    assert called.code == 2
    assert "no test rows to compare with" in called.err
    assert "--against" in called.err


@pytest.fixture
def run(place: Path, call: Call) -> Path:
    """A run in which the base answers all four test rows wrong, and the tuned model right."""
    run = place / "run"
    answered = json.loads(call("recipe.yaml", "--against", "rows", "--json").out)
    rows = [m["row"] for m in answered["tests"][0]["matches"]]
    first = max(rows)  # the quoting row is the last that matches: the second of four test rows
    for who, right in (("base", 0.0), ("tuned", 1.0)):
        file = run / "eval" / who / "rows-test.jsonl"
        file.parent.mkdir(parents=True)
        with file.open("w") as out:
            for row in range(first - 1, first + 3):
                scored = {"accuracy": right}, {"accuracy": [right]}
                append(out, Answer(str(row), "rows/test", "?", "good", ("good",), *scored, 1))
    (run / "recipe.yaml").write_text((place / "recipe.yaml").read_text())
    record(place, run)
    return run


def record(place: Path, run: Path) -> None:
    values = {"data": _digests(place), "recipe_folder": str(place)}
    (run / "manifest.json").write_text(json.dumps(values))


def test_scores_of_a_run_are_shown_for_clean_and_dirty_items(
    place: Path, call: Call, run: Path
) -> None:
    scores = json.loads(call("recipe.yaml", "--run", "run", "--json").out)["scores"]
    values = {s["items"]: (s["base"]["value"], s["tuned"]["value"], s["base"]["n"]) for s in scores}
    assert values == {"all": (0.0, 1.0, 4), "clean": (0.0, 1.0, 3), "dirty": (0.0, 1.0, 1)}
    shown = call("recipe.yaml", "--run", "run").out
    assert "1.000 (0.510-1.000)" in shown  # four of four
    assert all(f"accuracy  {items}" in shown for items in ("all", "clean", "dirty"))
    assert "all items with scores" not in shown
    other = {"data": dict.fromkeys(_digests(place), "0")}
    (run / "manifest.json").write_text(json.dumps(other))
    assert "made from other data" in call("recipe.yaml", "--run", "run").err


def test_scores_are_shown_once_if_no_item_is_dirty(place: Path, call: Call, run: Path) -> None:
    (place / "rows" / "test.jsonl").write_text("".join(json.dumps(row(i)) + "\n" for i in range(4)))
    record(place, run)
    shown = call("recipe.yaml", "--run", "run").out
    assert shown.count("accuracy") == 1
    assert shown.endswith("rows/test: all items with scores are clean.\n")
    recorded = json.loads(call("recipe.yaml", "--run", "run", "--json").out)["scores"]
    assert [score["items"] for score in recorded] == ["all", "clean", "dirty"]


def _digests(place: Path) -> dict[str, str]:
    from brulee.data.sources import open_source

    return open_source(str(place / "rows")).digests


def test_the_base_model_is_asked(place: Path, call: Call, tiny_model_folder: Path) -> None:
    called = call(
        "recipe.yaml", "--model", "--set", f"model={tiny_model_folder}",
        "--set", "train.precision=float32", "--json",
    )  # fmt: skip
    assert called.code == 0, called.err
    (found,) = json.loads(called.out)["model"].values()
    assert found["min_k"]["tested_rows"] == 4
    assert found["min_k"]["reference_rows"] == 12
    assert found["order"] is None
    assert "This is evidence, not proof" in found["sentence"]
