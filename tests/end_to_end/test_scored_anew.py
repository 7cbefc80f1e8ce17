"""A finished run may be asked for other scores: the training is kept, and what was answered too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from brulee.pipeline.folder import RunFolder
from brulee.reporting import results

RUN, STRAIGHT = Path("runs/recipe"), Path("runs/straight")
ASKED = {"metrics": ["rouge"], "generation": {"max_new_tokens": 4}, "resamples": 100}


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prompts every call of the engine was given."""
    from brulee.inference.engine import Engine

    found: list[int] = []
    generate = Engine.generate

    def counted(self: Engine, prompts: Any, *rest: Any, **named: Any) -> Any:
        found.append(len(prompts))
        return generate(self, prompts, *rest, **named)

    monkeypatch.setattr(Engine, "generate", counted)
    return found


@pytest.fixture
def scored(at: Any, once: Any) -> None:
    """A finished run."""
    once(*at.run(evaluate=ASKED), "--folder", RUN)


def run(at: Any, brulee: Any, folder: Path = RUN, **evaluate: Any) -> Any:
    done = brulee(*at.run(evaluate=ASKED | evaluate), "--folder", folder)
    assert done.code == 0, done.err
    return done


def weights(folder: Path = RUN) -> dict[Path, tuple[int, bytes]]:
    files = [*(folder / "adapter").glob("adapter_*"), folder / "events.jsonl"]
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def answers(folder: Path, who: str, task: str = "rows-test") -> list[dict[str, Any]]:
    lines = (folder / "eval" / who / f"{task}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def files(folder: Path, suffix: str) -> list[str]:
    return sorted(file.name for file in (folder / "eval").rglob(f"*{suffix}"))


def test_other_metrics_cost_no_training_and_no_generation(
    at: Any, brulee: Any, scored: None, generated: list[int]
) -> None:
    trained, before = weights(), (RUN / "results.json").read_bytes()
    generated.clear()
    done = run(at, brulee, metrics=["bleu", "exact_match"])
    assert sum(generated) == 0
    assert weights() == trained
    assert "Training" not in done.err
    assert (
        f"{RUN}: scored again, because evaluate.metrics was ['rouge'] and is ['bleu', "
        "'exact_match']. results.1.json has the previous scores." in " ".join(done.err.split())
    )
    assert (RUN / "results.1.json").read_bytes() == before
    assert (RUN / "report.1.html").is_file()
    run(at, brulee, STRAIGHT, metrics=["bleu", "exact_match"])
    again, straight = results.read(RUN), results.read(STRAIGHT)
    assert again.scores == straight.scores
    assert again.comparisons == straight.comparisons
    for who in ("base", "tuned"):
        assert answers(RUN, who) == answers(STRAIGHT, who)
    assert yaml.safe_load((RUN / "recipe.yaml").read_text())["evaluate"]["metrics"] == [
        "bleu", "exact_match"
    ]  # fmt: skip
    card = (RUN / "adapter/README.md").read_text()
    assert "exact_match" in card.split("```yaml")[1]


def test_a_guard_more_asks_for_nothing_else(
    at: Any, brulee: Any, scored: None, generated: list[int]
) -> None:
    trained = weights()
    generated.clear()
    run(at, brulee, guards=["plain-prose"], guard_limit=3)
    assert sum(generated) == 0, "the task's answers were there"
    assert weights() == trained
    assert [found.task for found in results.read(RUN).forgetting] == ["plain-prose"]
    assert len(answers(RUN, "tuned", "plain-prose")) == 3
    run(at, brulee, metrics=["bleu"])
    assert results.read(RUN).forgetting == ()
    assert sorted(p.name for p in RUN.glob("re*.json")) == [
        "results.1.json", "results.2.json", "results.json"
    ]  # fmt: skip
    assert files(RUN, ".jsonl") == ["rows-test.jsonl"] * 2
    assert files(RUN, ".spare") == ["plain-prose.spare"] * 2
    assert brulee("report", RUN).code == 0


def test_what_a_limit_left_out_is_not_asked_for_twice(
    at: Any, brulee: Any, scored: None, generated: list[int]
) -> None:
    whole = answers(RUN, "tuned")
    run(at, brulee, limit=2)
    kept = answers(RUN, "tuned")
    assert len(kept) == 2
    assert all(answer in whole for answer in kept)
    assert {score.n for score in results.read(RUN).scores} == {2}
    generated.clear()
    run(at, brulee)
    assert sum(generated) == 0
    assert answers(RUN, "tuned") == whole
    assert files(RUN, ".spare") == []


def test_longer_completions_are_generated_anew(
    at: Any, brulee: Any, scored: None, generated: list[int]
) -> None:
    generated.clear()
    longer = {"max_new_tokens": 6}
    run(at, brulee, generation=longer)
    assert generated == [6, 6]
    run(at, brulee, STRAIGHT, generation=longer)
    assert results.read(RUN).scores == results.read(STRAIGHT).scores


@pytest.mark.parametrize(
    "other",
    [{"beams": 3, "length_penalty": -2.0}, {"repetition_penalty": 9.0}, {"temperature": 3.0}],
    ids=lambda other: next(iter(other)),
)
def test_answers_chosen_in_another_way_are_other_answers(
    at: Any, brulee: Any, scored: None, generated: list[int], other: dict[str, float]
) -> None:
    before = [one["output"] for one in answers(RUN, "base")]
    generated.clear()
    run(at, brulee, generation={"max_new_tokens": 4, **other})
    assert generated == [6, 6]
    assert [one["output"] for one in answers(RUN, "base")] != before


def test_ways_of_choosing_that_exclude_each_other_are_refused(
    at: Any, brulee: Any, scored: None
) -> None:
    both = {"beams": 2, "repetition_penalty": 1.2}
    done = brulee(*at.run(evaluate={**ASKED, "generation": both}), "--folder", RUN)
    assert (done.code, done.err.splitlines()[-1]) == (
        2,
        "error: recipe.yaml, line 5: evaluate.generation: beams = 2 is not valid with a penalty on "
        "repetition; leave it out.",
    )


def test_a_scoring_that_was_stopped_goes_on(
    at: Any, brulee: Any, scored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = weights()
    with monkeypatch.context() as broken:
        broken.setattr("brulee.pipeline.write_up", lambda *_: (_ for _ in ()).throw(MemoryError()))
        changed = at.run(evaluate=ASKED | {"metrics": ["bleu"]})
        with pytest.raises(MemoryError):
            brulee(*changed)
    told = brulee("compare", RUN, shutil.copytree(RUN, RUN.with_name("again")))
    assert (told.code, "this run is not fully scored yet" in told.err) == (2, True)
    assert brulee("resume", RUN).code == 0
    assert {score.metric for score in results.read(RUN).scores} == {"bleu"}
    assert weights() == trained


@pytest.mark.parametrize("command", ["run", "resume"])
def test_the_runs_own_recipe_may_be_edited(
    at: Any, brulee: Any, scored: None, command: str
) -> None:
    file = RUN / "recipe.yaml"
    file.write_text(file.read_text().replace("- rouge\n", "- bleu\n"))
    again = ["resume", RUN] if command == "resume" else ["run", file, "--folder", RUN]
    done = brulee(*again)
    assert done.code == 0, done.err
    assert {score.metric for score in results.read(RUN).scores} == {"bleu"}


def test_training_again_leaves_the_scores(at: Any, brulee: Any, scored: None) -> None:
    before = (RUN / "results.json").read_bytes()
    recipe = at.write(evaluate=ASKED | {"metrics": ["bleu"]})
    assert brulee("train", recipe).code == 0
    assert (RUN / "results.json").read_bytes() == before


def test_a_tasks_own_metrics_may_change_in_a_mixture(at: Any, brulee: Any) -> None:
    tasks = [at.recipe["data"] | {"name": name} for name in ("one", "two")]
    assert brulee(*at.run(data={"tasks": tasks}, evaluate=ASKED)).code == 0
    trained = weights()
    tasks[1]["metrics"] = ["exact_match"]
    done = brulee(*at.run(data={"tasks": tasks}, evaluate=ASKED))
    assert done.code == 0, done.err
    assert "data.tasks.1.metrics was None and is ['exact_match']" in " ".join(done.err.split())
    assert weights() == trained
    scored = {(s.task, s.metric) for s in results.read(RUN).scores}
    assert {task for task, key in scored if key == "exact_match"} == {"two/test"}
    assert {task for task, key in scored if key == "rouge1"} == {"one/test"}
    tasks[1]["weight"] = 2.0
    refused = brulee(*at.run(data={"tasks": tasks}, evaluate=ASKED))
    assert refused.code == 2
    assert "already holds a different recipe: data.tasks is" in " ".join(refused.err.split())


def test_seconds_add_up_over_starts(tmp_path: Path, at: Any) -> None:
    from brulee.recipe import load_recipe

    folder = RunFolder(tmp_path, load_recipe(at.write()), "run")
    (tmp_path / "eval").mkdir()
    assert folder.add_seconds("base", 1.5) == 1.5
    assert folder.add_seconds("tuned", 0.5) == 0.5
    assert folder.add_seconds("base", 2.0) == 3.5
