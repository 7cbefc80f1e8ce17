"""Recorded passes give the gradients of plain ones, with nothing of Python's in between.

In place of CUDA's graphs stands a tape of PyTorch's operations, which are run again on the memory
that they were recorded with; in place of the varlen kernel one product for each document.
"""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from brulee.data.batching import common_start
from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods import build_method
from brulee.models import fused_attention
from brulee.models.fused_decoder import FusedDecoder
from brulee.models.head import CompletionLoss
from brulee.recipe import MethodSpec
from brulee.training import captured
from brulee.training.captured import Captured, Pass, filled_up, sizes_of
from brulee.training.passes import Passes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from brulee.models.loading import Base

Make = Callable[..., "PreTrainedModel"]


class _Tape(TorchDispatchMode):
    """Notes every operation, and runs them again in place of what they gave."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        assert func is not torch.ops.aten._local_scalar_dense.default, "waits for the device"
        assert func is not torch.ops.aten.nonzero.default, "its size depends on values"
        self.calls.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, out in self.calls:
            found = func(*args, **kwargs)
            held = {a.untyped_storage().data_ptr() for a in _tensors((args, kwargs))}
            for new, old in zip(_tensors(found), _tensors(out), strict=True):
                if old.untyped_storage().data_ptr() not in held:
                    old.copy_(new)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _record(run: Pass) -> Pass:
    run()  # warmed up: what is allocated once is there
    tape = _Tape()
    with tape:
        run()
    return tape.replay


def _by_document(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bounds: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
    scale: float,
    window: int | None = None,
) -> torch.Tensor:
    """What the varlen kernel computes, by masks made of the bounds without looking at them."""
    queries, keys = (
        torch.bucketize(torch.arange(len(x)), b[1:], right=True)
        for x, b in zip((q, k), bounds, strict=True)
    )
    # How far each stands from its document's end, where the mask ends for both.
    to_end_q, to_end_k = (
        b[1:].index_select(0, of) - torch.arange(len(of))
        for of, b in zip((queries, keys), bounds, strict=True)
    )
    behind = to_end_k - to_end_q[:, None]
    seen = (queries[:, None] == keys) & (behind >= 0) & (behind < (window or len(k)))
    groups = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(groups, 1).transpose(0, 1) for x in (k, v))
    scores = (q.transpose(0, 1) @ k.transpose(1, 2) * scale).masked_fill(~seen, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1)


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRULEE_KERNELS", "torch")
    monkeypatch.setattr(fused_attention, "by_kernel", lambda _: True)
    for module in (fused_attention, captured):
        monkeypatch.setattr(module, "takes_all_documents", lambda *_: True)
    monkeypatch.setattr(fused_attention, "varlen", _by_document)


def _drawn(seed: int, shared: int, lengths: Sequence[int]) -> list[Encoded]:
    draw = torch.Generator().manual_seed(seed)
    front = list(range(3, 3 + shared))
    found = []
    for at, length in enumerate(lengths):
        # The first token of its own tells a document from the others.
        own = torch.randint(40, 90, (length,), generator=draw).tolist()
        found.append(Encoded.ending((*front, 20 + at, *own), 2 + at))
    return found


def _tuned(make_model: Make, name: str, method: str) -> PreTrainedModel:
    model = make_model(name)
    attached = build_method(MethodSpec(name=method)).attach(model)
    draw = torch.Generator().manual_seed(1)
    for group in attached.groups():
        for parameter in group.parameters:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=draw)
    return model


def _plain(
    model: PreTrainedModel, documents: Sequence[Encoded], over: int, smoothing: float = 0.0
) -> Any:
    """Loss and gradients of the model's own forward, one document at a time."""
    model.zero_grad(set_to_none=True)
    total = 0.0
    for document in documents:
        ids = torch.tensor([document.ids])
        labels = torch.full_like(ids, -100)
        for start, end in document.spans:
            labels[0, start:end] = ids[0, start:end]
        logits = model(input_ids=ids).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits, labels[0, 1:], reduction="sum", label_smoothing=smoothing
        )
        loss = loss / over
        loss.backward()
        total += float(loss.detach())
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad(set_to_none=True)
    return total, found


def _gradients(model: PreTrainedModel) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.requires_grad and p.grad is not None]


def _assert_same(ours: Any, exact: Any) -> None:
    assert ours[0] == pytest.approx(exact[0], rel=1e-5)
    assert len(ours[1]) > 0
    _assert_near(ours[1], exact[1])


def _assert_near(ours: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> None:
    for mine, truth in zip(ours, exact, strict=True):
        assert (mine - truth).norm() <= 1e-4 * truth.norm()
        assert truth.norm() > 0


@pytest.mark.diagonal("name", "method", "shared", lines=2)
@pytest.mark.parametrize("method", ["lora", "full", "prefix", "bottleneck"])
@pytest.mark.parametrize("shared", [0, 4])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma", "mistral"])
def test_a_recording_holds_for_other_documents_of_its_sizes(
    make_model: Make, name: str, shared: int, method: str
) -> None:
    model = _tuned(make_model, name, method)
    recorded = Captured(CompletionLoss(model), nullcontext, _record)
    lengths = ((9, 14, 5), (14, 3, 11), (8, 8, 12))
    packs = [_drawn(seed, shared, each) for seed, each in enumerate(lengths)]
    assert len({sizes_of(pack, common_start(pack)) for pack in packs}) == 1
    assert {common_start(pack) for pack in packs} == {shared}
    assert recorded.gradient(packs[0], 7) is None, "met for the first time"
    for step, documents in enumerate([*packs[1:], packs[0]]):
        exact = _plain(model, documents, 7 + step)
        loss = recorded.gradient(documents, 7 + step)
        assert loss is not None
        _assert_same((float(loss), _gradients(model)), exact)
        with torch.no_grad():  # as an optimiser does
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter -= 0.1 * parameter.sign()
        model.zero_grad(set_to_none=True)
    assert recorded.replayed == 3


def test_smoothed_losses_are_recorded(make_model: Make) -> None:
    model = _tuned(make_model, "llama", "lora")
    recorded = Captured(CompletionLoss(model), nullcontext, _record, smoothing=0.1)
    packs = [_drawn(seed, 0, each) for seed, each in enumerate([(9, 14, 5), (14, 3, 11)])]
    assert recorded.gradient(packs[0], 7) is None
    exact = _plain(model, packs[1], 7, smoothing=0.1)
    loss = recorded.gradient(packs[1], 7)
    assert loss is not None
    _assert_same((float(loss), _gradients(model)), exact)


def test_gradients_of_several_passes_add_up(make_model: Make) -> None:
    """Also of one that was computed as ever, and around the recording of another."""
    model = _tuned(make_model, "llama", "lora")
    loss = CompletionLoss(model)
    recorded = Captured(loss, nullcontext, _record)
    first, second, third = (_drawn(seed, 2, (6, 9)) for seed in range(3))
    assert recorded.gradient(first, 1) is None
    assert recorded.gradient(first, 1) is not None
    model.zero_grad(set_to_none=True)
    exact = [g.clone() for g in _plain(model, [*first, *second, *third], 1)[1]]
    _plain_backward(loss, first)
    assert recorded.gradient(second, 1) is not None
    assert recorded.gradient(third, 1) is not None
    ours = _gradients(model)
    _assert_near(ours, exact)
    longer = _drawn(4, 2, (90, 80))
    assert recorded.gradient(longer, 1) is None
    assert recorded.gradient(longer, 1) is not None, "recorded while gradients are there"
    exact_longer = _gradients(model)
    model.zero_grad(set_to_none=True)
    assert recorded.gradient(longer, 1) is not None
    together = [before + alone for before, alone in zip(ours, _gradients(model), strict=True)]
    _assert_near(together, exact_longer)


def _plain_backward(loss: CompletionLoss, documents: Sequence[Encoded]) -> None:
    from brulee.data.batching import pack

    torch.autograd.backward(loss(pack(documents, common_start(documents))))


def test_what_replays_to_something_else_is_not_used(
    make_model: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _tuned(make_model, "llama", "lora")

    def forgetful(run: Pass) -> Pass:
        run()
        return lambda: None

    said: list[str] = []
    monkeypatch.setattr(captured, "note", said.append)
    recorded = Captured(CompletionLoss(model), nullcontext, forgetful)
    documents = _drawn(0, 2, (6, 9))
    assert [recorded.gradient(documents, 1) for _ in range(3)] == [None] * 3
    assert recorded.replayed == 0
    assert len(said) == 1
    assert "not recorded as CUDA graphs: loss and gradient" in said[0]
    assert all(p.grad is None for p in model.parameters())


def test_what_cannot_be_recorded_is_told_and_computed_as_ever(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(run: Pass) -> Pass:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    said: list[str] = []
    monkeypatch.setattr(captured, "note", said.append)
    model = _tuned(make_model, "llama", "lora")
    recorded = Captured(CompletionLoss(model), nullcontext, failing)
    documents = _drawn(0, 2, (6, 9))
    assert [recorded.gradient(documents, 1) for _ in range(3)] == [None] * 3
    expected = "passes are not recorded as CUDA graphs: operation not permitted when stream is"
    assert said == [f"{expected} capturing"]


def test_where_one_cannot_be_recorded_the_earlier_ones_are_given_up(make_model: Make) -> None:
    """They are not replayed any more, and keep memory."""
    kept: list[weakref.ref[_Tape]] = []

    def once(run: Pass) -> Pass:
        if kept:
            raise RuntimeError("operation not permitted when stream is capturing")
        replay = _record(run)
        kept.append(weakref.ref(replay.__self__))  # type: ignore[attr-defined]
        return replay

    recorded = Captured(CompletionLoss(_tuned(make_model, "llama", "lora")), nullcontext, once)
    for documents in (_drawn(0, 2, (6, 9)), _drawn(0, 2, (90, 80))):
        recorded.gradient(documents, 1)
        found = recorded.gradient(documents, 1)
        assert recorded.keeps is (found is not None)
    assert found is None
    gc.collect()
    assert kept[0]() is None


def test_no_memory_for_a_recording_is_no_memory(make_model: Make) -> None:
    def failing(run: Pass) -> Pass:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = _tuned(make_model, "llama", "lora")
    recorded = Captured(CompletionLoss(model), nullcontext, failing)
    documents = _drawn(0, 2, (6, 9))
    recorded.gradient(documents, 1)
    with pytest.raises(torch.OutOfMemoryError):
        recorded.gradient(documents, 1)


def test_no_more_are_recorded_than_there_is_room_for(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "MOST", 1)
    recorded = Captured(CompletionLoss(_tuned(make_model, "llama", "lora")), nullcontext, _record)
    for documents, expected in ((_drawn(0, 2, (6, 9)), 1), (_drawn(0, 2, (6, 9, 7)), 1)):
        for _ in range(3):
            recorded.gradient(documents, 1)
        assert len(recorded._recorded) == expected
    assert recorded.replayed == 2


def test_what_gets_no_gradient_from_a_pass_gets_none_from_its_recording(make_model: Make) -> None:
    """Zeros would be weight decay for it, and hide that it takes no part."""
    model = _tuned(make_model, "llama", "lora")
    model.register_parameter("aside", torch.nn.Parameter(torch.ones(3)))
    recorded = Captured(CompletionLoss(model), nullcontext, _record)
    for _ in range(3):
        recorded.gradient(_drawn(0, 2, (6, 9)), 1)
    assert recorded.replayed == 2
    assert model.aside.grad is None
    assert all(p.grad is not None for n, p in model.named_parameters() if "lora" in n)


def test_gradients_are_cleared_in_one_call(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are hundreds, and each would be a launch."""
    model = _tuned(make_model, "llama", "lora")
    recorded = Captured(CompletionLoss(model), nullcontext, _record)
    documents = _drawn(0, 2, (6, 9))
    for _ in range(2):
        recorded.gradient(documents, 1)
    first = _gradients(model)
    model.zero_grad(set_to_none=True)
    cleared: list[int] = []
    zero = torch._foreach_zero_
    monkeypatch.setattr(torch, "_foreach_zero_", lambda x: (cleared.append(len(x)), zero(x)))
    recorded.gradient(documents, 1)
    assert cleared == [len(first)]
    _assert_near(_gradients(model), first)


@pytest.mark.parametrize("faster", [True, False])
def test_what_is_replayed_no_faster_is_computed_as_ever(
    make_model: Make, monkeypatch: pytest.MonkeyPatch, faster: bool
) -> None:
    said: list[str] = []
    monkeypatch.setattr(captured, "note", said.append)
    model = _tuned(make_model, "llama", "lora")
    recorded = Captured(CompletionLoss(model), nullcontext, _record, timed=True)
    taken = iter([0.01, 0.03, 0.02, 0.05, 0.04, 0.06] if faster else [0.07, 0.05, 0.06, 0.04] * 2)
    really = recorded._seconds

    def seconds(run: Pass) -> float:
        really(run)  # what it leaves behind has to be put back
        return next(taken)

    monkeypatch.setattr(recorded, "_seconds", seconds)
    documents, others = _drawn(0, 2, (6, 9)), _drawn(1, 2, (6, 9))
    recorded.gradient(documents, 1)
    exact = _plain(model, others, 1)
    model.zero_grad(set_to_none=True)
    loss = recorded.gradient(others, 1)
    if faster:
        assert loss is not None
        _assert_same((float(loss), _gradients(model)), exact)
        assert said == []
    else:
        assert loss is None
        assert recorded.gradient(others, 1) is None, "not tried again"
        assert all(p.grad is None for p in model.parameters())
        assert not recorded.keeps
        assert said == [
            "passes of 192 rows are not replayed from CUDA graphs: that takes 50.0 ms, "
            "and the pass itself 40.0 ms"
        ]


def test_after_some_that_were_slower_nothing_more_is_recorded(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "note", lambda _: None)
    made: list[Pass] = []

    def record(run: Pass) -> Pass:
        made.append(run)
        return _record(run)

    model = _tuned(make_model, "llama", "lora")
    recorded = Captured(CompletionLoss(model), nullcontext, record, timed=True)
    monkeypatch.setattr(recorded, "_pays", lambda *_: False)
    for count in range(2, 7):
        for _ in range(2):
            assert recorded.gradient(_drawn(0, 2, (9,) * count), 1) is None
    assert len(made) == captured._LOSSES


@pytest.mark.parametrize(
    ("mode", "options", "timed"),
    [("1", {}, False), ("auto", {}, True), ("0", {}, None), ("", {}, None),
     ("1", {"dropout": 0.1}, None)],
)  # fmt: skip
def test_recordings_are_made_where_they_are_asked_for(
    make_model: Make,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    options: dict[str, Any],
    timed: bool | None,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(captured, "note", said.append)
    monkeypatch.setenv("BRULEE_GRAPHS", mode)
    monkeypatch.setattr(captured, "on_cuda", lambda _: _record)
    model = make_model("llama")
    build_method(MethodSpec(name="lora", **options)).attach(model)
    found = captured.captured(CompletionLoss(model), nullcontext, torch.float32)
    assert (None if found is None else found._timed) is timed
    assert said == (["passes with dropout are not recorded as CUDA graphs"] if options else [])


def test_scores_that_no_kernel_bends_are_not_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    monkeypatch.setenv("BRULEE_GRAPHS", "1")
    monkeypatch.setattr(captured, "on_cuda", lambda _: _record)
    sizes = {"vocab_size": 90, "hidden_size": 32, "intermediate_size": 48, "head_dim": 8}
    depths = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    found = []
    for cap in (None, 50.0):
        config = Gemma2Config(**sizes, **depths, attn_logit_softcapping=cap)
        loss = CompletionLoss(Gemma2ForCausalLM(config).eval())
        assert loss.decoder is not None
        found.append(captured.captured(loss, nullcontext, torch.float32))
    assert found[0] is not None
    assert found[1] is None


def test_an_encoder_decoder_says_once_that_its_passes_are_not_recorded(
    make_base: Callable[..., Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(captured, "note", said.append)
    base = make_base("t5")
    Passes(base, most=1)
    assert said == []
    monkeypatch.setenv("BRULEE_GRAPHS", "1")
    assert Passes(base, most=1).replayed == 0
    assert said == ["passes of an encoder-decoder are not recorded as CUDA graphs"]


def test_layers_without_attention_are_not_recorded(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their documents are taken apart by lengths, which the sizes of a recording leave open."""
    said: list[str] = []
    monkeypatch.setattr(captured, "note", said.append)
    monkeypatch.setenv("BRULEE_GRAPHS", "1")
    loss = CompletionLoss(make_model("qwen3_5"))
    assert loss.decoder is not None
    assert captured.captured(loss, nullcontext, torch.float32) is None
    assert said == ["passes with layers without attention are not recorded as CUDA graphs"]


def test_attention_with_sinks_is_not_recorded(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is computed one document at a time, so a replay would attend as the recording did."""
    said: list[str] = []
    monkeypatch.setattr(captured, "note", said.append)
    monkeypatch.setattr(captured, "on_cuda", lambda _: _record)
    monkeypatch.setenv("BRULEE_GRAPHS", "1")
    loss = CompletionLoss(make_model("llama"))
    assert isinstance(loss.decoder, FusedDecoder)
    assert captured.captured(loss, nullcontext, torch.float32) is not None
    *others, last = loss.decoder.form.layers
    loss.decoder.form = replace(loss.decoder.form, layers=(*others, replace(last, sinks="sinks")))
    assert captured.captured(loss, nullcontext, torch.float32) is None
    assert said == ["passes with bent attention scores are not recorded as CUDA graphs"]


def test_another_word_for_asking_is_refused(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRULEE_GRAPHS", "yes")
    loss = CompletionLoss(make_model("llama"))
    with pytest.raises(InputError, match=r"BRULEE_GRAPHS='yes' .* valid: 0, 1, auto"):
        captured.captured(loss, nullcontext, torch.float32)


@pytest.mark.parametrize("seed", range(40))
def test_sizes_hold_what_is_packed_and_come_again(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 20, (), generator=draw))
    lengths = torch.randint(3, 400, (count,), generator=draw).tolist()
    shared = int(torch.randint(0, 30, (), generator=draw)) if count > 1 else 0
    documents = [
        Encoded.ending((*range(shared), 1000 + at, *range(length)), 1 + at % (length - 1))
        for at, length in enumerate(lengths)
    ]
    assert common_start(documents) == shared
    sizes = sizes_of(documents, shared)
    batch = filled_up(documents, shared, sizes)
    assert batch.inputs["input_ids"].shape[1] == sizes.rows == sum(batch.segments)
    assert sum(batch.asked) == sizes.asked
    assert len(batch.targets) == len(batch.positions) == sizes.learned
    assert int((batch.targets >= 0).sum()) == sum(d.learned for d in documents)
    assert max(batch.lengths) <= sizes.longest
    plain = sum(len(d.ids) - shared for d in documents) + shared
    assert sizes.rows <= 1.3 * plain + 200, "little of it is filler"
    assert min(b - a for a, b in itertools.pairwise([0, *itertools.accumulate(batch.segments)])) > 0
