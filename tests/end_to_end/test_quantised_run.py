"""A run on a base in four bits: measured on it before and after, said so, and refused in full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.models.loading import load_base
from brulee.reporting import results

pytest.importorskip("bitsandbytes")
RUN = Path("runs/recipe")


def _quantise(at: Any) -> None:
    at.recipe["model"] = {"name": str(at.recipe["model"]), "quantise": "nf4"}


def _store(folder: str, model: Path) -> None:
    base = load_base(str(model), torch.float32, torch.device("cpu"), quantise="nf4")
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)


def test_a_run_says_how_its_base_was_held(at: Any, brulee: Any) -> None:
    _quantise(at)
    called = brulee(*at.run())
    assert called.code == 0, called.err
    found = results.read(RUN)
    assert found.base.quantised == "nf4"
    assert found.cost.total_parameters > 20_000  # and not one for every two
    manifest = json.loads((RUN / "manifest.json").read_text())
    assert manifest["base"]["quantised"] == "nf4"
    assert "held in NF4" in (RUN / "adapter/README.md").read_text()
    # Asked again, it answers as it was scored: over the same four bits.
    lines = (RUN / "eval/tuned/rows-test.jsonl").read_text().splitlines()
    answer = json.loads(lines[0])
    asked = ("--prompt", answer["prompt"], "--max-new-tokens", 4)
    again = brulee("generate", RUN, *asked)
    assert (again.code, again.out) == (0, answer["output"] + "\n")


def test_the_base_itself_is_scored_in_four_bits(at: Any, brulee: Any) -> None:
    plain = brulee(*at.run(), "--folder", "plain")
    _quantise(at)
    quantised = brulee(*at.run(), "--folder", "nf4")
    assert (plain.code, quantised.code) == (0, 0)
    outputs = [
        [json.loads(line)["output"] for line in file.read_text().splitlines()]
        for file in (Path(n) / "eval/base/rows-test.jsonl" for n in ("plain", "nf4"))
    ]
    assert outputs[0] != outputs[1]


def test_an_adapter_is_trained_further_over_four_bits(at: Any, brulee: Any) -> None:
    pissa = {"name": "lora", "rank": 2, "init": "pissa"}  # which four bits alone cannot begin with
    assert brulee("train", at.write(method=pissa), "--folder", "runs/first").code == 0
    _quantise(at)
    called = brulee(*at.run(method={"start": "runs/first"}))
    assert called.code == 0, called.err
    assert (
        "runs/first was trained on this base in full precision, and goes on in nf4." in called.err
    )
    found = results.read(RUN)
    assert found.base.before == f"{found.base.name} with runs/first"
    assert found.verdict.startswith("PiSSA r2, trained further from runs/first, ")


def test_full_tuning_has_nothing_to_train_there(at: Any, brulee: Any) -> None:
    _quantise(at)
    called = brulee(*at.run(method={"name": "full"}))
    assert called.code == 2
    assert "method full trains the weights themselves, and a quantised base has none" in called.err
    assert "recipe.yaml, line" in called.err


def test_a_model_that_is_stored_in_four_bits_is_one(
    at: Any, brulee: Any, tiny_model_folder: Path
) -> None:
    _store("stored", tiny_model_folder)
    called = brulee(*at.run(model="stored", method={"name": "full"}))
    assert called.code == 2
    assert "recipe.yaml, line 1: method full trains the weights themselves" in called.err
    called = brulee(*at.run(model="stored", method={"name": "lora"}))
    assert called.code == 0, called.err
    assert results.read(RUN).base.quantised == "nf4"
    assert brulee("adapters", "merge", RUN, "--out", "merged").code == 0


@pytest.mark.slow
def test_a_plan_holds_it_in_four_bits(at: Any, brulee: Any, tiny_model_folder: Path) -> None:
    _store("stored", tiny_model_folder)
    planned = brulee("plan", at.write(model="stored"), "--method", "full", "--json")
    lora, full = planned.json["lines"]
    assert (lora["refusal"], lora["fits"]) == (None, True)
    assert "a quantised base has none to train" in full["refusal"]


def test_an_unknown_kind_is_refused(at: Any, brulee: Any) -> None:
    at.recipe["model"] = {"name": str(at.recipe["model"]), "quantise": "int3"}
    called = brulee(*at.run())
    assert called.code == 2
    assert "model.quantise = 'int3' is not valid" in called.err
