"""NEFTune's noise: how much, in what, and where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from brulee.data.batching import Batch, pack, pad
from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.models.loading import Base
from brulee.training.noise import Noise
from brulee.training.passes import Passes

MakeBase = Callable[..., Base]
START = tuple(range(40, 52))  # what both begin with
SHORT = Encoded.ending((*START, *range(5, 9)), 4)
LONG = Encoded.ending((*START, *range(9, 61)), 8)


def _embedded(base: Base, batch: Any, alpha: float | None) -> torch.Tensor:
    embed = base.model.get_input_embeddings()
    if alpha is None:
        return embed(batch.inputs["input_ids"])
    with Noise(base.model, alpha).on(batch):
        return embed(batch.inputs["input_ids"])


def test_each_document_has_noise_by_its_own_length_in_a_pack_and_in_rows(
    make_base: MakeBase,
) -> None:
    base = make_base("llama")
    width = base.model.config.hidden_size
    for batch in (pack([SHORT, LONG]), pad([SHORT, LONG], 0)):
        torch.manual_seed(3)
        added = (_embedded(base, batch, 5.0) - _embedded(base, batch, None)).detach()
        parts = added[0].split([16, 64]) if batch.packed else added
        for part, tokens in zip(parts, (16, 64), strict=True):
            limit = 5.0 / (tokens * width) ** 0.5
            assert 0.97 * limit < part.abs().max() <= limit * 1.001
            assert part.abs().mean().item() == pytest.approx(limit / 2, rel=0.1)
            assert part.mean().abs() < 0.1 * limit


@pytest.mark.parametrize("batch", [pack([SHORT, LONG]), pad([SHORT, LONG], 0)])
def test_a_pass_does_not_wait_for_a_gpu_to_have_its_limits(
    make_base: MakeBase, batch: Batch
) -> None:
    class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
        waiting: ClassVar[list[bool]] = []

        def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten._to_copy.default:
                self.waiting.append(not kwargs.get("non_blocking"))
            return func(*args, **(kwargs or {}))

    base = make_base("llama")
    base.model.get_input_embeddings().to("meta")
    with Copies() as copies:  # type: ignore[no-untyped-call]
        _embedded(base, batch.to(torch.device("meta")), 5.0)
    assert copies.waiting
    assert not any(copies.waiting)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_training_reads_it_and_validation_does_not(
    make_base: MakeBase, name: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fused:
        monkeypatch.setattr("brulee.models.head.fused_decoder", lambda _: None)
    losses = {}
    for alpha in (None, 20.0):
        base = make_base(name)
        passes = Passes(base, most=4, noise=alpha)
        assert passes.fused == fused
        with passes.boundary():
            found = []
            for seed in (1, 1, 2):
                torch.manual_seed(seed)
                found.append(passes.backward([SHORT, LONG])[0].item())
            losses[alpha] = (*found, passes.total_loss([SHORT, LONG])[0])
        assert not base.model.get_input_embeddings()._forward_hooks
    plain, noisy = losses[None], losses[20.0]
    assert plain[0] == plain[1] == plain[2]
    assert noisy[0] == noisy[1]
    assert len({plain[0], noisy[0], noisy[2]}) == 3
    assert noisy[3] == plain[3]


def test_documents_that_begin_alike_have_noise_of_their_own(make_base: MakeBase) -> None:
    base = make_base("llama")
    passes = Passes(base, most=4, noise=1e-6)
    assert passes.fused
    seen: list[int] = []
    base.model.get_input_embeddings().register_forward_hook(
        lambda _m, given, _out: seen.append(given[0].shape[-1])
    )
    with passes.boundary():
        passes.backward([SHORT, LONG])
        passes.total_loss([SHORT, LONG])
    assert seen == [16 + 64, 16 + 64 - (len(START) - 1)]  # the last of them predicts


def test_encoder_decoders_are_refused_by_the_key(make_base: MakeBase) -> None:
    with pytest.raises(InputError, match=r"^train\.neftune_alpha: not for encoder-decoder models"):
        Passes(make_base("t5"), most=1, noise=5.0)
