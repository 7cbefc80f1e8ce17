"""Rows of encoder-decoders that join and leave: each comes out as it does alone."""

from __future__ import annotations

import copy
import functools
import random
import runpy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from brulee.inference import pair_trial
from brulee.inference.adapters import Adapters
from brulee.inference.padded_decoder import PaddedDecoder
from brulee.inference.pair_rows import PairRows
from brulee.inference.pair_trial import joins_pairs
from brulee.inference.row import Voice
from brulee.models.decoder_start import decoder_start
from brulee.models.loading import Base
from brulee.models.rounding_trial import blocks_of, roughened

MakeBase = Callable[..., Base]
MakeModel = Callable[..., PreTrainedModel]
HELD = runpy.run_path(str(Path(__file__).with_name("test_adapters.py")))["_held"]
NAMES = ["t5", "t5-gated", "bart", "marian"]
WAYS = ["lora", "dora", "ia3", "prefix", "houlsby"]


@functools.cache
def _in_fp64(voice: Voice) -> PreTrainedModel:
    return copy.deepcopy(voice.model).double()


@dataclass
class _Text:
    voice: Voice
    prompt: list[int]
    most: int
    ids: list[int] = field(default_factory=list)

    def alone(self, model: PreTrainedModel) -> torch.Tensor:
        """Logits after the last token: all that was written, read at once by the model itself."""
        output = model(
            input_ids=torch.tensor([self.prompt]),
            decoder_input_ids=torch.tensor([[*decoder_start(model), *self.ids]]),
        )
        logits: torch.Tensor = output.logits[0, -1]
        return logits


def _begin(rows: PairRows, texts: list[_Text], tokens: int = 0) -> None:
    read = PaddedDecoder(texts[0].voice.model, [text.prompt for text in texts], 0)
    read.admit(len(texts))
    rows.join(read, texts[0].voice, [(len(text.prompt), text.most) for text in texts], tokens)


def _drawn(draw: random.Random, voice: Voice) -> _Text:
    prompt = [draw.randrange(3, 300) for _ in range(draw.randrange(1, 20))]
    return _Text(voice, prompt, draw.randrange(2, 14))


def _write(rows: PairRows, texts: list[_Text], draw: random.Random) -> None:
    for text in texts:
        text.ids.append(draw.randrange(3, 300))
    for found, text in zip(rows.push([text.ids[-1:] for text in texts]), texts, strict=True):
        # As near as the model itself is in fp32: a gated T5 is up to 1e-5 off, by the processor.
        exact = text.alone(_in_fp64(text.voice))
        off, own = (
            float((x - exact).abs().max()) / max(1.0, float(exact.abs().max()))
            for x in (found, text.alone(text.voice.model))
        )
        assert off <= 2 * own + 2e-6


def _held(base: Base, tmp_path: Path, ways: list[str]) -> tuple[list[Voice], Adapters]:
    held = HELD(base, tmp_path, ways)
    assert not held.apart
    return list(held.engine.voices.values()), held


@pytest.mark.parametrize(("name", "forced"), [*((name, None) for name in NAMES), ("bart", 9)])
@torch.no_grad()
@pytest.mark.fast_cases(1)
def test_logits_are_those_of_the_model_alone_whoever_joins_and_leaves(
    make_base: MakeBase, tmp_path: Path, name: str, forced: int | None
) -> None:
    base = make_base(name)
    base.model.generation_config.forced_bos_token_id = forced
    voices, held = _held(base, tmp_path, WAYS)
    assert [len(decoder_start(voice.model)) for voice in voices] == len(voices) * [1 + bool(forced)]
    draw = random.Random(4)
    rows = PairRows(6, held.base.device, held.engine.router)
    texts: list[_Text] = []
    widths = set()
    for _ in range(24):
        if len(texts) < 6 and draw.random() < 0.6:
            voice = draw.choice(voices)
            new = [_drawn(draw, voice) for _ in range(draw.choice([1, 1, 2]))]
            _begin(rows, new, 300)
            texts += new
        if texts:
            _write(rows, texts, draw)
            gone = [
                at
                for at, text in enumerate(texts)
                if len(text.ids) + 1 == text.most or draw.random() < 0.05
            ]
            texts = [texts[at] for at in rows.drop(gone)]
            widths.add(len(texts))
    assert len(widths) > 3


@torch.no_grad()
def test_a_row_of_no_numbers_leaves_nothing_to_those_beside_and_after_it(
    make_base: MakeBase,
) -> None:
    voice, draw = Voice(None, make_base("t5").model), random.Random(0)
    rows = PairRows(2, torch.device("cpu"))
    texts = [_Text(voice, [9] * 9, 12), _Text(voice, [7] * 12, 12)]
    _begin(rows, texts)
    _write(rows, texts, draw)
    for pair in [*rows._own, *rows._source]:
        for buffer in pair:
            buffer[1] = float("nan")
    found = rows.push([[5], [5]])
    texts[0].ids.append(5)
    assert found[1].isnan().all()
    assert (found[0] - texts[0].alone(texts[0].voice.model)).abs().max() < 1e-5
    rows.drop([1])
    texts = [texts[0], _Text(voice, [8] * 4, 12)]
    _begin(rows, texts[1:])
    _write(rows, texts, draw)


@torch.no_grad()
def test_room_is_what_is_needed_and_none_without_rows(make_base: MakeBase) -> None:
    voice = Voice(None, make_base("bart").model)
    rows = PairRows(8, torch.device("cpu"))
    assert rows.tokens == 0
    assert rows.needed([(5, 4), (9, 2)]) == 2 * (9 + 4)
    _begin(rows, [_Text(voice, [5] * 9, 4)], 1000)
    assert rows.tokens == 9 + 4
    _begin(rows, [_Text(voice, [5] * 3, 6)], 1000)
    assert rows.tokens == 2 * (9 + 6)
    _begin(rows, [_Text(voice, [5] * 3, 6)], 1000)
    assert rows.tokens == 4 * (9 + 6)  # for one more, so that not every row copies all others
    assert rows.needed([(1, 1)]) == 4 * (9 + 6)
    assert rows._own[0][0].shape[::2] == (4, 6)
    assert rows._source[0][0].shape[::2] == (4, 9)
    rows.drop([0, 1, 2])
    assert rows.tokens == 0
    assert not rows._own


@pytest.mark.parametrize("name", NAMES)
def test_what_joins_is_tried(make_model: MakeModel, name: str) -> None:
    model = make_model(name)
    assert joins_pairs(model, 0)
    assert not joins_pairs(make_model("llama"), 0)


@torch.no_grad()
def test_looking_at_what_rounding_does_leaves_what_is_compared_next(make_model: MakeModel) -> None:
    model = make_model("t5")
    asked, other = (pair_trial._Text(Voice(None, model), 9, 0) for _ in range(2))
    for text in (asked, other):
        text.next()
    once = asked.alone()
    torch.testing.assert_close(asked.again(), once)
    assert not torch.equal(roughened(blocks_of(model), asked.again), once)
    other.alone()
    for text in (asked, other):
        text.next()
    assert torch.equal(asked.alone(), other.alone())


def test_trying_does_not_change_what_a_model_computes() -> None:
    from transformers import BigBirdPegasusConfig, BigBirdPegasusForConditionalGeneration

    parts = ("layers", "attention_heads", "ffn_dim")
    sizes = {f"{stack}_{part}": 2 for stack in ("encoder", "decoder") for part in parts}
    config = BigBirdPegasusConfig(vocab_size=300, d_model=32, **sizes)
    model = BigBirdPegasusForConditionalGeneration(config).eval()
    assert not joins_pairs(model, 0)
    assert model.get_encoder().attention_type == "block_sparse"


def test_a_model_whose_positions_nobody_can_tell_does_not_join(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("bart")
    own = type(model.get_decoder().embed_positions)
    forward = own.forward
    monkeypatch.setattr(
        own, "forward", lambda self, ids, cache_length=0, **_: forward(self, ids, cache_length)
    )
    assert not joins_pairs(model, 0)
