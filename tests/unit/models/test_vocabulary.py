"""A tokenizer with more tokens than its model has vectors: what has one of them is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.inference.engine import Engine
from brulee.inference.session import open_session
from brulee.methods import build_method
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base, load_base
from brulee.models.vocabulary import refuse_unknown_tokens
from brulee.recipe import MethodSpec, TrainSpec
from brulee.training.documents import Document
from brulee.training.passes import Passes
from brulee.training.trainer import Trainer

SAID = r"its tokenizer writes 'stars' as 300, but the model has vectors for 300 tokens"
CPU = torch.device("cpu")


def _load(folder: Path) -> Base:
    return load_base(str(folder), torch.float32, CPU)


@pytest.fixture(params=["llama", "t5"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model whose tokenizer was given a token."""
    saved = request.getfixturevalue(
        "tiny_t5_folder" if request.param == "t5" else "tiny_model_folder"
    )
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    tokenizer = _load(folder).tokenizer
    assert tokenizer.add_tokens(["stars"]) == 1
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", [None, "lora", "prompt", "prefix"])
def test_a_text_with_a_token_that_the_model_lacks_is_refused_by_the_token(
    folder: Path, tmp_path: Path, method: str | None
) -> None:
    target = folder
    if method is not None:
        base, target = _load(folder), tmp_path / "adapter"
        attached = build_method(MethodSpec(name=method)).attach(base.model)
        save_adapter(target, attached, base, str(folder), "", {})
    session = open_session(str(target), "cpu", "float32")
    assert session.complete(["Is it good?"], max_new_tokens=2)
    with pytest.raises(InputError, match=SAID):
        session.complete(["Is it stars?"], max_new_tokens=2)


def test_a_prompt_is_not_trained_on_words_taken_for_its_own_tokens(
    folder: Path, tmp_path: Path
) -> None:
    base = _load(folder)
    attached = build_method(MethodSpec(name="prompt", tokens=2)).attach(base.model)
    document = Encoded.ending((*attached.prefix_ids, 7, 300, 9, 2), 2)
    trainer = Trainer(
        base,
        attached,
        lambda i: Document(str(i), document),
        1,
        TrainSpec(batch_size=1, epochs=1.0),
        learning_rate=1e-2,
        folder=tmp_path,
    )
    with pytest.raises(InputError, match=SAID):
        trainer.train()


def test_a_token_to_pad_with_that_the_model_lacks_fills_no_row(folder: Path) -> None:
    plain = _load(folder)
    tokenizer = plain.tokenizer
    tokenizer.pad_token = "stars"
    tokenizer.save_pretrained(folder)
    base = _load(folder)
    assert (base.tokenizer.pad_token_id, base.pad_id) == (300, 0)
    requests = [Encoded.ending((5, 6, 7, 8), 2), Encoded.ending((9, 10, 11, 12, 13, 14), 1)]
    engine = Engine(base.model, [2], base.pad_id)
    alone = [engine.loglikelihood([request])[0].log_probability for request in requests]
    together = [one.log_probability for one in engine.loglikelihood(requests)]
    assert together == pytest.approx(alone, abs=1e-5)


def test_a_token_that_ends_texts_and_that_the_model_lacks_is_refused_at_once(folder: Path) -> None:
    tokenizer = _load(folder).tokenizer
    tokenizer.eos_token = "stars"
    tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match=SAID):
        _load(folder)


def test_a_text_is_looked_at_in_the_fused_decoder_too(tiny_model_folder: Path) -> None:
    base = _load(tiny_model_folder)
    base.tokenizer.add_tokens(["stars"])
    refuse_unknown_tokens(base.model, base.tokenizer, "llama")
    passes = Passes(base, most=2)
    assert passes.fused
    with passes.boundary():
        assert passes.backward([Encoded.ending((7, 9, 2), 2)])
        with pytest.raises(InputError, match=SAID):
            passes.backward([Encoded.ending((7, 300, 9, 2), 2)])
