"""A model in memory becomes a folder that gives it back exactly, or is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.models.given_model import keep_model
from brulee.models.loading import Base, load_base

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRULEE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def given(make_base: Callable[..., Base]) -> Base:
    return make_base("llama")


def _read(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(20)[None]).logits


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "t5"])
def test_what_is_loaded_is_what_was_given(name: str, make_base: Callable[..., Base]) -> None:
    given = make_base(name)
    kept = load_base(str(keep_model(given.model, given.tokenizer)), torch.float32, CPU)
    for key, tensor in given.model.state_dict().items():
        assert torch.equal(kept.model.state_dict()[key], tensor)
    assert kept.tokenizer.chat_template == given.tokenizer.chat_template


def test_a_vocabulary_that_grew_is_kept(given: Base) -> None:
    before = keep_model(given.model, given.tokenizer)
    given.tokenizer.add_tokens(["<new>"])
    given.model.resize_token_embeddings(len(given.tokenizer))
    folder = keep_model(given.model, given.tokenizer)
    assert folder != before
    kept = load_base(str(folder), torch.float32, CPU)
    assert kept.tokenizer("<new>")["input_ids"] == [300]
    assert torch.equal(_read(kept.model), _read(given.model))


def test_the_same_model_is_kept_once_and_stays_as_it_was(
    given: Base, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = keep_model(given.model, given.tokenizer)
    given.model.train()
    given.model.model.layers[0].eval()
    given.tokenizer(["a", "a b c"], padding=True, truncation=True, max_length=2)
    assert keep_model(given.model, given.tokenizer) == folder
    assert given.model.training
    assert not given.model.model.layers[0].training
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]
    (folder / "config.json").write_text("{}")
    assert keep_model(given.model, given.tokenizer) == folder
    assert load_base(str(folder), torch.float32, CPU).digest
    assert capsys.readouterr() == ("", "")


def test_a_model_that_is_given_again_counts_as_new(given: Base) -> None:
    kept = keep_model(given.model, given.tokenizer)
    os.utime(kept, (0, 0))
    assert keep_model(given.model, given.tokenizer) == kept
    assert kept.stat().st_mtime > 0


def test_a_cast_that_rounds_what_no_file_holds_is_kept_by_its_weights(given: Base) -> None:
    folder = keep_model(given.model.bfloat16(), given.tokenizer)
    kept = load_base(str(folder), torch.bfloat16, CPU)
    for key, tensor in given.model.state_dict().items():
        assert torch.equal(kept.model.state_dict()[key], tensor)


def _inside(base: Base) -> None:
    base.model.model.layers[0].mlp.act_fn = nn.ReLU()


def _function(base: Base) -> None:
    base.model.model.norm.forward = lambda x: 2 * x


def _buffer(base: Base) -> None:
    base.model.model.rotary_emb.inv_freq.mul_(2)


def _bias(base: Base) -> None:
    base.model.model.layers[0].self_attn.q_proj.bias = nn.Parameter(torch.ones(32))


def _mask(base: Base) -> None:
    base.model.register_buffer("mask", torch.ones(3), persistent=False)


def _subclass(base: Base) -> None:
    base.model.__class__ = type("Mine", (type(base.model),), {})


def _float64(base: Base) -> None:
    base.model.double()


def _sampling(base: Base) -> None:
    base.model.generation_config.temperature = 0.5


def _quantised(base: Base) -> None:
    base.model.hf_quantizer = object()


CHANGES: dict[str, tuple[Callable[[Base], None], str]] = {
    "a module": (_inside, "act_fn' a SiLUActivation and not a ReLU"),
    "a function": (_function, "gives other logits, so that something was changed in memory"),
    "a buffer": (_buffer, r"other values for 'model\.rotary_emb\.inv_freq', which no file holds"),
    "a bias": (_bias, r"gives no 'model\.layers\.0\.self_attn\.q_proj\.bias', of which the conf"),
    "a new buffer": (_mask, "gives no buffer 'mask', which no file holds"),
    "a class": (_subclass, "gives a LlamaForCausalLM and not a Mine"),
    "float64": (_float64, r"its tensor 'model\.embed_tokens\.weight' is in float64"),
    "sampling": (_sampling, "transformers cannot save it: GenerationConfig is invalid"),
    "four bits": (_quantised, r"its weights are quantised; name the folder .* model\.quantise"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_folder_would_not_give_back_is_refused_and_not_kept(
    change: str, given: Base, tmp_path: Path
) -> None:
    make, said = CHANGES[change]
    make(given)
    with pytest.raises(InputError, match=said):
        keep_model(given.model, given.tokenizer)
    given_folder = tmp_path / "cache" / "models" / "given"
    assert not given_folder.exists() or not list(given_folder.iterdir())


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_what_is_no_model_is_told(given: Base) -> None:
    import peft

    tuned: Any = peft.get_peft_model(given.model, peft.LoraConfig(task_type="CAUSAL_LM"))
    for model, said in {
        tuned: r"with an adapter of PEFT in it; fold that in with merge_and_unload\(\)",
        nn.Linear(1, 1): "an object of type Linear; it must be a model of transformers",
    }.items():
        with pytest.raises(InputError, match=said):
            keep_model(model, given.tokenizer)
    with pytest.raises(InputError, match="its tokenizer is an object of type str"):
        keep_model(given.model, "bundled")


def test_a_model_without_a_head_is_told_what_to_give(given: Base) -> None:
    with pytest.raises(InputError, match="a LlamaModel writes no tokens, as it has no head"):
        keep_model(given.model.model, given.tokenizer)
