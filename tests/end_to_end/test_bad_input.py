"""Whatever a person gets wrong is one sentence and exit code 2, and nothing is lost."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

BAD: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "bad_inputs.py"))
ROWS = BAD["ROWS"]


@pytest.mark.parametrize("case", BAD["CASES"], ids=[c.title for c in BAD["CASES"]])
def test_bad_input_is_one_sentence(case: Any, at: Any, brulee: Any, once: Any) -> None:
    for arguments in case.first(at):
        once(*arguments)
    arguments = case.arrange(at)
    before = contents(at.folder)
    done = brulee(*arguments)
    assert (done.code, len(done.errors)) == (2, 1), done.err
    assert case.says in done.errors[0]
    assert "Traceback" not in done.err
    after = contents(at.folder)
    assert {file: after.get(file) for file in before} == before


def test_few_empty_completions_are_counted_and_left_out(at: Any, brulee: Any) -> None:
    at.rows([{**ROWS[0], "summary": " "}, *ROWS[1:]])
    assert brulee("train", at.write()).code == 0
    split = json.loads((at.folder / "runs/recipe/split.json").read_text())
    assert split["rows"]["empty completion"] == 1
    assert sum(split["used"].values()) == len(ROWS) - 1


def test_mended_recipe_runs_where_the_refused_one_would_have(at: Any, brulee: Any) -> None:
    assert brulee(*at.run(evaluate__metrics=["rogue"])).code == 2
    assert brulee("train", at.write()).code == 0


def test_refused_recipe_does_not_move_the_earlier_run_aside(
    at: Any, brulee: Any, once: Any
) -> None:
    once("train", at.write(train__max_steps=1))
    before = contents(at.folder / "runs")
    at.write(evaluate__metrics=["rogue"])
    assert brulee("train", "recipe.yaml", "--fresh").code == 2
    assert contents(at.folder / "runs") == before


def test_fresh_moves_nothing_that_is_no_run(at: Any, brulee: Any) -> None:
    (at.folder / "letters").mkdir()
    (at.folder / "letters" / "to-ana.txt").write_text("Dear Ana")
    done = brulee(*at.run(), "--folder", "letters", "--fresh")
    assert (done.code, (at.folder / "letters" / "to-ana.txt").exists()) == (2, True)


@pytest.mark.parametrize(
    ("change", "says"),
    [("rows", "the data changed since this run began"), ("model", "the base model changed")],
)
def test_run_is_not_continued_on_other_inputs(
    at: Any, brulee: Any, once: Any, change: str, says: str
) -> None:
    at.recipe["model"] = "copy"
    weights = at.copy_of_model() / "model.safetensors"
    once("train", at.write(train__max_steps=1))
    if change == "rows":
        at.rows(ROWS[:-1])
    else:
        data = weights.read_bytes()
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = brulee("resume", "runs/recipe")
    assert done.code == 2
    assert says in done.errors[0]


def test_file_that_a_pattern_matches_later_is_named(at: Any, brulee: Any, once: Any) -> None:
    once("train", at.write(train__max_steps=1, data__source="row?.jsonl"))
    (at.folder / "rowz.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    done = brulee("resume", "runs/recipe")
    assert done.code == 2
    assert (
        "the data changed since this run began (manifest.json, 'data'): rowz.jsonl is new"
        in (done.errors[0])
    )


def test_diverged_training_records_every_row_of_the_step(at: Any, brulee: Any) -> None:
    diverging = {"learning_rate": 1e30, "warmup": 0.0, "batch_size": 16, "epochs": 2}
    done = brulee(*at.run(train=at.recipe["train"] | diverging))
    assert done.code == 2
    assert f"... (all 16 in {Path('runs/recipe/events.jsonl')})" in done.errors[0]
    last = json.loads((at.folder / "runs/recipe/events.jsonl").read_text().splitlines()[-1])
    # It is the last step: no other would show that the weights before it are of any use.
    assert (last["event"], last["step"], len(last["rows"])) == ("stopped", 2, 16)


def test_weights_that_are_not_finite_are_never_stored(at: Any, brulee: Any) -> None:
    overflowing = {"learning_rate": 1e39, "warmup": 0.0, "max_steps": 1}
    done = brulee(*at.run(train=at.recipe["train"] | overflowing))
    assert done.code == 2
    assert "step 1: it left weights that are not finite" in done.errors[0]
    assert not (at.folder / "runs/recipe/adapter").exists()


@pytest.mark.parametrize("file", ["manifest.json", "recipe.yaml"])
def test_damaged_run_folder_is_named(at: Any, brulee: Any, once: Any, file: str) -> None:
    once("train", at.write(train__max_steps=1))
    (at.folder / "runs/recipe" / file).write_text("[")
    done = brulee("resume", "runs/recipe")
    assert done.code == 2
    assert f"runs/recipe/{file}" in done.errors[0]


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_target_that_the_model_lacks_is_refused_before_anything_is_written(
    at: Any, brulee: Any
) -> None:
    done = brulee(*at.run(method={"name": "lora", "target": "q_prj"}))
    assert done.code == 2
    assert "did you mean 'q_proj'" in done.err
    assert not Path("runs/recipe").exists()
    assert (
        brulee(*at.run(method={"name": "lora", "target": "q_proj"}, train__max_steps=1)).code == 0
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train__device": "cuda:99"}, "line 4: device 'cuda:99': this machine has "),
        ({"train__device": "gpu"}, "line 4: device 'gpu' is not known; valid: auto, cpu"),
        (
            {"train__device": "cpu", "train__optimizer": "paged_adamw8bit"},
            "line 4: train.optimizer",
        ),
        ({"evaluate__data": {"mlmu": "."}}, "line 5: unknown suite 'mlmu'; did you mean 'mmlu'?"),
        (
            {"evaluate__data": {"mmlu": "nowhere"}},
            "line 5: nowhere: no such folder; it should have the official files of mmlu.",
        ),
    ],
)
def test_what_this_machine_or_no_suite_has_is_refused_before_a_folder_is_written(
    at: Any, brulee: Any, changed: dict[str, Any], said: str
) -> None:
    done = brulee(*at.run(**changed))
    assert done.code == 2
    assert f"recipe.yaml, {said}" in done.err
    assert not (at.folder / "runs").exists()
