"""What is predicted of memory and time: counted parts, probed ones, and how they are scaled."""

from __future__ import annotations

import functools
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BltConfig, Gemma3nTextConfig, PretrainedConfig

from brulee.data.batching import pack_pairs
from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods import build_method
from brulee.models.head import CompletionLoss
from brulee.pipeline.plan import imports_of_trials, plan
from brulee.planning import micro_batch
from brulee.planning.cost import Saves, cost
from brulee.planning.memory import memory
from brulee.planning.micro_batch import fitting_tokens
from brulee.planning.probe import Probe, Prober, Work, heaviest
from brulee.recipe import MethodSpec, TrainSpec, recipe_from_dict
from brulee.training.passes import Passes

DOCUMENTS = [Encoded.ending(tuple(range(5, 45)), 8), Encoded.ending(tuple(range(50, 80)), 6)]


STEPS = [DOCUMENTS, DOCUMENTS[:1], DOCUMENTS[1:]]


def probed(make_base: Callable[..., Any], layers: int, method: str, optimizer: str) -> Probe:
    prober = Prober(layers, torch.device("cpu"))
    base = make_base("llama", num_hidden_layers=layers)
    attached = build_method(MethodSpec(name=method)).attach(base.model)
    spec = TrainSpec.model_validate({"optimizer": optimizer})
    return prober.probe(Passes(base, most=2), attached, STEPS, spec)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_two_depths_tell_a_third(make_base: Callable[..., Any], method: str) -> None:
    one, three = (probed(make_base, layers, method, "adamw") for layers in (1, 3))
    real, told = probed(make_base, 8, method, "adamw"), one.deeper(three, 8)
    for part in ("weights", "gradients", "optimizer"):
        assert getattr(told, part) == pytest.approx(getattr(real, part)), part
    assert one.deeper(one, 1) == one
    assert real.token > 0
    assert real.update > 0
    assert min(real.peak, real.saving) >= real.runtime > 10**7


def test_what_a_process_holds_besides_is_added_everywhere() -> None:
    more = WHOLE.beside(1_000)
    assert memory(more, 50, 2).runtime == 1_007
    assert memory(more, 50, 2).total == 15_207
    assert memory(more, 50, 2).activations == memory(WHOLE, 50, 2).activations


def test_moments_in_eight_bits_are_counted_as_they_are(make_base: Callable[..., Any]) -> None:
    pytest.importorskip("bitsandbytes")
    whole, eight = (probed(make_base, 2, "full", kind) for kind in ("adamw", "adamw8bit"))
    assert whole.optimizer > 2 * whole.gradients
    assert eight.optimizer < whole.optimizer


def test_the_heaviest_pass_is_cut_as_training_cuts(make_base: Callable[..., Any]) -> None:
    passes = Passes(make_base("llama"), most=2)
    assert heaviest(STEPS, passes) == Work(DOCUMENTS, accumulates=False)
    passes.pass_tokens = 40
    assert heaviest(STEPS, passes) == Work(DOCUMENTS[:1], accumulates=True)


WHOLE = Probe(
    layers=4,
    token=0.02,
    update=0.5,
    first=3.0,
    weights=10_000,
    gradients=400,
    optimizer=800,
    peak=14_207,
    saving=12_000,
    runtime=7,
)


def test_memory_is_the_sum_of_its_parts() -> None:
    found = memory(WHOLE, vocabulary=50, learned=2)
    assert (found.weights, found.gradients, found.optimizer) == (10_000, 400, 800)
    assert found.runtime == 7
    assert found.logits == 2 * 4 * 2 * 50
    assert found.activations == 3000 - 800
    assert found.total == 14_207


def test_a_checkpoint_may_be_the_highest_moment() -> None:
    found = memory(replace(WHOLE, saving=15_000), vocabulary=50, learned=2)
    assert found.saving == 15_000 - 14_207
    assert found.total == 15_000


def test_time_grows_with_tokens_documents_and_steps() -> None:
    found = cost(
        WHOLE,
        tokens=1000,
        documents=40,
        document_seconds=0.1,
        steps=4,
        result_bytes=500,
        saves=Saves(written=9, keep=2, best=False),
    )
    assert found.seconds == pytest.approx(1000 * 0.02 + 4 * 0.5 + 3.0 + 40 * 0.1)
    assert (found.result_bytes, found.checkpoint_bytes) == (500, 3 * 1200)


@pytest.mark.parametrize(
    ("saves", "result", "expected"),
    [
        (Saves(written=9, keep=2, best=False), 500, 3 * 1200),  # the third is not whole yet
        (Saves(written=9, keep=2, best=False), 5000, 2 * 1200 + 5000),
        (Saves(written=9, keep=2, best=True), 500, 5 * 1200),
        (Saves(written=1, keep=2, best=False), 500, 1200 + 500),  # no more than are written
        (Saves(written=2, keep=2, best=True), 500, 4 * 1200),
    ],
)
def test_a_folder_is_counted_at_its_fullest(saves: Saves, result: int, expected: int) -> None:
    found = cost(
        WHOLE, tokens=1, documents=1, document_seconds=0, steps=1, result_bytes=result, saves=saves
    )
    assert found.folder_bytes == expected


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (Gemma3nTextConfig(hidden_size=32, intermediate_size=[24, *[48] * 34]), (35, 32, 48)),
        (BltConfig(), (25, 2048, 5632)),  # of its global part
    ],
    ids=["a width for each layer", "a width for each part"],
)
def test_sizes_that_a_configuration_gives_in_parts(
    config: PretrainedConfig, sizes: tuple[int, int, int]
) -> None:
    model: Any = torch.nn.Module()
    model.config = config
    layers, width, inner = sizes
    one = layers * (micro_batch._WIDTHS * width + micro_batch._INNER * inner) * 4
    assert micro_batch.tokens_within(10**12, model, 0, 0, 4) == int(
        micro_batch._SHARE * 10**12 / one
    )


def test_less_memory_makes_smaller_passes(
    make_base: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_base("llama").model
    found = []
    monkeypatch.setattr(micro_batch, "held_bytes", lambda _: 0)
    for free in (10**9, 10**8, 0):
        monkeypatch.setattr(micro_batch, "room", lambda _, free=free: free)
        found.append(fitting_tokens(model, [], torch.device("cpu")))
    assert found[0] == pytest.approx(10 * found[1], rel=0.01)
    assert found[2] == 256
    monkeypatch.setattr(micro_batch, "room", lambda _: 10**9)
    monkeypatch.setattr(micro_batch, "held_bytes", lambda _: 4 * 10**8)  # half of what may be used
    assert fitting_tokens(model, [], torch.device("cpu")) == pytest.approx(found[0] / 2, rel=0.01)
    monkeypatch.setattr(micro_batch, "held_bytes", lambda _: 0)
    # Trained values take 12 bytes each, for the gradient and two moments.
    trained = [torch.nn.Parameter(torch.empty(4 * 10**8 // 12, device="meta"))]
    few = fitting_tokens(model, trained, torch.device("cpu"))
    assert few == pytest.approx(found[0] / 2, rel=0.01)


def test_every_expert_that_a_token_goes_through_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against what autograd saves of a token in a pass through transformers' layers."""
    make = runpy.run_path(str(Path(__file__).parents[2] / "experts.py"))["make_experts"]
    model = make("olmoe", hidden_size=128, intermediate_size=64, num_experts_per_tok=6)
    monkeypatch.setattr(micro_batch, "held_bytes", lambda _: 0)
    monkeypatch.setattr(micro_batch, "room", lambda _: 10**9)
    token_bytes = 0.8 * 10**9 / fitting_tokens(model, [], torch.device("cpu"))
    model.requires_grad_(False).enable_input_require_grads()
    ids = torch.randint(3, 300, (1, 256))
    measured = _kept(model, lambda: model.model(input_ids=ids, use_cache=False)) / 256
    assert measured < token_bytes < 2 * measured


def _kept(model: torch.nn.Module, work: Callable[[], object]) -> int:
    """The bytes that autograd saves on the way forward, beside weights."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        work()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    return sum(size for place, size in kept.items() if place not in weights)


@pytest.mark.parametrize(
    "sizes",
    [{"d_ff": 704}, {"d_ff": 1024, "d_model": 64}, {"d_ff": 2048, "d_model": 32, "d_kv": 64}],
    ids=["base", "3b", "11b"],
)
def test_heads_and_mlps_wider_than_a_t5_is_count(
    sizes: dict[str, int], make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether tokens are read or written, of which a pass may have either alone."""
    sizes = {"d_model": 256, "d_kv": 32, "num_heads": 8, **sizes}
    model = make_model("t5-gated", dropout_rate=0.1, num_decoder_layers=2, **sizes)
    monkeypatch.setattr(micro_batch, "held_bytes", lambda _: 0)
    monkeypatch.setattr(micro_batch, "room", lambda _: 10**9)
    token_bytes = 0.8 * 10**9 / fitting_tokens(model, [], torch.device("cpu"))
    loss = CompletionLoss(model)
    model.train()
    for written in (2, 254):
        batch = pack_pairs([Encoded.ending(tuple(range(3, 259)), written)], (0,))
        measured = _kept(model, functools.partial(loss, batch)) / 256
        assert measured < token_bytes < 3 * measured


@pytest.mark.diagonal("sizes", "shares")
@pytest.mark.parametrize("shares", [{}, {"dropout": 0.1, "activation_dropout": 0.1}])
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"encoder_ffn_dim": 4096},
        {"decoder_layers": 6, "encoder_layers": 1},
    ],
    ids=["base", "wide-encoder", "deep-decoder"],
)
def test_both_stacks_of_a_bart_count(
    sizes: dict[str, int],
    shares: dict[str, float],
    make_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The deeper of them, and the wider of their MLPs."""
    own = {"encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024, "max_position_embeddings": 512}
    model = make_model("bart", d_model=256, init_std=0.05, **{**own, **sizes, **shares})
    monkeypatch.setattr(micro_batch, "held_bytes", lambda _: 0)
    monkeypatch.setattr(micro_batch, "room", lambda _: 10**9)
    token_bytes = 0.8 * 10**9 / fitting_tokens(model, [], torch.device("cpu"))
    loss = CompletionLoss(model)
    assert loss.fused
    model.train()
    heaviest = 0.0
    for written in (2, 254):
        batch = pack_pairs([Encoded.ending(tuple(range(3, 259)), written)], (0,))
        heaviest = max(heaviest, _kept(model, functools.partial(loss, batch)) / 256)
    assert heaviest < token_bytes < 4 * heaviest


def test_a_method_that_is_not_valid_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brulee.pipeline.plan.Apart", lambda *_: pytest.fail("started"))
    recipe = recipe_from_dict({"data": {"source": "rows.jsonl"}}, ["method.target=[]"])
    with pytest.raises(InputError, match=r"^--set method\.target: method\.target = \[\]"):
        plan(recipe)


def test_an_unknown_method_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brulee.pipeline.plan.Apart", lambda *_: pytest.fail("started"))
    recipe = recipe_from_dict({"data": {"source": "rows.jsonl"}})
    with pytest.raises(InputError, match=r"^--method: unknown method 'lra'; did you mean 'lora'"):
        plan(recipe, ["lora", "lra"])


@pytest.mark.parametrize("wide", ["encoder", "decoder"])
def test_the_larger_of_two_configurations_counts(
    wide: str, make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of T5Gemma, whose stacks may be of different models."""
    larger = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4}
    model = make_model("t5gemma", **{wide: larger})
    monkeypatch.setattr(micro_batch, "held_bytes", lambda _: 0)
    monkeypatch.setattr(micro_batch, "room", lambda _: 10**9)
    alone = make_model("llama", **larger)
    found = [fitting_tokens(each, [], torch.device("cpu")) for each in (model, alone)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("device", "quantise", "more"),
    [("cpu", "nf4", True), ("cpu", None, False), ("cuda", "nf4", False)],
)
def test_trials_are_forked_from_what_has_not_seen_a_gpu(
    device: str, quantise: str | None, more: bool
) -> None:
    """bitsandbytes asks CUDA for its GPUs when it is imported, and no fork may use them then."""
    recipe = recipe_from_dict(
        {"model": {"name": "bundled", "quantise": quantise}, "data": {"source": "rows.jsonl"}}
    )
    assert ("bitsandbytes" in imports_of_trials(recipe, torch.device(device))) == more
