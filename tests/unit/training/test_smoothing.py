"""Label smoothing is that of transformers' Trainer, of what is trained and of nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers.trainer_pt_utils import LabelSmoother

from brulee.data.encoded import with_prompts
from brulee.data.encoding import Encoded
from brulee.models.loading import Base
from brulee.training.passes import Passes

MakeBase = Callable[..., Base]
DOCUMENTS = [
    Encoded.ending(tuple(range(5, 21)), 4),
    Encoded((*range(5, 12), *range(30, 60)), ((8, 14), (30, 37))),
]


def _theirs(base: Base, document: Encoded) -> torch.Tensor:
    """The summed loss of one document, as transformers' Trainer has it."""
    labels = torch.full((1, len(document.ids)), -100)
    ids = torch.tensor([document.ids])
    for start, end in document.spans:
        labels[0, start:end] = ids[0, start:end]
    if base.kind == "seq2seq":
        labels = torch.tensor([document.completion])
        output = base.model(input_ids=torch.tensor([document.prompt]), labels=labels)
        return LabelSmoother(epsilon=0.2)(output, labels) * document.learned
    output = base.model(input_ids=ids, use_cache=False)
    return LabelSmoother(epsilon=0.2)(output, labels, shift_labels=True) * document.learned


@pytest.mark.parametrize("way", ["fused", "layers", "padded"])
@pytest.mark.parametrize("name", ["llama", "gemma", "gpt2", "t5", "bart"])
def test_the_trained_loss_is_that_of_transformers(
    make_base: MakeBase, name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way != "fused":
        monkeypatch.setattr("brulee.models.head._ways", lambda _: (None, None))
    base = make_base(name)
    base.model.eval()
    passes, sharp = (Passes(base, most=4, smoothing=share) for share in (0.2, 0.0))
    passes.packs = passes.packs and way != "padded"
    documents = DOCUMENTS[:1] if base.kind == "seq2seq" else DOCUMENTS
    parameters = list(base.model.parameters())
    learned = sum(d.learned for d in documents)
    expected = sum((_theirs(base, d) for d in documents), torch.zeros(())) / learned
    gradients = torch.autograd.grad(expected, parameters, allow_unused=True)
    base.model.zero_grad(set_to_none=True)
    with passes.boundary():
        found, _ = passes.backward(documents)
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-5)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)
    # What is validated, and what masks are chosen by, is the cross-entropy itself.
    with passes.boundary():
        assert passes.total_loss(documents) == sharp.total_loss(documents)
        (first, *_), (also, *_) = passes.each(documents), sharp.each(documents)
    assert torch.equal(first, also)


def test_prompts_that_are_learned_are_smoothed_by_their_weight(make_base: MakeBase) -> None:
    base = make_base("llama")
    documents = [with_prompts(d, 0.5, 0) for d in DOCUMENTS]
    losses = {}
    for share in (0.0, 0.2, 0.4):
        with torch.no_grad():
            passes = Passes(base, most=4, smoothing=share)
        with passes.boundary():
            losses[share], _ = passes.backward(documents)
    # The loss is linear in the share.
    torch.testing.assert_close(losses[0.4] - losses[0.2], losses[0.2] - losses[0.0])
    assert losses[0.2] != losses[0.0]
