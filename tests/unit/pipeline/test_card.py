"""A model card names a base that others find, or none; and the kind of model that it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from brulee.errors import InputError
from brulee.pipeline.card import _scores, model_card
from brulee.pipeline.folder import open_run
from brulee.pipeline.forgetting import judged
from brulee.pipeline.preparation import prepare
from brulee.recipe import load_recipe
from brulee.reporting.results import Base, Forgetting, Method, Results, Training

ROWS = [{"q": f"Where is parcel {i}?", "a": f"In hall {i}."} for i in range(8)]
MakeCard = Callable[..., str]


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeCard:
    """The card of an adapter on a model, trained on a few rows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    recipe = {
        "data": {
            "source": "rows.jsonl",
            "templates": {"prompt": "{{ q }}", "completion": "{{ a }}"},
        },
        "train": {"device": "cpu", "precision": "float32", "max_length": 128},
    }

    def make(model: str, method: str = "lora") -> str:
        values = {"model": model, "method": {"name": method}, **recipe}
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(values))
        run = open_run(load_recipe(tmp_path / "r.yaml"), "train", tmp_path / "run", False)
        training = Training(steps=2, planned_steps=2, kept_step=2)
        return model_card(prepare(run, begin=False), training)

    return make


def _head(text: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return values


def test_a_base_that_lies_here_is_told_by_its_digest(
    card: MakeCard, tiny_model_folder: Path
) -> None:
    text = card(str(tiny_model_folder))
    assert "base_model" not in _head(text)
    assert "it was a local model: use one with this digest" in text
    assert _head(text)["pipeline_tag"] == "text-generation"


def test_the_end_of_answers_that_the_bases_generation_does_not_know_is_told(
    card: MakeCard, tiny_model_folder: Path
) -> None:
    told = "- its answers end with `<|im_end|>` (4); the base's generation does not stop there"
    assert told in card(str(tiny_model_folder))
    assert "its answers end with" not in card(str(tiny_model_folder), "full")


@pytest.mark.parametrize(("method", "what"), [("lora", "A LoRA r8"), ("ia3", "An IA3")])
def test_a_method_has_its_article_and_only_the_options_that_are_set(
    card: MakeCard, tiny_model_folder: Path, method: str, what: str
) -> None:
    text = card(str(tiny_model_folder), method)
    assert f"{what} adapter for `tiny-llama`, trained on:" in text
    (line,) = (line for line in text.splitlines() if line.startswith("- method: "))
    assert "{}" not in line


def test_the_bundled_model_goes_by_the_name_that_others_know(
    card: MakeCard, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brulee.models.loading.bundled_folder", lambda: tiny_model_folder)
    text = card("bundled")
    assert _head(text)["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "of the 4-bit copy that comes with brulee" in text


def test_a_base_that_was_tuned_whole_is_looked_at_for_damage(
    card: MakeCard, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model_folder, tmp_path / "whole")
    (folder / "brulee.json").write_text('{"weights_digest": "another"}')
    with pytest.raises(InputError, match="whole: its weights are not those that were saved"):
        card(str(folder))


def test_an_encoder_decoder_writes_text_for_text(card: MakeCard, tiny_t5_folder: Path) -> None:
    assert _head(card(str(tiny_t5_folder)))["pipeline_tag"] == "text2text-generation"


def test_the_scores_have_the_p_that_decided() -> None:
    lost = Forgetting(
        task="plain-prose", metric="accuracy", base=0.5, tuned=0.4, difference=-0.1, low=-0.2,
        high=-0.01, p=0.03, kept="forgot",
    )  # fmt: skip
    found = Results(run="r", base=Base(name="b", digest="d"), method=Method(name="lora"))
    alone = "\n".join(_scores(found.model_copy(update={"forgetting": (lost,)})))
    assert "| p |" in alone
    assert alone.endswith("| 0.0300 |")
    many = judged([lost, lost.model_copy(update={"task": "other"})])
    among = "\n".join(_scores(found.model_copy(update={"forgetting": many})))
    assert "| p (Holm) |" in among
    assert among.endswith("| 0.0600 |")
