"""A loss of prompts: which tokens carry it, how much each counts, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from brulee.data.encoded import check_prompt_loss, with_prompts
from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods import build_method
from brulee.models.loading import Base
from brulee.recipe import MethodSpec
from brulee.training.captured import Captured
from brulee.training.passes import Passes

MakeBase = Callable[..., Base]
START = tuple(range(40, 52))  # what all begin with
DOCUMENTS = [
    Encoded.ending((*START, *range(5, 9)), 4),
    Encoded((*START, *range(9, 61)), ((14, 20), (56, 64))),  # a chat of two answers
    Encoded((*START, 7, 8), ((1, 14),)),  # plain text
]


def _naive(base: Base, documents: list[Encoded], weight: float, before: int = 0) -> torch.Tensor:
    """The weighted mean over full logits, one document at a time."""
    losses, counted = torch.zeros(()), 0.0
    for document in documents:
        ids = torch.tensor([document.ids])
        logits_TV = base.model(input_ids=ids, use_cache=False).logits[0].float()
        wanted = ids[0, 1:].where(torch.arange(1, ids.shape[1]) > before, 0)
        losses_T = F.cross_entropy(logits_TV[:-1], wanted, reduction="none")
        learned = {i for start, end in document.spans for i in range(start, end)}
        for i in range(before + 1, len(document.ids)):
            share = 1.0 if i in learned else weight
            losses, counted = losses + share * losses_T[i - 1], counted + share
    return losses / counted


def test_all_but_the_first_token_carries_loss() -> None:
    short, chat, text = (with_prompts(d, 0.25, 0) for d in DOCUMENTS)
    assert (short.prompts, short.first, short.predicted) == (((1, 12),), 1, 15)
    assert short.weight == 4 + 0.25 * 11
    assert chat.prompts == ((1, 14), (20, 56))
    assert chat.weighted == [(1, 14, 0.25), (14, 20, 1.0), (20, 56, 0.25), (56, 64, 1.0)]
    assert text == DOCUMENTS[2]
    assert with_prompts(DOCUMENTS[0], 0.0, 0) is DOCUMENTS[0]
    # What answers are found by is as before, and so are the ids.
    assert (chat.completion, chat.prompt) == (DOCUMENTS[1].completion, DOCUMENTS[1].prompt)
    # A method's own ids are not learned, nor what follows them at once.
    assert with_prompts(DOCUMENTS[0], 1.0, 3).prompts == ((4, 12),)


@pytest.mark.parametrize("way", ["fused", "layers", "padded"])
@pytest.mark.parametrize("name", ["llama", "gemma", "gpt2"])
def test_loss_and_gradient_are_the_weighted_means_of_full_logits(
    make_base: MakeBase, name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way != "fused":
        monkeypatch.setattr("brulee.models.head.fused_decoder", lambda _: None)
    base = make_base(name)
    passes = Passes(base, most=4)
    passes.packs = passes.packs and way != "padded"
    documents = [with_prompts(d, 0.3, 0) for d in DOCUMENTS]
    parameters = list(base.model.parameters())
    expected = _naive(base, DOCUMENTS, 0.3)
    gradients = torch.autograd.grad(expected, parameters, allow_unused=True)
    for most in (4, 1):
        passes.most = most
        base.model.zero_grad(set_to_none=True)
        with passes.boundary():
            found, tokens = passes.backward(documents)
        assert tokens == sum(len(d.ids) for d in DOCUMENTS)
        torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-5)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)
    with passes.boundary():
        (mean,) = passes.each(documents[:1])
        total, weight = passes.total_loss(documents)
    torch.testing.assert_close(mean, _naive(base, DOCUMENTS[:1], 0.3), atol=1e-5, rtol=1e-5)
    assert total / weight == pytest.approx(expected.item(), abs=1e-5)


def test_documents_that_begin_alike_share_only_what_predicts_nothing(make_base: MakeBase) -> None:
    base = make_base("llama")
    passes = Passes(base, most=4)
    seen: list[int] = []
    base.model.get_input_embeddings().register_forward_hook(
        lambda _m, given, _out: seen.append(given[0].shape[-1])
    )
    both, apart = DOCUMENTS[:2], [with_prompts(d, 1.0, 0) for d in DOCUMENTS[:2]]
    with passes.boundary():
        passes.backward(both)
        passes.backward(apart)
    assert seen == [16 + 64 - (len(START) - 1), 16 + 64]


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_with_soft_prompts(make_base: MakeBase, method: str) -> None:
    base = make_base("llama")
    attached = build_method(MethodSpec(name=method, tokens=3)).attach(base.model)
    before = attached.prefix_ids
    document = Encoded.ending((*before, *DOCUMENTS[0].ids), 4)
    passes = Passes(base, most=4)
    with passes.boundary():
        found, _ = passes.backward([with_prompts(document, 0.5, len(before))])
    expected = _naive(base, [document], 0.5, len(before))
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-5)
    assert all(p.grad is not None for g in attached.groups() for p in g.parameters)


def test_no_graph_is_recorded_of_them(make_base: MakeBase) -> None:
    passes = Passes(make_base("llama"), most=4)
    recordings = Captured(passes.loss, passes._precision, lambda _: pytest.fail("recorded"))
    documents = [with_prompts(d, 0.5, 0) for d in DOCUMENTS]
    assert [recordings.gradient(documents, 1.0) for _ in range(3)] == [None] * 3
    assert not recordings.keeps


def test_encoder_decoders_are_refused_by_the_key() -> None:
    check_prompt_loss("seq2seq", 0.0)
    check_prompt_loss("causal", 1.0)
    with pytest.raises(InputError, match=r"^train\.prompt_loss_weight: not for encoder-decoder"):
        check_prompt_loss("seq2seq", 0.1)
