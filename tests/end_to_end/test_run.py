"""The whole line on tiny models: what a run leaves behind, and what may be done with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from brulee.methods.continuing import resolved
from brulee.recipe import load_recipe
from brulee.reporting import results

RUN = Path("runs/recipe")


@pytest.fixture
def done(at: Any, once: Any) -> Any:
    """A finished LoRA run of recipe.yaml."""
    guarded = at.recipe["evaluate"] | {"guards": ["plain-prose"], "guard_limit": 3}
    return once(*at.run(evaluate=guarded))


def test_run_leaves_every_file_and_each_parses(at: Any, done: Any) -> None:
    recipe = load_recipe(RUN / "recipe.yaml")
    assert recipe.to_dict() == resolved(load_recipe("recipe.yaml")).to_dict()
    assert yaml.safe_load((RUN / "recipe.yaml").read_text())["train"]["schedule"] == "cosine"
    manifest = read(RUN / "manifest.json")
    assert manifest["command"] == "run"
    assert set(manifest["base"]) == {"name", "digest"}
    assert list(manifest["data"]) == ["rows.jsonl"]
    split = read(RUN / "split.json")
    assert split["counts"] == {"train": 16, "validation": 2, "test": 6}
    assert set(split["ids_sha256"]) == {"train", "validation", "test"}
    step = next(e for e in lines(RUN / "events.jsonl") if e["event"] == "step")
    wanted = {"step", "loss", "grad_norm", "lr", "tokens", "tokens_per_s", "memory_bytes"}
    assert wanted <= set(step)
    names = {file.name for file in (RUN / "adapter").iterdir()}
    assert names == {
        "adapter_config.json", "adapter_model.safetensors", "brulee.json", "README.md"
    }  # fmt: skip
    for who in ("base", "tuned"):
        items = lines(RUN / "eval" / who / "rows-test.jsonl")
        assert len(items) == 6
        assert {"prompt", "output", "references", "scores"} <= set(items[0])
        assert len(lines(RUN / "eval" / who / "plain-prose.jsonl")) == 3
    page = (RUN / "report.html").read_text()
    assert page.lower().startswith("<!doctype html")
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_results_hold_scores_costs_and_forgetting(at: Any, done: Any) -> None:
    found = results.read(RUN)
    assert {(s.who, s.task) for s in found.scores} == {
        (who, task) for who in ("base", "tuned") for task in ("rows/test", "plain-prose")
    }
    assert [c.metric for c in found.comparisons] == ["rouge1", "rouge2", "rougeL", "bleu"]
    assert [f.task for f in found.forgetting] == ["plain-prose"]
    assert all(s.low <= s.value <= s.high for s in found.scores)
    events = [e for e in lines(RUN / "events.jsonl") if e["event"] == "step"]
    assert found.cost.train_tokens == sum(e["tokens"] for e in events)
    weights = RUN / "adapter" / "adapter_model.safetensors"
    assert found.cost.adapter_bytes == weights.stat().st_size
    assert 0 < found.cost.trainable_parameters < found.cost.total_parameters
    assert found.cost.precision == json.loads((RUN / "manifest.json").read_text())["precision"]


def test_card_tells_the_scores_and_the_recipe(at: Any, done: Any) -> None:
    card = (RUN / "adapter" / "README.md").read_text()
    assert results.read(RUN).verdict in card
    recipe = card.split("```yaml\n")[1].split("\n```")[0]
    assert yaml.safe_load(recipe) == yaml.safe_load((RUN / "recipe.yaml").read_text())
    assert all(f"`{digest}`" in card for digest in read(RUN / "manifest.json")["data"].values())
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "peft"


def test_running_again_does_nothing(at: Any, done: Any, brulee: Any) -> None:
    before = {file: file.stat().st_mtime_ns for file in RUN.rglob("*")}
    for arguments in (["run", "recipe.yaml"], ["resume", RUN]):
        again = brulee(*arguments)
        assert (again.code, again.out) == (0, done.out)
    assert brulee("train", "recipe.yaml").out == f"adapter: {RUN / 'adapter'}\n"
    assert {file: file.stat().st_mtime_ns for file in RUN.rglob("*")} == before


def test_fresh_moves_the_old_run_aside(at: Any, done: Any, brulee: Any) -> None:
    old = (RUN / "results.json").read_bytes()
    assert brulee("run", "recipe.yaml", "--fresh").code == 0
    assert brulee("run", "recipe.yaml", "--fresh", "--set", "train.max_steps=1").code == 0
    assert (Path("runs/recipe.1") / "results.json").read_bytes() == old
    assert sorted(p.name for p in Path("runs").iterdir()) == ["recipe", "recipe.1", "recipe.2"]
    assert load_recipe(RUN / "recipe.yaml").train.max_steps == 1


def test_two_runs_of_one_recipe_give_the_same_numbers(at: Any, done: Any, brulee: Any) -> None:
    assert brulee("run", "recipe.yaml", "--folder", "twin").code == 0
    weights = [folder / "adapter/adapter_model.safetensors" for folder in (RUN, Path("twin"))]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert results.read(RUN).scores == results.read("twin").scores


def test_compare_and_report_of_a_run(at: Any, done: Any, brulee: Any) -> None:
    again = shutil.copytree(RUN, RUN.with_name("again"), dirs_exist_ok=True)
    compared = brulee("compare", RUN, again)
    assert (compared.code, compared.err) == (0, "")
    page = RUN / "report.html"
    before = page.read_text()
    page.unlink()
    assert brulee("report", RUN).out == f"{page}\n"
    assert page.read_text() == before


def test_an_answer_says_where_its_row_is(at: Any, done: Any) -> None:
    for answer in lines(RUN / "eval/tuned/rows-test.jsonl"):
        assert answer["place"] == f"rows.jsonl, line {int(answer['id']) + 1}"


def test_generate_and_chat_with_a_run(at: Any, done: Any, brulee: Any) -> None:
    [answer] = lines(RUN / "eval/tuned/rows-test.jsonl")[:1]
    asked = ("--prompt", answer["prompt"], "--max-new-tokens", 4)
    again = brulee("generate", RUN, *asked)
    assert (again.code, again.out) == (0, answer["output"] + "\n")
    talk = brulee("chat", RUN, "--json", "--max-new-tokens", 4, stdin="Hello\n/reset\nHello\n")
    first, second = (json.loads(line) for line in talk.out.splitlines())
    assert first == second
    assert first["role"] == "assistant"


def test_interrupted_line_goes_on_from_what_is_there(at: Any, brulee: Any) -> None:
    assert brulee("train", at.write()).code == 0
    events = (RUN / "events.jsonl").read_bytes()
    assert brulee("run", "recipe.yaml").code == 0
    assert (RUN / "events.jsonl").read_bytes() == events
    assert results.read(RUN).cost.train_tokens > 0


def test_overrides_reach_the_run(at: Any, brulee: Any) -> None:
    overrides = ["--set", "method.rank=4", "--set", "train.max_steps=2", "--set", "runs=elsewhere"]
    assert brulee("train", at.write(), *overrides).code == 0
    assert read(Path("elsewhere/recipe/adapter/adapter_config.json"))["r"] == 4
    assert len(lines(Path("elsewhere/recipe/events.jsonl"))) == 3  # two steps and a validation


def test_full_tuning_stores_a_model_that_loads_again(at: Any, brulee: Any) -> None:
    done = brulee(*at.run(method={"name": "full"}))
    card = (RUN / "model" / "README.md").read_text()
    assert results.read(RUN).verdict in card
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "transformers"
    assert done.code == 0, done.err
    assert not (RUN / "adapter").exists()
    cost = results.read(RUN).cost
    assert cost.trainable_share == 1.0
    assert cost.precision == json.loads((RUN / "manifest.json").read_text())["precision"]
    prompt = lines(RUN / "eval/tuned/rows-test.jsonl")[0]["prompt"]
    asked = ["--prompt", prompt, "--max-new-tokens", 4]
    assert brulee("generate", RUN, *asked).out == brulee("generate", RUN / "model", *asked).out


def test_labels_of_a_metric_are_the_templates_answer_choices(at: Any, brulee: Any) -> None:
    rows = [{"dialogue": f"order {i}", "summary": ("good", "bad")[i % 2]} for i in range(24)]
    at.rows(rows)
    jinja = {"jinja": "{{ dialogue }} ||| {{ summary }}", "answer_choices": "good ||| bad"}
    at.recipe["evaluate"]["metrics"] = ["accuracy", "macro_f1", "matthews"]
    done = brulee(*at.run(data__templates=jinja))
    assert done.code == 0, done.err
    found = [c.metric for c in results.read(RUN).comparisons]
    assert found == ["accuracy", "macro_f1", "matthews"]
    refused = brulee(*at.run(), "--folder", "other")
    assert refused.code == 2
    assert "metric macro_f1 needs the task's labels (its answer choices)" in refused.errors[0]


def test_without_a_test_split_everything_is_trained_on_and_nothing_measured(
    at: Any, brulee: Any
) -> None:
    done = brulee("run", at.write(data__split={"test": 0}))
    assert done.code == 0, done.err
    assert read(RUN / "split.json")["used"] == {"train": 24, "validation": 0, "test": 0}
    found = results.read(RUN)
    assert (found.scores, found.comparisons) == ((), ())
    assert "nothing was measured" in " ".join(done.out.split()).lower()
    assert (RUN / "report.html").is_file()


def test_model_without_a_chat_template_reads_plain_text(
    at: Any, brulee: Any, tmp_path: Path, make_model: Callable[..., Any],
    make_tokenizer: Callable[..., Any],
) -> None:  # fmt: skip
    make_model("gpt2").save_pretrained(tmp_path / "plain")
    make_tokenizer().save_pretrained(tmp_path / "plain")
    done = brulee(*at.run(model="plain"))
    assert done.code == 0, done.err
    assert "framing: plain text" in (RUN / "adapter/README.md").read_text()


def test_rows_longer_than_the_model_reads_are_cut_in_training_and_in_scoring(
    at: Any, brulee: Any, tmp_path: Path, make_model: Callable[..., Any],
    make_tokenizer: Callable[..., Any],
) -> None:  # fmt: skip
    make_model("gpt2", n_positions=128).save_pretrained(tmp_path / "short")
    make_tokenizer().save_pretrained(tmp_path / "short")
    at.rows([{**row, "dialogue": row["dialogue"] * 30} for row in at_rows(at)])
    refused = brulee(*at.run(model="short"))
    assert refused.errors[0].endswith(
        "train.max_length = 256 is more than the 128 tokens that this model can read."
    )
    done = brulee(*at.run(model="short", train__max_length=128))
    assert done.code == 0, done.err
    prompt = lines(RUN / "eval/base/rows-test.jsonl")[0]["prompt"]
    assert prompt.startswith("Sum up: Ana: ")
    assert brulee("generate", RUN, "--prompt", prompt, "--max-new-tokens", 500).code == 0
    too_long = brulee("generate", RUN, "--prompt", prompt * 9)
    assert (too_long.code, len(too_long.errors)) == (2, 1)
    assert "this model reads at most 128" in too_long.errors[0]
    assert brulee("chat", RUN, stdin=prompt * 9 + "\n").code == 2


@pytest.mark.parametrize("method", ["lora", "full"])
def test_encoder_decoder_walks_the_whole_line(
    at: Any, brulee: Any, tiny_t5_folder: Path, method: str
) -> None:
    done = brulee(*at.run(model=str(tiny_t5_folder), method={"name": method}))
    assert done.code == 0, done.err
    losses = [e["loss"] for e in lines(RUN / "events.jsonl") if e["event"] == "step"]
    assert losses[-1] < losses[0]
    tuned = lines(RUN / "eval/tuned/rows-test.jsonl")[0]
    asked = ["--prompt", tuned["prompt"], "--max-new-tokens", 4]
    assert brulee("generate", RUN, *asked).out == tuned["output"] + "\n"


def test_run_from_another_directory_finds_data_beside_the_recipe(
    at: Any, brulee: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.write(train__max_steps=1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert brulee("train", tmp_path / "recipe.yaml").code == 0
    (RUN / "adapter" / "adapter_model.safetensors").unlink()
    assert brulee("resume", RUN).code == 0


def at_rows(at: Any) -> list[dict[str, Any]]:
    return lines(at.folder / "rows.jsonl")


def read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_an_adapter_whose_base_has_moved_is_told_where_it_lies(at: Any, brulee: Any) -> None:
    shutil.copytree(at.model, "here")
    assert brulee("train", at.write(model="here")).code == 0
    Path("here").rename("moved")
    asked = ("generate", RUN, "--prompt", "Ana: a kettle is late.", "--max-new-tokens", 2)
    assert brulee(*asked).code == 2
    assert brulee(*asked, "--base", "moved").code == 0
    assert brulee("chat", RUN, "--base", "moved", "--max-new-tokens", 2, stdin="Hello\n").code == 0
    refused = brulee("generate", "moved", "--prompt", "Ana", "--base", "moved")
    assert (refused.code, refused.errors) == (
        2, ["error: moved: this is not an adapter, so it has no base to replace with 'moved'."]
    )  # fmt: skip


def test_a_run_says_that_its_metrics_cannot_read_the_references(at: Any, brulee: Any) -> None:
    at.rows([{**row, "summary": f"Заказ {i} отправлен"} for i, row in enumerate(at_rows(at))])
    said = "rows/test: rouge1, rouge2, rougeL: only words of a-z and 0-9 are counted"
    spec = at.recipe["evaluate"] | {"metrics": ["rouge", "chrf"]}
    done = brulee(*at.run(evaluate=spec, train__max_steps=1))
    assert done.code == 0, done.err
    assert done.err.count(said) == 1
