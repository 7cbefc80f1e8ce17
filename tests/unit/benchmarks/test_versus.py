"""Two trainings side by side: the same documents, unequal work refused, warm-up left out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def jobs(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("versus_jobs")


@pytest.fixture(scope="module")
def versus(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("versus_trl")


def run(**changes: Any) -> dict[str, Any]:
    """What a side reports of three steps, the first of them slow."""
    return {
        "seconds": [9.0, 1.0, 1.0],
        "tokens": [10, 20, 30],
        "losses": [3.0, 2.0, 1.0],
        "grad_norms": [1.0, 1.0, 1.0],
        "peak_memory_bytes": 100,
        **changes,
    }


def test_random_documents_have_exactly_the_length_and_learn_all_but_the_first(
    jobs: ModuleType,
) -> None:
    documents = jobs.random_documents(3, 16, 100)
    assert [(len(ids), learned) for ids, learned in documents] == [(16, 15)] * 3
    assert all(jobs.FIRST_ID <= i < 100 for ids, _ in documents for i in ids)
    assert documents == jobs.random_documents(3, 16, 100)
    assert documents[0] != documents[1]


def test_what_is_given_changes_a_pair_and_nothing_else_does(jobs: ModuleType) -> None:
    pair = jobs.PAIRS["qlora-7b-packed"]
    assert jobs.changed(pair, model=None, tokens=None) == pair
    changed = jobs.changed(pair, model="tiny", tokens=64)
    assert (changed.model, changed.tokens) == ("tiny", 64)
    assert changed.quantise == pair.quantise == "nf4"


@pytest.fixture
def tiny(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model instead of the bundled one, which is unpacked in half a minute."""
    monkeypatch.setattr("brulee.models.bundled.bundled_folder", lambda: tiny_model_folder)


def test_too_few_conversations_begin_again(jobs: ModuleType, tiny: None, tmp_path: Path) -> None:
    file = tmp_path / "two.jsonl"
    rows = ['{"dialogue": "A: Hello.", "summary": "A greets."}']
    rows += ['{"dialogue": "A: Good night.", "summary": "A leaves."}']
    file.write_text("\n".join(rows))
    documents = jobs._conversations(str(file), 5)
    assert documents[0] == documents[2] == documents[4] != documents[1] == documents[3]
    assert all(0 < learned < len(ids) for ids, learned in documents)


def test_random_ids_are_refused_for_a_model_whose_vocabulary_is_not_known(jobs: ModuleType) -> None:
    with pytest.raises(SystemExit, match="bundled"):
        jobs._random(jobs.Pair(tokens=8), 1)


def test_speed_is_that_of_the_steps_after_warming_up(versus: ModuleType) -> None:
    assert versus.speed(run(), 1) == 25.0
    assert versus.speed(run(), 2) == 30.0


def test_ratios_are_of_the_first_to_the_second(versus: ModuleType) -> None:
    peer = run(seconds=[9.0, 4.0, 6.0], peak_memory_bytes=400)
    found = versus.compared({"brulee": run(), "peer": peer}, 1)
    assert (found["speed_ratio"], found["memory_ratio"]) == (5.0, 0.25)
    assert found["seconds_of_all_steps"] == {"brulee": 11.0, "peer": 19.0}
    assert "reserved_ratio" not in found


def test_reserved_memory_is_compared_where_there_is_some(versus: ModuleType) -> None:
    sides = {"brulee": run(peak_reserved_bytes=30), "peer": run(peak_reserved_bytes=60)}
    assert versus.compared(sides, 1)["reserved_ratio"] == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": [10, 20, 31]},
        {"losses": [3.0, 2.0, 1.03]},
        {"grad_norms": [1.0, 0.0, 1.0]},
    ],
)
def test_unequal_work_is_refused(versus: ModuleType, changes: dict[str, Any]) -> None:
    versus.assert_equal_work(run(), run(losses=[3.01, 2.0, 1.0]))
    with pytest.raises(AssertionError):
        versus.assert_equal_work(run(), run(**changes))


def test_rounding_that_has_added_up_is_no_unequal_work(versus: ModuleType) -> None:
    """Two trainings in bfloat16 drift apart; the first steps tell whether they are the same."""
    many = {"tokens": [10] * 30, "grad_norms": [1.0] * 30, "seconds": [1.0] * 30}
    ours, late = [2.0] * 30, [2.0] * 20 + [2.05] * 10
    versus.assert_equal_work(run(**many, losses=ours), run(**many, losses=late))
    for off in ([2.0] * 10 + [2.05] * 20, [2.0] * 20 + [2.2] * 10):
        with pytest.raises(AssertionError):
            versus.assert_equal_work(run(**many, losses=ours), run(**many, losses=off))


def test_one_slow_step_does_not_move_the_middle_one(versus: ModuleType) -> None:
    ours = run(seconds=[9.0, 1.0, 1.0, 9.0], tokens=[10, 10, 10, 10])
    assert versus.middle(ours, 1) == 10.0
    peer = run(seconds=[9.0, 5.0, 5.0, 5.0], tokens=[10, 10, 10, 10])
    for side in (ours, peer):
        side["losses"] = [1.0] * 4
    found = versus.compared({"brulee": ours, "peer": peer}, 1)
    assert found["middle_speed_ratio"] == 5.0
    assert found["speed_ratio"] < 2


def test_no_side_waits_for_cudnn(versus: ModuleType, tmp_path: Path) -> None:
    """Which prepares attention for every new length, so that only the peer's would be slow."""
    tell = """
import json, os, sys
report = json.load(open(sys.argv[1]))["report"]
json.dump({"last": os.environ["TORCH_CUDNN_SDPA_DEPRIORITIZED"]}, open(report, "w"))
"""
    found = versus._run([sys.executable, "-W", "ignore", "-c", tell], {"scratch": str(tmp_path)})
    assert found == {"last": "1"}


def test_what_was_measured_is_kept_where_the_peer_fails(
    versus: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "versus.json"
    versus._add(target, "lora-64", {"runs": {}}, "unpaired")
    monkeypatch.setattr(versus, "job_of", lambda *_, **__: {"device": "cpu"})

    def sides(command: list[str], _: Any) -> dict[str, Any]:
        if "--side" not in command:
            raise SystemExit("no such peer")
        return run()

    monkeypatch.setattr(versus, "_run", sides)
    given = argparse.Namespace(
        model=None, batch_size=None, tokens=None, quantise=None, steps=3, warm_up=1, rank=16,
        device="cpu", data=None, models=tmp_path, peer="-", against="trl",
    )  # fmt: skip
    with pytest.raises(SystemExit, match="no such peer"):
        versus._pair(given, "lora-16", tmp_path, target)
    found = json.loads(target.read_text())
    assert found["pairs"] == {}
    assert found["unpaired"]["lora-16"]["tokens_per_second"] == {"brulee": 25.0}
    monkeypatch.setattr(versus, "_run", lambda *_: run())
    monkeypatch.setattr(versus, "draw", lambda *_: None)
    versus._add(target, "lora-16", versus._pair(given, "lora-16", tmp_path, target))
    found = json.loads(target.read_text())
    assert found["pairs"]["lora-16"]["speed_ratio"] == 1.0
    assert list(found["unpaired"]) == ["lora-64"]


def test_each_pair_has_the_machine_that_it_was_measured_on(
    versus: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brulee.pipeline import origin

    monkeypatch.setattr(versus, "draw", lambda *_: None)
    for pair, gpu in (("lora-16", "one"), ("lora-64", "another")):
        monkeypatch.setattr(origin, "machine", lambda gpu=gpu: {"gpu": gpu})
        versus._add(tmp_path / "versus.json", pair, {"runs": {}})
    found = json.loads((tmp_path / "versus.json").read_text())["pairs"]
    assert {pair: one["machine"]["gpu"] for pair, one in found.items()} == {
        "lora-16": "one",
        "lora-64": "another",
    }


def test_conversations_travel_as_token_ids(jobs: ModuleType, tiny: None, tmp_path: Path) -> None:
    """To a machine that has no tokenizer to make them."""
    file = tmp_path / "two.jsonl"
    rows = ['{"dialogue": "A: Hello.", "summary": "A greets."}']
    rows += ['{"dialogue": "A: Good night.", "summary": "A leaves."}']
    file.write_text("\n".join(rows))
    ids = tmp_path / "two.ids.json"
    jobs.write_ids(str(file), ids)
    plain = [(list(ids), learned) for ids, learned in jobs._conversations(str(file), 5)]
    assert jobs._conversations(str(ids), 5) == plain
    with pytest.raises(SystemExit, match=r"\.ids\.json"):
        jobs.write_ids(str(file), tmp_path / "two.json")
