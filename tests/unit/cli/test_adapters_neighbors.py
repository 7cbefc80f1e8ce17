"""`brulee adapters neighbors`: what it prints, for people and for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from brulee.cli.adapters_inspect import inspect
from brulee.cli.adapters_neighbors import neighbors
from brulee.methods.prompt import Prompt, PromptOptions
from brulee.methods.storing import save_adapter
from brulee.models.loading import load_base


@pytest.fixture
def run(tiny_model_folder: Path, tmp_path: Path) -> Path:
    base = load_base(str(tiny_model_folder), torch.float32, torch.device("cpu"))
    attached = Prompt(PromptOptions(tokens=3)).attach(base.model)
    save_adapter(tmp_path / "adapter", attached, base, str(tiny_model_folder), "", {})
    return tmp_path


def test_a_table_names_every_token_and_the_baselines(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    neighbors(str(run), top=2)
    out = capsys.readouterr().out
    assert "3 virtual tokens" in out
    assert "tightness" in out
    for sentence in (
        "mean cosine of all pairs",
        "Of random directions:",
        "vocabulary's own tokens:",
    ):
        assert sentence in out
    # A token's text may be white space or half a character: it is shown quoted.
    assert out.count("'") + out.count('"') >= 2 * 3 * 2


def test_json_holds_every_number_and_says_what_the_statistic_is(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    neighbors(str(run), top=4, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == str(run / "adapter")
    assert "mean cosine" in found["statistic"]
    assert [len(token["nearest"]) for token in found["tokens"]] == [4, 4, 4]
    assert found["tokens"][0]["nearest"][0].keys() == {"id", "text", "cosine", "distance"}
    for baseline in ("random", "own"):
        assert found[baseline].keys() == {"mean", "low", "high", "p"}
        assert 0 < found[baseline]["p"] <= 1


def test_a_seed_that_no_generator_takes_is_refused(brulee, run: Path) -> None:
    assert brulee("adapters", "neighbors", run, "--seed", 2**63 - 1).code == 0
    done = brulee("adapters", "neighbors", run, "--seed", 10**23)
    assert (done.code, done.out) == (2, "")
    assert "--seed" in done.err


def test_a_prompts_single_tensor_is_counted_as_one(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inspect(str(run))
    assert " values in 1 tensor, " in capsys.readouterr().out
