"""The tokenizer alone, from wherever a model may lie."""

import shutil
from pathlib import Path

import pytest

from brulee.errors import InputError
from brulee.models import tokenizers
from brulee.models.bundled import NAME
from brulee.models.tokenizers import load_encoder, load_tokenizer
from brulee.recipe import recipe_from_dict


@pytest.fixture
def bare(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A model's folder without its weights."""
    ignored = shutil.ignore_patterns("*.safetensors")
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "bare", ignore=ignored))


def test_a_folder_needs_no_weights(bare: Path) -> None:
    tokenizer, kind = load_tokenizer(str(bare))
    assert kind == "causal"
    assert tokenizer.chat_template


def test_an_encoder_decoder_is_known_by_its_config(tiny_t5_folder: Path) -> None:
    assert load_tokenizer(str(tiny_t5_folder))[1] == "seq2seq"


def test_the_bundled_models_weights_are_not_read_again(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRULEE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(bare, tmp_path / "cache" / "models" / NAME)
    monkeypatch.setattr(tokenizers, "bundled_folder", None)
    assert load_tokenizer("bundled")[1] == "causal"


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its tokenizer cannot be loaded"):
        load_tokenizer(str(tmp_path))


def test_a_name_that_is_nowhere_lists_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        InputError, match=r"model 'no/such/model': no such folder.*Valid: bundled, a folder"
    ):
        load_tokenizer("no/such/model")


def test_the_encoder_is_the_recipes(bare: Path) -> None:
    data = {"source": "rows.csv", "templates": "rte", "system": "Be brief."}
    values = {"model": str(bare), "data": data, "train": {"max_length": 99}}
    encoder = load_encoder(recipe_from_dict(values))
    assert encoder.max_length == 99
    assert "Be brief." in encoder.prompt_text("?")
