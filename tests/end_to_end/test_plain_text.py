"""Plain text from the command line: trained on, measured in bits per byte, or refused by name."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from brulee.recipe import load_recipe
from brulee.reporting import results

RUN = Path("runs/recipe")
THINGS = ("kettle", "lamp", "chair", "router", "sock", "table", "clock")
STATES = ("late", "broken", "lost", "blue", "heavy")


def page_of(i: int) -> str:
    """A text of three lines, some longer than train.max_length."""
    thing, state = THINGS[i % 7], STATES[i % 5]
    line = f"The {thing} numbered {i} was {state}, and clerk {i * 7 % 31} sent order {i * 13}. "
    return f"# Page {i}\n\n" + "\n".join(line * (1 + i % 3) for _ in range(3)) + "\n"


TEXTS = [{"text": page_of(i)} for i in range(24)]


@pytest.fixture
def text(at: Any) -> Any:
    """The same place, with rows of plain text, a recipe without metrics, and short documents."""
    at.rows(TEXTS)
    at.recipe["data"] = {"source": "rows.jsonl", "split": {"test": 0.25, "validation": 0.1}}
    at.recipe["train"] |= {"max_length": 64, "learning_rate": 3e-2}
    return at


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_run_measures_bits_per_byte_before_and_after(text: Any, brulee: Any) -> None:
    guarded = text.recipe["evaluate"] | {"guards": ["plain-prose"], "guard_limit": 3}
    done = brulee(*text.run(evaluate=guarded))
    assert done.code == 0, done.err
    found = results.read(RUN)
    (pair,) = found.comparisons
    assert (pair.task, pair.metric, pair.higher_is_better) == ("rows/test", "bits_per_byte", False)
    assert pair.tuned < pair.base
    assert found.verdict.startswith("LoRA r2 lowered (better) bits per byte on rows/test from ")
    assert "plain-prose" in found.verdict
    split = json.loads((RUN / "split.json").read_text())
    assert sum(split["counts"].values()) == 24
    base, tuned = (lines(RUN / "eval" / who / "rows-test.jsonl") for who in ("base", "tuned"))
    assert len(base) == len(tuned) == split["used"]["test"] > split["counts"]["test"] == 6
    assert len({one.get("cluster", one["id"]) for one in base}) == 6
    rows = Path("rows.jsonl").read_text().splitlines()
    for one in tuned:
        name, line, piece = one["place"].split(", ")
        assert (name, piece[:6]) == ("rows.jsonl", "piece ")
        row = json.loads(rows[int(line.removeprefix("line ")) - 1])
        assert one["references"][0].strip() in row["text"]
    bits, size = (sum(one["statistics"]["bits_per_byte"][k] for one in base) for k in (0, 1))
    assert pair.base == pytest.approx(bits / size)
    tested = sum(len(one["references"][0].encode()) for one in base)
    assert size == tested, "a byte of a text was counted twice or not at all"
    assert found.lengths == ()
    assert found.groups["rows/test"] == 6
    page = (RUN / "report.html").read_text()
    assert "Read the texts" in page
    assert "The model wrote nothing" not in page
    card = (RUN / "adapter" / "README.md").read_text()
    assert "pieces of the texts of `rows.jsonl`" in card
    assert "each a document of at most train.max_length = 64 tokens" in done.err


def test_a_finished_run_asks_nothing_again_and_its_page_is_drawn(
    text: Any, brulee: Any, once: Any
) -> None:
    once(*text.run())
    before = {file: file.stat().st_mtime_ns for file in RUN.rglob("*.jsonl")}
    again = brulee("run", "recipe.yaml", "--json")
    assert again.code == 0, again.err
    assert {file: file.stat().st_mtime_ns for file in RUN.rglob("*.jsonl")} == before
    assert brulee("report", RUN).code == 0
    again = shutil.copytree(RUN, "runs/again")
    assert brulee("compare", RUN, again).code == 0


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(text: Any, brulee: Any) -> None:
    from safetensors.torch import load_file

    text.recipe["train"] |= {"save_every": 2}
    assert brulee("train", text.write()).code == 0
    whole = load_file(RUN / "adapter" / "adapter_model.safetensors")
    later = sorted(RUN.glob("checkpoints/*"))[-1]
    for file in (RUN / "trained.json", *later.iterdir()):
        file.unlink()
    later.rmdir()
    assert brulee("resume", RUN).code == 0
    resumed = load_file(RUN / "adapter" / "adapter_model.safetensors")
    assert all(tensor.equal(resumed[name]) for name, tensor in whole.items())


def test_a_limit_counts_texts_with_all_their_pieces(text: Any, brulee: Any) -> None:
    assert brulee(*text.run(evaluate={"limit": 2, "resamples": 100})).code == 0
    found = lines(RUN / "eval" / "base" / "rows-test.jsonl")
    assert len(found) > 2
    assert len({one.get("cluster", one["id"]) for one in found}) == 2


@pytest.mark.parametrize(
    "method",
    [{"name": "prompt", "tokens": 4}, {"name": "prefix", "tokens": 4}, {"name": "full"}],
    ids=lambda method: method["name"],
)
def test_every_kind_of_method_is_measured_on_the_same_pieces(
    text: Any, brulee: Any, method: dict[str, Any]
) -> None:
    done = brulee(*text.run(method=method, train__neftune_alpha=5))
    assert done.code == 0, done.err
    base, tuned = (lines(RUN / "eval" / who / "rows-test.jsonl") for who in ("base", "tuned"))
    assert [one["references"] for one in base] == [one["references"] for one in tuned]
    assert [one["tokens"] for one in base] == [one["tokens"] for one in tuned]


def test_a_mixture_measures_each_task_as_it_can_be(text: Any, brulee: Any) -> None:
    chats = [
        {"prompt": f"Say {i}.", "completion": f"It is {i} {STATES[i % 5]}."} for i in range(20)
    ]
    (text.folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    text.recipe["evaluate"] |= {"metrics": ["rouge"], "generation": {"max_new_tokens": 4}}
    mixed = [
        text.recipe["data"],
        {"source": "chats.jsonl", "split": {"test": 0.2, "validation": 0.1}},
    ]
    done = brulee(*text.run(data=mixed, train__generate_every=3))
    assert done.code == 0, done.err
    found = results.read(RUN)
    measured = {(pair.task, pair.metric) for pair in found.comparisons}
    assert measured == {
        ("rows/test", "bits_per_byte"),
        *(("chats/test", key) for key in ("rouge1", "rouge2", "rougeL")),
    }
    assert {line.task for line in found.lengths} == {"chats/test"}
    assert {line.task for line in found.mixture} == {"rows", "chats"}
    shown = [s for one in lines(RUN / "events.jsonl") for s in one.get("samples", ())]
    assert shown
    assert all(sample["prompt"].startswith("Say ") for sample in shown)
    assert brulee("data", "inspect", "recipe.yaml").code == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"evaluate__metrics": ["rouge"]},
         "recipe.yaml, line 5: rouge judges an answer, and rows is plain text, which has none"),
        ({"data__metrics": ["bits_per_byte", "bleu"]}, "bleu judges an answer"),
        ({"train__generate_every": 2}, "train.generate_every completes prompts, and plain text"),
        ({"data__system": "Be kind."}, "rows.jsonl is plain text, which has no prompts"),
    ],
    ids=["rouge", "own", "generate", "system"],
)  # fmt: skip
def test_what_needs_an_answer_or_a_prompt_is_refused(
    text: Any, brulee: Any, changes: dict[str, Any], says: str
) -> None:
    done = brulee(*text.run(**changes))
    assert done.code == 2
    assert says in done.errors[0]
    assert not RUN.exists()


def test_bits_of_answers_are_refused(at: Any, brulee: Any) -> None:
    done = brulee(*at.run(evaluate__metrics=["bits_per_byte"]))
    assert done.code == 2
    assert "bits_per_byte is for plain text, and rows has answers" in done.errors[0]


def test_an_encoder_decoder_is_refused(text: Any, brulee: Any, tiny_t5_folder: Path) -> None:
    done = brulee(*text.run(model=str(tiny_t5_folder)))
    assert done.code == 2
    assert "rows.jsonl is plain text, which has no prompt for an encoder-decoder" in done.errors[0]


def test_score_says_that_texts_alone_do_not_say_it(at: Any, brulee: Any) -> None:
    (at.folder / "a.txt").write_text("one\n")
    files = ("--predictions", "a.txt", "--references", "a.txt")
    done = brulee("score", *files, "--metrics", "bits_per_byte")
    assert done.code == 2
    assert "bits_per_byte asks a model how likely a text is" in done.err


def test_inspect_says_how_texts_are_divided(text: Any, brulee: Any) -> None:
    recipe = text.write()
    shown = brulee("data", "inspect", recipe, "--html", "page.html")
    assert shown.code == 0, shown.err
    assert "24 plain texts, divided into" in shown.out
    assert "Tokens lost" not in shown.out
    found = brulee("data", "inspect", recipe, "--json").json
    (task,) = found["tasks"]
    assert (task["rows"], sum(task["counts"].values())) == (24, 24)
    assert sum(task["pieces"].values()) > 24
    assert task["texts"]["echoes"] == 0
    assert found["left_out"] == found["failed"] == 0
    assert all(cut["misfits"] == cut["tokens_lost"] == 0 for cut in found["cuts"])
    assert all(row["plain"] and row["learned"] >= row["tokens"] - 1 for row in found["rows"])
    page = (text.folder / "page.html").read_text()
    assert "They are plain texts without a prompt." in page
    assert "The prompt at inference" not in page
    assert "What a length would cut" not in page


@pytest.mark.parametrize("command", ["lint", "split"])
def test_the_rows_are_looked_at_as_texts(text: Any, brulee: Any, command: str) -> None:
    done = brulee("data", command, text.write())
    assert done.code == 0, done.out + done.err


def test_contamination_is_found_in_texts_and_their_scores_are_told_apart(
    text: Any, brulee: Any
) -> None:
    words = " ".join(f"word{i}" for i in range(40))
    copied = [{"text": f"{row['text']} {words if i in (3, 11, 17, 20) else ''}"}
              for i, row in enumerate(TEXTS)]  # fmt: skip
    text.rows(copied)
    recipe = text.write(data__split={"test": 0.25, "near_duplicates": False})
    assert brulee("run", recipe).code == 0
    done = brulee("data", "contamination", recipe, "--run", RUN, "--json")
    assert done.code == 0, done.err
    (found,) = done.json["tests"]
    assert found["items"] == 6
    assert found["dirty"] >= 1
    answered = lines(RUN / "eval" / "base" / "rows-test.jsonl")
    dirty = {match["row"] for match in found["matches"] if match["reason"]}
    pieces = sum(int(one["id"].partition("/")[0]) in dirty for one in answered)
    scores = {one["items"]: one["base"] for one in done.json["scores"]}
    assert scores["dirty"]["n"] == pieces
    assert scores["all"]["n"] == len(answered)
    assert any("/" in one["id"] for one in answered)


def test_init_recognises_texts_and_its_recipe_runs(text: Any, brulee: Any) -> None:
    folder = text.folder / "pages"
    folder.mkdir()
    for number, row in enumerate(TEXTS[:8]):
        (folder / f"{number}.md").write_text(row["text"])
    done = brulee("init", "pages", "--model", text.model, "--quiet")
    assert done.code == 0, done.err
    recipe = load_recipe("pages.yaml")
    assert recipe.evaluate.metrics == ["bits_per_byte"]
    small = ["train.max_length=64", "train.max_steps=2", "evaluate.guards=[]"]
    sets = [part for value in small for part in ("--set", value)]
    done = brulee("run", "pages.yaml", *sets)
    assert done.code == 0, done.err
    assert "bits per byte on pages/test" in done.out


def test_a_plan_is_made(text: Any, brulee: Any, tried_here: None) -> None:
    done = brulee("plan", text.write(), "--method", "lora", "--method", "prompt", "--json")
    assert done.code == 0, done.err


@pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")
# Each method and each objective once; the other pairs are slow.
@pytest.mark.parametrize(
    ("method", "objective"),
    [
        ({"name": "lora", "rank": 2}, "bits_per_byte"),
        ({"name": "prompt", "tokens": 3}, "validation_loss"),
        *(
            pytest.param(method, objective, marks=pytest.mark.slow)
            for method, objective in (
                ({"name": "lora", "rank": 2}, "validation_loss"),
                ({"name": "prompt", "tokens": 3}, "bits_per_byte"),
            )
        ),
    ],
)
def test_a_sweep_chooses_by_validation_texts(
    text: Any, brulee: Any, monkeypatch: pytest.MonkeyPatch, method: dict[str, Any], objective: str
) -> None:
    monkeypatch.setattr("brulee.pipeline.sweeps.tell_forecast", lambda _: None)
    recipe = text.write(method=method, train__max_steps=2)
    axis = "train.learning_rate=1e-3,3e-2"
    done = brulee("sweep", recipe, "--set", axis, "--objective", objective, "--json")
    assert done.code == 0, done.err
    found = done.json
    assert {pair["metric"] for pair in found["test"]} <= {"bits_per_byte"}
    assert found["chosen"] in {t["number"] for t in found["trials"]}


def test_rows_in_memory_are_read(text: Any, one_thread: None) -> None:
    import brulee

    recipe = {key: value for key, value in text.recipe.items() if key != "data"}
    recipe["train"]["max_steps"] = 2
    run = brulee.run(recipe | {"name": "memory", "data": {"source": TEXTS}})
    assert [pair.metric for pair in run.results.comparisons] == ["bits_per_byte"]
