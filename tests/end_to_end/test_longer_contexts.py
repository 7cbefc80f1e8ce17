"""Scaled rotary positions go with what was trained on them, from the plan to the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.errors import InputError
from brulee.inference.adapters import open_adapters
from brulee.inference.session import open_session
from brulee.models.loading import load_base

FROM = "original_max_position_embeddings"
YARN = {"rope_type": "yarn", "factor": 2.0}
HELD = {**YARN, FROM: 512}  # the tiny model has 512 positions
LONG = {"train__max_length": 700, "train__max_steps": 2, "evaluate__guards": []}


def scaled(at: Any, file: str, scaling: Any, **more: Any) -> str:
    model = {"name": str(at.model), "rope_scaling": scaling}
    recipe: str = at.write(file, model=model, **{**LONG, **more})
    return recipe


@pytest.mark.parametrize("method", ["lora", "prefix", "full"])
def test_what_is_trained_on_longer_texts_is_used_on_them(at: Any, brulee: Any, method: str) -> None:
    done = brulee("train", scaled(at, "a.yaml", "yarn", method={"name": method}), "--folder", "a")
    assert done.code == 0, done.err
    folder = Path("a", "model" if method == "full" else "adapter")
    record = json.loads((folder / "brulee.json").read_text())
    assert record["base"]["rope_scaling"] == HELD
    assert json.loads(Path("a/manifest.json").read_text())["base"]["rope_scaling"] == HELD
    session = open_session("a", device="cpu", precision="float32")
    assert session.base.model.config.rope_parameters.items() >= HELD.items()
    assert session.engine.context == 1024 - (session.attached.reserved if session.attached else 0)
    if method == "lora":
        said = "`rope_parameters` of the base: `"
        assert said in (folder / "README.md").read_text()
        assert brulee("adapters", "merge", "a", "--out", "whole").code == 0
        config = json.loads(Path("whole/config.json").read_text())
        assert config["rope_parameters"].items() >= HELD.items()
        assert config["max_position_embeddings"] == 1024
        whole = load_base("whole", torch.float32, torch.device("cpu")).model
        ids = torch.arange(5, 300).repeat(3)[None]
        with torch.no_grad():
            found, wanted = (m(ids).logits for m in (whole, session.base.model))
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        done = brulee("adapters", "export", "a", "--out", "a.gguf")
        assert (done.code, "its rotary positions are scaled (yarn)" in done.err) == (2, True)
        done = brulee("adapters", "export", "a", "--out", "a.gguf", "--to", "gguf-lora")
        assert (done.code, "its rotary positions are scaled (yarn)" in done.err) == (2, True)


def test_a_run_is_one_of_its_scaling(at: Any, brulee: Any) -> None:
    recipe = scaled(at, "a.yaml", YARN, train__max_length=256)
    assert brulee("train", recipe, "--folder", "a").code == 0
    assert brulee("train", recipe, "--folder", "a").code == 0
    other = scaled(at, "a.yaml", {**YARN, "factor": 4.0}, train__max_length=256)
    done = brulee("train", other, "--folder", "a")
    assert done.code == 2
    assert "model.rope_scaling.factor is 2.0 there and 4.0 now" in done.err
    assert brulee("resume", "a").code == 0
    start = at.write("c.yaml", method={"start": "a"}, train__max_steps=1)
    done = brulee("train", start, "--folder", "c")
    assert done.code == 0, done.err
    held = json.dumps(HELD, sort_keys=True)
    said = f"a was trained with rotary positions scaled by {held}; now: as in"
    assert said in " ".join(done.err.split())


def test_adapters_of_one_scaling_are_served_together_and_others_refused(
    at: Any, brulee: Any, once: Any
) -> None:
    short = {"train__max_length": 256, "train__max_steps": 1}
    for name, scaling in (("a", YARN), ("b", YARN), ("c", None)):
        more = {**short, "train__seed": ord(name)}
        once("train", scaled(at, f"{name}.yaml", scaling, **more), "--folder", name)
    held = open_adapters({"a": "a", "b": "b"}, device="cpu", precision="float32")
    alone = open_session("b", device="cpu", precision="float32").complete(["Sum up"], 5)
    assert held.complete(["Sum up"] * 2, ["a", "b"], 5)[1:] == alone
    with pytest.raises(InputError, match="no one base computes both"):
        held.add("c", "c")
    with pytest.raises(InputError, match="adapter 'a' has rotary positions scaled by "):
        open_adapters({"a": "a", "c": "c"}, device="cpu", precision="float32")
    done = brulee("adapters", "combine", "a", "c", "--out", "d")
    assert (done.code, "no one base computes both" in done.err) == (2, True)
    done = brulee("adapters", "combine", "a", "b", "--out", "d")
    assert done.code == 0, done.err
    found = open_session("d", device="cpu", precision="float32")
    assert found.base.rope_scaling == HELD


@pytest.mark.usefixtures("tried_here")
def test_a_plan_and_a_length_are_those_of_the_scaled_model(at: Any, brulee: Any) -> None:
    done = brulee("train", at.write(**LONG))
    assert done.code == 2
    assert (
        "train.max_length = 700 is more than the 512 tokens that this model can read; "
        in (done.errors[0])
    )
    assert done.errors[0].endswith("model.rope_scaling takes it further.")
    recipe = scaled(at, "a.yaml", YARN, data__limit=8)
    done = brulee("plan", recipe, "--method", "lora", "--json")
    assert done.code == 0, done.err
    done = brulee("train", scaled(at, "a.yaml", YARN, train__max_length=1500))
    assert done.code == 2
    assert "train.max_length = 1500" in done.err
    assert "1024" in done.err


def test_a_model_without_such_positions_is_named_with_the_line(
    at: Any, brulee: Any, tiny_t5_folder: Path
) -> None:
    at.model = tiny_t5_folder
    for command in ("train", "plan"):
        done = brulee(command, scaled(at, "a.yaml", YARN))
        assert done.code == 2
        assert len(done.errors) == 1
        assert "a.yaml, line 1" in done.errors[0]
        assert "is a t5 model, whose configuration has no rotary positions" in (
            " ".join(done.err.split())
        )
