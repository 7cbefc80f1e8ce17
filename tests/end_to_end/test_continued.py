"""Training that starts from an adapter: it begins where that ended, and says so."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from brulee import pipeline
from brulee.methods.adapter_files import CONFIG, WEIGHTS
from brulee.methods.checkpoint import open_adapter
from brulee.recipe import load_recipe
from brulee.reporting import results
from brulee.training.recorder import Recorder

METHODS: dict[str, dict[str, Any]] = runpy.run_path(
    str(Path(__file__).with_name("combinations.py"))
)["METHODS"]
ADAPTERS = {name: method for name, method in METHODS.items() if method["name"] != "full"}
# The bias of a Llama is refused.
ON_LLAMA = {name: method for name, method in ADAPTERS.items() if name != "bias"}
STILL = {"train__learning_rate": 1e-30, "train__max_steps": 1}  # a step that changes nothing
# Each method, and what is stored otherwise than it is trained; the other ones are slow.
FAST = (
    *("lora", "pissa", "dora", "lora of embeddings", "fisher", "norms", "parallel", "ia3"),
    *("prompt", "prefix, projected"),
)
EACH = [
    pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
    for name in sorted(ON_LLAMA)
]


def train(at: Any, once: Any, method: dict[str, Any], folder: str = "runs/a", **more: Any) -> Path:
    """The adapter of a training."""
    once("train", at.write(method=method, **more), "--folder", folder)
    return Path(folder) / "adapter"


def tensors(adapter: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(adapter / WEIGHTS)
    return found


@pytest.mark.fast_cases(5)
@pytest.mark.parametrize("name", EACH)
def test_no_step_from_an_adapter_is_that_adapter_and_steps_move_it(
    at: Any, brulee: Any, once: Any, name: str
) -> None:
    first = train(at, once, ON_LLAMA[name])
    recipe = at.write("b.yaml", method={"start": "runs/a"}, **STILL)
    done = brulee("train", recipe, "--folder", "runs/b")
    assert done.code == 0, done.err
    second = Path("runs/b/adapter")
    was, now = tensors(first), tensors(second)
    assert was.keys() == now.keys()
    for key in was:
        torch.testing.assert_close(now[key], was[key], atol=1e-20, rtol=0)
    assert json.loads((second / CONFIG).read_text()) == json.loads((first / CONFIG).read_text())
    assert open_adapter(second).label() == open_adapter(first).label()
    done = brulee("train", "b.yaml", "--folder", "runs/c", "--set", "train.learning_rate=0.01")
    assert done.code == 0, done.err
    moved = tensors(Path("runs/c/adapter"))
    assert not all(torch.equal(moved[key], was[key]) for key in was)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_before_is_the_adapter_and_everything_says_so(
    at: Any, brulee: Any, once: Any, tiny_t5_folder: Path, family: str
) -> None:
    if family == "t5":
        at.recipe["model"] = str(tiny_t5_folder)
    guarded = at.recipe["evaluate"] | {"guards": ["common-knowledge"], "guard_limit": 3}
    fast = {"train__learning_rate": 0.02, "evaluate": guarded}
    once("run", at.write("a.yaml", **fast), "--folder", "runs/a")
    done = brulee("run", at.write("b.yaml", method={"start": "runs/a"}, **fast))
    assert done.code == 0, done.err
    a, b = Path("runs/a"), Path("runs/b")
    for task in ("rows-test", "common-knowledge"):
        before, after = (folder / f"{task}.jsonl" for folder in (b / "eval/base", a / "eval/tuned"))
        assert before.read_text() == after.read_text()
    first, second = results.read(a), results.read(b)
    scored = {(s.task, s.metric): s.value for s in first.scores if s.who == "tuned"}
    assert scored == {(s.task, s.metric): s.value for s in second.scores if s.who == "base"}
    start = second.base.start
    assert start is not None
    assert (start.adapter, second.base.before) == ("runs/a", f"{second.base.name} with runs/a")
    assert first.base.start is None
    assert second.verdict.startswith("LoRA r2, trained further from runs/a, ")
    assert f"Before is {second.base.before}, from which training started" in done.out
    record = json.loads((b / "adapter/brulee.json").read_text())
    assert record["start"] == start.model_dump()
    assert json.loads((b / "manifest.json").read_text())["start"] == start.model_dump()
    card = (b / "adapter/README.md").read_text()
    assert f"- trained further from: the adapter `runs/a`, digest `{start.digest}`" in card
    assert "| task | metric | `runs/a` | tuned |" in card
    page = (b / "report.html").read_text()
    assert f"Before is {second.base.before}" in page
    assert f"on {second.base.name}, trained further from runs/a</p>" in page
    compared = " ".join(brulee("compare", "runs/a", "runs/b").out.split())
    assert f"{second.base.name} with runs/a (before" in compared
    led = " ".join(brulee("leaderboard", "runs/a", "runs/b").out.split())
    assert f"{second.base.name} with runs/a" in led
    inspected = brulee("adapters", "inspect", "runs/b").out
    assert f"start    runs/a (digest {start.digest[:12]}...)" in inspected
    assert (
        a.joinpath("adapter", WEIGHTS).read_bytes() != b.joinpath("adapter", WEIGHTS).read_bytes()
    )


@pytest.mark.parametrize("name", ["pissa", "fisher", "dora", "prompt"])
def test_a_killed_training_goes_on_to_the_same_bytes(
    at: Any, brulee: Any, once: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    train(at, once, ON_LLAMA[name])
    recipe = at.write("b.yaml", method={"start": "runs/a"}, train__save_every=2)
    assert brulee("train", recipe, "--folder", "runs/b").code == 0
    written = Recorder.step

    def cut(recorder: Recorder, step: int, **values: Any) -> None:
        written(recorder, step, **values)
        if step == 3:
            raise SystemError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "step", cut)
        with pytest.raises(SystemError):
            pipeline.train(load_recipe(recipe), folder="killed")
    done = brulee("resume", "killed")
    assert done.code == 0, done.err
    both = (Path(run, "adapter", WEIGHTS).read_bytes() for run in ("runs/b", "killed"))
    assert len({*both}) == 1


def test_a_start_that_changed_or_is_gone_is_refused_until_training_is_over(
    at: Any, brulee: Any, once: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(at, once, {"name": "lora", "rank": 2})
    recipe = at.write("b.yaml", method={"start": "runs/a"})
    with monkeypatch.context() as patched:
        patched.setattr("brulee.pipeline.tuning.store", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pipeline.run(load_recipe(recipe))
    shutil.move(first, "kept")
    assert brulee("train", at.write(method={"name": "lora", "rank": 2}, train__seed=1),
                  "--folder", "runs/other").code == 0  # fmt: skip
    shutil.copytree("runs/other/adapter", first)
    done = brulee("run", recipe)
    assert done.code == 2
    assert "the adapter that training starts from changed since this run began" in done.err
    shutil.rmtree("runs/a")
    done = brulee("resume", "runs/b")
    assert (done.code, done.errors[0][:27]) == (2, "error: runs/b/recipe.yaml, ")
    assert "runs/a: no such folder." in done.errors[0]
    shutil.copytree("kept", first)
    assert brulee("run", recipe).code == 0
    shutil.rmtree("runs/a")
    for command in (["run", recipe], ["resume", "runs/b"], ["report", "runs/b"],
                    ["generate", "runs/b", "--prompt", "Sum up: Ana"]):  # fmt: skip
        done = brulee(*command)
        assert done.code == 0, done.err


def test_what_only_training_uses_may_change(at: Any, brulee: Any, once: Any) -> None:
    train(at, once, {"name": "lora", "rank": 2, "plus_ratio": 4})
    same = {"name": "lora", "start": "runs/a/adapter", "rank": 2, "target": "all-linear"}
    for number, more in enumerate(({}, {"dropout": 0.2, "plus_ratio": 8})):
        folder = f"runs/{number}"
        done = brulee("train", at.write(method={**same, **more}), "--folder", folder)
        assert done.code == 0, done.err
        made = json.loads(Path(folder, "adapter/brulee.json").read_text())["method"]
        assert (made["plus_ratio"], made["dropout"]) == ((4, 0), (8, 0.2))[number]


LORA = {"name": "lora", "rank": 2}


def test_the_files_own_settings_count_where_its_record_says_others(
    at: Any, brulee: Any, once: Any
) -> None:
    record = train(at, once, LORA) / "brulee.json"
    edited = json.loads(record.read_text())
    edited["method"]["alpha"] = 99.0
    record.write_text(json.dumps(edited))
    done = brulee("train", at.write(method={"start": "runs/a"}, **STILL), "--folder", "runs/b")
    assert done.code == 0, done.err
    made = json.loads(Path("runs/b/adapter/brulee.json").read_text())
    assert made["method"]["alpha"] == 16.0


def test_options_that_need_each_other_may_be_left_to_the_adapter(
    at: Any, brulee: Any, once: Any
) -> None:
    some = {"name": "selective", "train": "layers"}
    train(at, once, {**some, "layers": {"last": 1}})
    done = brulee("train", at.write(method={**some, "start": "runs/a"}), "--folder", "runs/b")
    assert done.code == 0, done.err
    done = brulee("train", at.write(method={**some, "start": "runs/a", "layers": [0]}))
    assert (
        "method.layers = [0], but runs/a, from which training starts, has {'last': 1}" in done.err
    )


def test_a_start_from_the_command_line(at: Any, brulee: Any, once: Any) -> None:
    train(at, once, LORA)
    start = ("--set", "method.start=runs/a", "--folder", "runs/b")
    done = brulee("train", at.write(), *start)
    assert done.code == 0, done.err
    done = brulee("train", at.write(), *start, "--set", "method.name=ia3", "--fresh")
    assert done.errors == [
        "error: --set method.name: method.name = 'ia3', but runs/a, from which training starts, is "
        "of method lora; leave it out."
    ]
    done = brulee("train", at.write(method={**LORA, "strt": "runs/a"}))
    assert "unknown key 'method.strt'; did you mean 'start'?" in done.errors[0]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another rank": (
        {"method": {"start": "runs/a", "rank": 8}},
        "method.rank = 8, but runs/a, from which training starts, has 2; leave it out.",
    ),
    "another method": (
        {"method": {"start": "runs/a", "name": "ia3"}},
        "method.name = 'ia3', but runs/a, from which training starts, is of method lora",
    ),
    "no method at all": (
        {"method": {"start": "runs/a", "name": "lorra"}},
        "unknown method 'lorra'; did you mean 'lora'?",
    ),
    "an option of no method": (
        {"method": {"start": "runs/a", "rnk": 2}},
        "unknown key 'method.rnk'; did you mean 'rank'?",
    ),
    "full": (
        {"method": {"start": "runs/a", "name": "full"}},
        "method full trains a whole model, and runs/a is to be an adapter",
    ),
    "nothing there": ({"method": {"start": "runs/aa"}}, "runs/aa: no such folder. Did you mean"),
    "no adapter there": ({"method": {"start": "runs"}}, "runs: neither a run nor an adapter"),
    "itself": (
        {"method": {"start": "runs/../runs/a/adapter"}},
        "runs/../runs/a/adapter is in runs/a, the folder of this run itself",
    ),
    "another base": (
        {"method": {"start": "runs/a"}, "model": "copy"},
        "runs/a/adapter: made for the base",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_the_start_is_refused_in_one_sentence(
    at: Any, brulee: Any, once: Any, make_base: Any, case: str
) -> None:
    train(at, once, LORA)
    changes, says = REFUSED[case]
    if case == "another base":
        other = make_base("llama", seed=1)
        other.model.save_pretrained("copy")
        other.tokenizer.save_pretrained("copy")
    folder = "runs/a" if case == "itself" else "runs/b"
    done = brulee("run", at.write("b.yaml", **changes), "--folder", folder, "--fresh")
    assert (done.code, len(done.errors)) == (2, 1)
    assert done.errors[0].startswith("error: b.yaml, line ")
    assert says in done.errors[0]
    assert not Path("runs/b").exists()


def test_a_whole_model_is_named_as_the_model(at: Any, brulee: Any) -> None:
    assert brulee("train", at.write(method={"name": "full"}), "--folder", "runs/a").code == 0
    done = brulee("train", at.write("b.yaml", method={"start": "runs/a"}))
    assert done.code == 2
    assert (
        "runs/a: it is a whole model, not an adapter; name it as the model: runs/a/model"
        in (done.errors[0])
    )
    done = brulee("train", at.write("b.yaml", method={"name": "full"}, model="runs/a/model"))
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        ("method.rank=2,4", "method.rank = 4, but runs/a, from which training starts, has 2"),
        ("method.name=lora,ia3", "method.name is not for a sweep that starts from runs/a"),
        ("method.start=runs/a,runs/a/adapter", "method.start is not for a sweep: trials are"),
    ],
)
def test_axes_that_a_start_does_not_have_are_refused(
    at: Any, brulee: Any, once: Any, axis: str, says: str
) -> None:
    train(at, once, LORA)
    done = brulee("sweep", at.write("b.yaml", method={"start": "runs/a"}), "--set", axis)
    assert done.code == 2
    assert says in done.errors[0]


def test_a_sweep_from_an_adapter_compares_with_it(
    at: Any, brulee: Any, once: Any, unforeseen: None
) -> None:
    once("run", at.write(train__learning_rate=0.02), "--folder", "runs/a")
    recipe = at.write("b.yaml", method={"start": "runs/a"})
    done = brulee("sweep", recipe, "--set", "train.learning_rate=1e-3,1e-2")
    assert done.code == 0, done.err
    found = json.loads(Path("runs/b-sweep/sweep.json").read_text())
    assert found["base"].endswith(" with runs/a")
    chosen = results.read(Path("runs/b-sweep") / found["tested"][0]["run"])
    ended = {(s.task, s.metric): s.value for s in results.read("runs/a").scores if s.who == "tuned"}
    assert {(p.task, p.metric): p.base for p in chosen.comparisons} == ended


def test_plan_and_count_and_the_rate_finder_take_a_start(
    at: Any, brulee: Any, once: Any, tried_here: None
) -> None:
    train(at, once, {"name": "ia3"})
    recipe = at.write("b.yaml", method={"start": "runs/a"})
    planned = brulee("plan", recipe, "--method", "ia3", "--json")
    assert planned.code == 0, planned.err
    (line,) = planned.json["lines"]
    counted = brulee("methods", "count", recipe, "--method", "ia3", "--json").json["methods"][0]
    assert line["trainable"] == counted["trainable"] > 0
    assert brulee("train", recipe, "--find-lr").code == 0
