"""A small T5 learns to reverse strings of digits it has never seen: 3519 -> 9153.

Full tuning starts from random weights. LoRA leaves its base as it is, and a base of random weights
holds nothing to correct; so it gets one that was taught to copy digits, cannot reverse any, and is
then frozen.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from brulee.data.encoding import Encoder
from brulee.inference.engine import Engine
from brulee.inference.sampling import Sampling
from brulee.methods import build_method
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base
from brulee.recipe import MethodSpec, TrainSpec
from brulee.training.documents import Document
from brulee.training.trainer import Trainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from brulee.methods import Attached

Task = Callable[[str], str]
PAD, EOS = 0, 1
DIGITS = "0123456789"
BATCH = 32


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A token a digit, and an end."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<pad>", "</s>", *DIGITS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", EOS)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>")


@pytest.fixture
def base(
    one_thread: None, tokenizer: PreTrainedTokenizerFast, make_model: Callable[..., Any]
) -> Base:
    model = make_model(
        "t5",
        vocab_size=len(DIGITS) + 2,
        d_ff=64,
        eos_token_id=EOS,
        relative_attention_num_buckets=16,
        relative_attention_max_distance=16,
    )
    return Base(model, tokenizer, "digits", "digits", "seq2seq", Path())


@pytest.fixture(scope="module")
def strings() -> tuple[list[str], list[str]]:
    """2000 strings of three to five digits to learn from, and 200 others to be asked."""
    draw = random.Random(0)
    found: set[str] = set()
    while len(found) < 2200:
        found.add("".join(draw.choices(DIGITS, k=draw.choice([3, 4, 5]))))
    every = draw.sample(sorted(found), len(found))
    return every[200:], every[:200]


def _reverse(text: str) -> str:
    return text[::-1]


def _copy(text: str) -> str:
    return text


def _learn(
    base: Base, task: Task, strings: list[str], folder: Path, steps: int, **method: Any
) -> Attached:
    encoder = Encoder(base.tokenizer, kind="seq2seq")
    documents = [Document(s, encoder.encode(s, task(s))) for s in strings]
    order = random.Random(1).choices(range(len(documents)), k=steps * BATCH)
    attached = build_method(MethodSpec(**method)).attach(base.model)
    folder.mkdir()
    trainer = Trainer(
        base,
        attached,
        lambda i: documents[order[i]],
        len(order),
        TrainSpec(batch_size=BATCH, epochs=1.0),
        learning_rate=1e-2,
        folder=folder,
    )
    trainer.train()
    return attached


def _share_right(base: Base, task: Task, strings: list[str]) -> float:
    encoder = Encoder(base.tokenizer, kind="seq2seq")
    engine = Engine(base.model, encoder.stop_ids, PAD)
    answers = engine.generate([encoder.encode_prompt(s) for s in strings], Sampling(8))
    right = [encoder.decode(a) == task(s) for a, s in zip(answers, strings, strict=True)]
    return sum(right) / len(right)


@pytest.mark.slow
def test_full_tuning_learns_to_reverse(
    base: Base, strings: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    seen, held_out = strings
    assert _share_right(base, _reverse, held_out) < 0.02
    _learn(base, _reverse, seen, tmp_path / "run", steps=450, name="full")
    assert _share_right(base, _reverse, held_out) >= 0.95


@pytest.mark.slow
def test_lora_teaches_a_frozen_copier_to_reverse(
    base: Base, strings: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    seen, held_out = strings
    _learn(base, _copy, seen, tmp_path / "copy", steps=250, name="full")
    assert _share_right(base, _copy, held_out) > 0.3
    # What a copier gets right is what reads the same backwards.
    assert _share_right(base, _reverse, held_out) < 0.1

    before = {n: p.detach().clone() for n, p in base.model.named_parameters()}
    attached = _learn(
        base, _reverse, seen, tmp_path / "run", steps=550, name="lora", rank=16, alpha=32.0
    )
    assert _share_right(base, _reverse, held_out) >= 0.95
    save_adapter(tmp_path / "adapter", attached, base, "digits", "", {})
    attached.detach()
    after = dict(base.model.named_parameters())
    assert all(torch.equal(after[n], p) for n, p in before.items()), "the base was not frozen"
    assert _share_right(base, _reverse, held_out) < 0.1
    attach_adapter(open_adapter(tmp_path / "adapter"), base)
    assert _share_right(base, _reverse, held_out) >= 0.95
