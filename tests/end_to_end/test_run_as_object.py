"""What a call from Python gives back: numbers, texts, tables, a model to go on with."""

from __future__ import annotations

import gc
import json
import pickle
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import brulee
from brulee.inference import session
from brulee.methods.combining import combine
from brulee.models import loading
from brulee.models.loading import Base

Recipe = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    pass


@pytest.fixture
def recipe(at: Any) -> Recipe:
    def make(**changes: Any) -> dict[str, Any]:
        evaluate = {**at.recipe["evaluate"], "guards": ["common-knowledge"], "guard_limit": 4}
        return {**at.recipe, "evaluate": evaluate, "name": "run", **changes}

    return make


def test_a_run_gives_its_numbers_and_texts(recipe: Recipe) -> None:
    run = brulee.run(recipe())
    written = json.loads((run.folder / "results.json").read_text())
    assert run.results.model_dump(mode="json", by_alias=True) == written
    assert run.verdict == written["verdict"]
    pairs = written["comparisons"] + written["forgetting"]
    assert [(row["metric"], row["tuned"]) for row in run.scores] == [
        (pair["metric"], pair["tuned"]) for pair in pairs
    ]
    assert run.scores[-1]["task"] == "common-knowledge"
    assert len(run.answers()) == len(run.answers("base")) > 4
    assert {"prompt", "output", "scores"} <= run.answers()[0].keys()
    assert run.events[0]["event"] == "step"
    assert run.report.is_file()
    assert (run.weights / "adapter_config.json").is_file()
    with pytest.raises(brulee.InputError, match=r"it should be 'base' or 'tuned'"):
        run.answers("both")


def test_a_verdict_names_the_kind_of_lora_that_was_trained(recipe: Recipe) -> None:
    own = recipe(method={"name": "lora", "rank": 2, "dora": True}, evaluate={"limit": 2})
    run = brulee.run({**own, "train": {**own["train"], "max_steps": 1}})
    assert run.verdict.startswith("DoRA r2 ")


def test_a_run_is_where_the_next_starts(recipe: Recipe) -> None:
    first = brulee.train(recipe(name="first"))
    second = brulee.train(recipe(method={"start": first}))
    record = json.loads((second.weights / "brulee.json").read_text())
    assert (record["start"]["adapter"], record["method"]["rank"]) == (str(first.folder), 2)


def test_a_run_is_shown_as_a_table_and_printed_as_the_command_does(
    recipe: Recipe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    run = brulee.run(recipe(name="a.run"))
    page = run._repr_html_()
    assert page.count("<table>") == 2
    assert "<td>ROUGE-1</td>" in page
    assert "runs/a.run/report.html" in page
    assert run.verdict.replace("'", "&#x27;").replace("<", "&lt;") in page
    assert repr(run) == "Run('runs/a.run')"
    assert "ROUGE-1" in str(run)
    assert "\x1b" not in str(run)
    assert str(run).splitlines()[-1] == "Report: runs/a.run/report.html"
    assert max(map(len, str(run).splitlines())) <= 80
    assert capsys.readouterr() == ("", "")


def test_a_training_alone_says_what_it_lacks(recipe: Recipe) -> None:
    run = brulee.train(recipe())
    assert str(run) == "Run('runs/run'), trained and not scored"
    assert run._repr_html_() is None
    with pytest.raises(brulee.InputError, match=r"not scored yet; brulee\.run with the same"):
        _ = run.scores
    shutil.rmtree(run.folder / "adapter")
    with pytest.raises(brulee.InputError, match="has no adapter yet"):
        _ = run.weights


def test_a_run_is_opened_by_its_folder_as_a_text(recipe: Recipe) -> None:
    run = brulee.run(recipe())
    opened = brulee.Run("runs/run")
    assert opened == run
    assert opened.scores == run.scores
    for ask in (lambda no_run: no_run.results, lambda no_run: no_run.weights):
        with pytest.raises(brulee.InputError, match=r"runs/rn: no run is here; .*mean runs/run\?"):
            ask(brulee.Run(Path("runs/rn")))


METHODS = {
    "lora": {"name": "lora", "rank": 2},
    "full": {"name": "full"},
    "ia3": {"name": "ia3"},
    "bottleneck": {"name": "bottleneck"},
    "selective": {"name": "selective"},
}


@pytest.mark.parametrize("method", METHODS)
def test_the_model_of_a_session_writes_what_the_session_does(method: str, recipe: Recipe) -> None:
    rate = {"learning_rate": 0.02}
    made = recipe(method=METHODS[method])
    run = brulee.train({**made, "train": {**made["train"], **rate}})
    session = run.load(precision="float32")
    plain = brulee.load(made["model"], precision="float32")
    for question in ("What did Ana say?", "The lamp is late. Sum up:"):
        (written,) = session.complete([question], max_new_tokens=12)
        turn = [{"role": "user", "content": question}]
        prompt = session.tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids = session.model.generate(
            **prompt,
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=sorted(session.encoder.stop_ids),
            pad_token_id=0,
        )
        found = session.tokenizer.decode(ids[0, prompt.input_ids.shape[1] :], True)
        assert found.strip() == written
        assert plain.complete([question], max_new_tokens=12) != [written]


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_what_stands_before_a_prompt_is_in_no_model(method: str, recipe: Recipe) -> None:
    session = brulee.train(recipe(method={"name": method})).load()
    assert len(session.complete(["Hi"], max_new_tokens=2)) == 1
    with pytest.raises(
        brulee.InputError, match="stands before every prompt and is not part of the model"
    ):
        _ = session.model


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_loads_what_a_run_stored(recipe: Recipe) -> None:
    import peft

    made = recipe(method=METHODS["lora"])
    made["train"] = {**made["train"], "learning_rate": 0.02}
    run = brulee.train(made)
    base = AutoModelForCausalLM.from_pretrained(made["model"], dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(base, run.weights).eval()
    ids = torch.arange(20)[None]
    with torch.no_grad():
        ours = run.load(precision="float32").model(input_ids=ids).logits
        assert torch.allclose(theirs(input_ids=ids).logits, ours, atol=1e-5)


def test_a_model_that_is_in_memory_is_tuned_and_is_the_base_of_the_run(
    recipe: Recipe, make_base: Callable[..., Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRULEE_CACHE", str(tmp_path / "cache"))
    given = make_base("llama", seed=5)
    given.tokenizer.add_tokens(["<ana>"])
    given.model.resize_token_embeddings(len(given.tokenizer))
    pair = (given.model, given.tokenizer)
    run = brulee.run(recipe(model=pair))
    named = json.loads((run.weights / "adapter_config.json").read_text())
    folder = Path(named["base_model_name_or_path"])
    assert folder.parent == tmp_path / "cache" / "models" / "given"
    assert brulee.run(recipe(model=pair)) == brulee.resume(run) == run
    assert brulee.keep_model(*pair) == folder
    assert brulee.run(recipe(model={"name": pair})) == run
    assert "<ana>" in run.load().tokenizer.get_vocab()
    with torch.no_grad():
        given.model.lm_head.weight[7] += 1
    with pytest.raises(brulee.InputError, match=r"model\.name is '.*llama-.*' there and"):
        brulee.run(recipe(model=pair))


def test_a_model_without_its_tokenizer_is_refused_with_what_to_write(
    recipe: Recipe, make_base: Callable[..., Base]
) -> None:
    model = make_base("llama").model
    for given in (model, {"name": model}):
        with pytest.raises(brulee.InputError, match=r"without its tokenizer; .*\(model, tokenizer"):
            brulee.run(recipe(model=given))
    with pytest.raises(brulee.InputError, match=r"brulee\.keep_model\(model, tokenizer\) gives a"):
        brulee.recipe_from_dict(recipe(model=(model, None)))
    tokenizer = AutoTokenizer.from_pretrained(recipe()["model"])
    with pytest.raises(brulee.InputError, match="its tokenizer is an object of type str"):
        brulee.run(recipe(model=(model, "bundled")))
    with pytest.raises(brulee.InputError, match="an object of type str; it must be a model"):
        brulee.run(recipe(model=("bundled", tokenizer)))


def test_a_sentence_is_all_that_a_notebook_shows_of_an_error(recipe: Recipe) -> None:
    brulee.train(recipe())
    with pytest.raises(brulee.InputError) as said:
        brulee.train(recipe(method={"name": "full"}))
    shown = said.value._render_traceback_()
    assert shown == [
        f"InputError: {said.value}",
        "In Python --fresh is fresh=True, --folder is folder=PATH.",
    ]


def test_runs_are_held_over_one_base_and_combined(recipe: Recipe, tmp_path: Path) -> None:
    made = [recipe(name=name, method=METHODS[name]) for name in ("lora", "ia3")]
    first, second = (brulee.train(values) for values in made)
    held = brulee.load_adapters({"a": first, "b": second}, precision="float32")
    asked = ["What did Ana say?", "The lamp is late. Sum up:"]
    texts = held.complete(asked * 3, ["a", "a", "b", "b", None, None], max_new_tokens=8)
    alone = [
        brulee.load(target, precision="float32").complete(asked, max_new_tokens=8)
        for target in (first, second, made[0]["model"])
    ]
    assert texts == [text for own in alone for text in own]
    assert not held.apart
    half = combine([first], tmp_path / "half", weights=[0.5])
    assert [part.folder for part in half.parts] == [str(first.weights)]


def test_a_suite_is_shown_as_a_table_and_gives_its_numbers(at: Any) -> None:
    found = brulee.evaluate(at.model, "bundled", limit=3)
    page = found._repr_html_()
    assert page.count("<table>") == 1
    assert f"<b>bundled of {at.model}, at most 3 items of each task</b>" in page
    assert "<td>common-knowledge</td>" in page
    assert [row["task"] for row in found.scores] == [*found.scored]
    row = found.scores[0]
    assert row["items"] == 3
    assert row["low"] <= row["value"] <= row["high"]
    assert f"<td>{row['value']:.4f}</td>" in page
    assert f"{row['value']:.4f}  {row['low']:.4f} to {row['high']:.4f}" in str(found)
    assert max(map(len, str(found).splitlines()[1:])) <= 80


def test_scores_of_a_suite_are_kept_without_the_model(
    at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[torch.nn.Module]] = []

    def load_base(*args: Any, **kwargs: Any) -> Base:
        base = loading.load_base(*args, **kwargs)
        loaded.append(weakref.ref(base.model))
        return base

    monkeypatch.setattr(session, "load_base", load_base)
    found = brulee.evaluate(at.model, "bundled", limit=1)
    gc.collect()
    assert [model() for model in loaded] == [None]
    assert pickle.loads(pickle.dumps(found)).scores == found.scores
