"""Tokens added to a vocabulary: their ids, their rows' start values, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import FSMTConfig, FSMTForConditionalGeneration

from brulee.errors import InputError
from brulee.models.added_tokens import NewToken, extend, give_rows, tables_of
from brulee.models.loading import Base, load_base

MakeBase = Callable[..., Base]
CPU = torch.device("cpu")
NEW = (NewToken("<note>"), NewToken("<|end|>", special=True))


def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    more = {"decoder_input_ids": ids.flip(1)} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, **more).logits
    return logits


@pytest.mark.parametrize("spare", [0, 64], ids=["resized", "padding rows"])
@pytest.mark.parametrize(
    "name",
    ["llama", "qwen3", "gemma", "phi", "gpt2", "t5", "t5-gated", "bart", "marian", "gemma3"],
)
def test_a_new_row_is_the_mean_of_its_pieces_and_no_other_changes(
    make_base: MakeBase, name: str, spare: int
) -> None:
    base = make_base(name, vocab_size=300 + spare)
    model, tokenizer = base.model, base.tokenizer
    tied = len({id(m.weight) for m in tables_of(model).values()})
    modules = {path: type(module) for path, module in model.named_modules()}
    ids = torch.randint(5, 300, (2, 9), generator=torch.Generator().manual_seed(0))
    plain = _logits(model, ids)
    pieces = tokenizer("<note>", add_special_tokens=False)["input_ids"]
    added, before = extend(tokenizer, NEW)
    assert [(t.text, t.id) for t in added] == [("<note>", 300), ("<|end|>", 301)]
    assert before["<note>"] == pieces
    assert len(pieces) > 1
    give_rows(model, added, before)
    size = max(302, 300 + spare)
    assert {len(m.weight) for m in tables_of(model).values()} == {size}
    assert model.config.get_text_config().vocab_size == size
    assert len({id(m.weight) for m in tables_of(model).values()}) == tied, "tied otherwise"
    assert {path: type(module) for path, module in model.named_modules()} == modules
    after = _logits(model, ids)
    torch.testing.assert_close(after[..., :300], plain[..., :300], atol=1e-5, rtol=1e-5)
    for module in tables_of(model).values():
        torch.testing.assert_close(module.weight[300], module.weight[pieces].mean(0))
    # So the head gives it at most what it gives its pieces on average.
    p = after.softmax(-1)
    assert (p[..., 300] <= p[..., pieces].mean(-1) + 1e-7).all()
    looked_up = _logits(model, torch.tensor([[300, 7, 301]]))
    assert looked_up.isfinite().all()


def test_the_same_model_is_loaded_each_time_and_what_it_is_saved_as(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    bases = [load_base(str(tiny_model_folder), torch.float32, CPU, tokens=NEW) for _ in range(2)]
    first, second = (base.model.state_dict() for base in bases)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert bases[0].digest == load_base(str(tiny_model_folder), torch.float32, CPU).digest
    assert [token.record for token in bases[0].added] == [
        {"text": "<note>", "special": False, "id": 300},
        {"text": "<|end|>", "special": True, "id": 301},
    ]
    bases[0].model.save_pretrained(tmp_path)
    bases[0].tokenizer.save_pretrained(tmp_path)
    saved = load_base(str(tmp_path), torch.float32, CPU, tokens=NEW)
    assert saved.added == (), "they are in its vocabulary already"
    assert torch.equal(
        saved.model.get_input_embeddings().weight, first["model.embed_tokens.weight"]
    )
    text = "a<note> b<|end|>c"
    assert saved.tokenizer(text)["input_ids"] == bases[0].tokenizer(text)["input_ids"]
    ids = saved.tokenizer(text)["input_ids"]
    assert {300, 301} < set(ids)
    assert saved.tokenizer.decode(ids, skip_special_tokens=True) == "a<note> bc"


def test_tokens_that_only_the_tokenizer_had_get_rows_too(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))
    tokenizer = load_base(str(folder), torch.float32, CPU).tokenizer
    tokenizer.add_tokens(["stars"])
    tokenizer.save_pretrained(folder)
    base = load_base(str(folder), torch.float32, CPU, tokens=NEW[:1])
    table = base.model.get_input_embeddings().weight
    assert ([t.id for t in base.added], len(table)) == ([301], 302)
    torch.testing.assert_close(table[300], table[:300].mean(0))


def test_what_cannot_be_added_is_refused_by_its_text(make_base: MakeBase) -> None:
    base = make_base("llama")
    piece = next(iter(set(base.tokenizer.get_vocab()) - set(base.tokenizer.get_added_vocab())))
    with pytest.raises(InputError, match=r"model\.add_tokens: .* is an ordinary piece"):
        extend(base.tokenizer, [NewToken(piece)])
    assert len(base.tokenizer) == 300
    with pytest.raises(InputError, match=r"'<note>' was 999 in training, .* makes it 300"):
        extend(base.tokenizer, [NewToken("<note>", id=999)])
    gemma = make_base("gemma4")
    with pytest.raises(InputError, match="looks its words up in a table for each layer too"):
        give_rows(gemma.model, *extend(gemma.tokenizer, NEW))


def test_the_tables_of_plain_stacks_are_found() -> None:
    """FSMT's encoder and decoder are no models of transformers."""
    sizes: dict[str, Any] = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
    sizes |= {f"{part}coder_attention_heads": 2 for part in ("en", "de")}
    config = FSMTConfig(src_vocab_size=40, tgt_vocab_size=40, langs=["en", "de"], **sizes)
    found = tables_of(FSMTForConditionalGeneration(config))
    assert {"model.encoder.embed_tokens", "model.decoder.embed_tokens"} <= set(found)
