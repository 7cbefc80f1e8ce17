"""The grid: every way to tune keeps every promise of methods/base.py on every architecture.

A new method or option is a row of WAYS, and is then held to all of them.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods import METHODS, build_method
from brulee.methods.alongside import Alongside
from brulee.methods.base import Attached, Method
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.continuing import start_of
from brulee.methods.storing import save_adapter
from brulee.methods.targets import embedding_modules
from brulee.models.added_tokens import tables_of
from brulee.models.loading import Base
from brulee.recipe import MethodSpec, TrainSpec, recipe_from_dict
from brulee.training.documents import Document
from brulee.training.trainer import Trainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ARCHITECTURES = [
    "llama",
    "qwen3",
    "gemma",
    "mistral",
    "phi",
    "phi3",
    "gpt2",
    "gpt-neox",
    "t5",
    "bart",
]


@dataclass(frozen=True)
class Way:
    """A method under certain options, and which promises its kind does not make."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    neutral: bool = True  # before the first step it computes what the base computes
    drawn: bool = True  # its start depends on the seed
    merges: bool = True  # it can be folded into the base
    tokens: tuple[int, ...] = ()  # whose rows are trained alongside
    whole: str = ""  # the kind of module that is trained whole alongside: the words or the head
    in_place: bool = False  # it writes into the base, and takes it back when switched off
    unmergeable: tuple[str, ...] = ()  # architectures on which merging is refused
    seq2seq: Mapping[str, Any] = field(default_factory=dict)  # options of encoder-decoders alone


# Some of the tokens of the one document that is trained on, in no order.
ROWS = tuple(random.Random(0).sample(range(5, 300), 60)[20:24])

WAYS: dict[str, Way] = {
    "full": Way("full", {"keep_base": True}, drawn=False),
    "lora": Way("lora", {"rank": 4, "alpha": 8.0}),
    "dora": Way("lora", {"rank": 4, "dora": True}),
    "pissa": Way("lora", {"rank": 4, "init": "pissa"}, drawn=False),
    "rslora-plus": Way(
        "lora",
        {"target": "mlp", "rslora": True, "plus_ratio": 16.0, "ranks": {r".*\.1\..*": 3}},
    ),
    "lora-embeddings": Way("lora", {"target": ["attention", "embeddings"]}, unmergeable=("t5",)),
    "lora-head": Way("lora", {"target": ["mlp", "re:lm_head|embed_out"]}, unmergeable=("t5",)),
    "lora-tokens": Way("lora", {"rank": 4}, tokens=ROWS),
    "lora-words": Way("lora", {"rank": 4}, tokens=ROWS, whole="words", unmergeable=("t5",)),
    "lora-whole-head": Way("lora", {"rank": 4}, whole="head", unmergeable=("t5",)),
    "prefix-whole-head": Way(
        "prefix", {"tokens": 5}, neutral=False, merges=False, whole="head", unmergeable=("t5",)
    ),
    "ia3": Way("ia3", drawn=False),
    "ia3-tokens": Way("ia3", drawn=False, tokens=ROWS),
    "norms": Way("selective", {"train": "norms"}, drawn=False),
    "embeddings": Way("selective", {"train": "embeddings"}, drawn=False),
    "last layer": Way("selective", {"train": "layers", "layers": {"last": 1}}, drawn=False),
    "sparse": Way(
        "selective",
        {"train": "sparse", "mask": "magnitude", "density": 0.05},
        drawn=False,
        in_place=True,
    ),
    "sparse-tokens": Way(
        "selective",
        {"train": "sparse", "mask": "magnitude", "density": 0.05},
        drawn=False,
        in_place=True,
        tokens=ROWS,
    ),
    "houlsby": Way(
        "bottleneck",
        {"kind": "houlsby", "width": 3, "activation": "gelu"},
        merges=False,
        seq2seq={"cross_attention": True},
    ),
    "pfeiffer": Way("bottleneck", {"kind": "pfeiffer", "reduction": 8.0}, merges=False),
    "parallel": Way("bottleneck", {"kind": "parallel", "activation": "tanh"}, merges=False),
    # A soft prompt is there from the first step on, and no weight of the base can hold it.
    "prompt": Way("prompt", {"tokens": 5}, neutral=False, merges=False),
    "prompt-random": Way("prompt", {"tokens": 3, "init": "random"}, neutral=False, merges=False),
    "prompt-tokens": Way("prompt", {"tokens": 5}, neutral=False, merges=False, tokens=ROWS),
    "prefix": Way("prefix", {"tokens": 5}, neutral=False, merges=False),
    "prefix-random": Way("prefix", {"tokens": 3, "init": "random"}, neutral=False, merges=False),
    "prefix-projected": Way(
        "prefix", {"tokens": 4, "projection": True, "hidden": 6}, neutral=False, merges=False
    ),
}
# A softmax does not see it, so that its gradient may be none at all.
KEYS_BIAS = "k_proj.bias"
ADAPTERS = [name for name, way in WAYS.items() if not METHODS[way.method].stores_model]
MERGING = [name for name, way in WAYS.items() if way.merges]

MakeBase = Callable[[str], Base]
# Of the whole grid, which make test-all goes through, the fast tests have every way on two, and
# what only encoder-decoders have.
each_on_two = pytest.mark.diagonal(
    "name", "architecture", lines=2, also=[("houlsby", "t5"), ("lora-embeddings", "t5")]
)


@pytest.fixture(scope="session")
def pristine(make_base: Callable[..., Base]) -> MakeBase:
    """`pristine("llama")`: the same base every time, copied, which is cheaper than built."""
    built = {}

    def copied(architecture: str) -> Base:
        if architecture not in built:
            built[architecture] = make_base(architecture)
        base = built[architecture]
        return replace(base, model=copy.deepcopy(base.model))

    return copied


@pytest.fixture(scope="session", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def _method(base: Base, name: str) -> Method:
    way = WAYS[name]
    options = {**way.options, **(way.seq2seq if base.kind == "seq2seq" else {})}
    return build_method(MethodSpec(name=way.method, **options))


def _attach(base: Base, name: str, seed: int = 0) -> Attached:
    way, tables = WAYS[name], tables_of(base.model)
    words = embedding_modules(base.model).keys() & tables.keys()
    heads = {path for path, module in tables.items() if isinstance(module, nn.Linear)}
    whole = tuple(sorted({"": set(), "words": words, "head": heads}[way.whole]))
    alongside = Alongside(way.tokens, whole=whole)
    return alongside.attach(_method(base, name), base.model, seed)


def _move(attached: Attached, seed: int = 1) -> None:
    """Every trained value away from where it is: no correction stays at its neutral start."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)


def _trained(base: Base, name: str) -> Attached:
    attached = _attach(base, name)
    _move(attached)
    return attached


def _logits(base: Base, attached: Attached | None = None) -> torch.Tensor:
    ids = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    more = {"decoder_input_ids": ids.flip(0)} if base.kind == "seq2seq" else {}
    if attached is not None and attached.prefix_ids:
        ids = torch.cat([torch.tensor([attached.prefix_ids] * 2), ids], dim=1)
    with torch.no_grad():
        logits: torch.Tensor = base.model(input_ids=ids, **more).logits
    return logits


def _state(model: PreTrainedModel) -> dict[str, tuple[torch.Tensor, bool]]:
    return {n: (p.detach().clone(), p.requires_grad) for n, p in model.named_parameters()}


def _modules(base: Base) -> list[type]:
    return [type(module) for module in base.model.modules()]


def _assert_as_before(model: PreTrainedModel, before: dict[str, tuple[torch.Tensor, bool]]) -> None:
    after = _state(model)
    assert after.keys() == before.keys()
    for name, (tensor, trained) in before.items():
        assert torch.equal(after[name][0], tensor), name
        assert after[name][1] == trained, name


def test_every_method_is_held_to_the_contract() -> None:
    assert {way.method for way in WAYS.values()} == METHODS.keys()


@each_on_two
@pytest.mark.parametrize("name", WAYS)
def test_swapped_switched_off_or_taken_off_it_leaves_no_trace(
    pristine: MakeBase, name: str, architecture: str
) -> None:
    base = pristine(architecture)
    # Some of the base was frozen by somebody else, and stays so.
    next(base.model.parameters()).requires_grad_(False)
    before, modules, plain = _state(base.model), _modules(base), _logits(base)
    attached = _attach(base, name)
    if WAYS[name].neutral:
        torch.testing.assert_close(_logits(base, attached), plain, atol=5e-6, rtol=0.0)
    _move(attached)
    kept, tuned = _kept(attached), _logits(base, attached)
    assert not torch.allclose(tuned[:, -12:], plain, atol=1e-2), "the method does nothing"
    with attached.disabled():
        assert torch.equal(_logits(base), plain), "switched off it is not the base"
    with pytest.raises(RuntimeError), attached.disabled():
        raise RuntimeError
    _move(attached, seed=3)
    assert not torch.equal(_logits(base, attached), tuned), "nothing was swapped"
    attached.load(kept)
    assert torch.equal(_logits(base, attached), tuned), "there and back it is another"
    attached.detach()
    _assert_as_before(base.model, before)
    assert _modules(base) == modules
    assert torch.equal(_logits(base), plain)


@each_on_two
@pytest.mark.parametrize("name", MERGING)
def test_merging_changes_no_logit_and_leaves_no_module(
    pristine: MakeBase, name: str, architecture: str
) -> None:
    base = pristine(architecture)
    modules = _modules(base)
    attached = _trained(base, name)
    tuned = _logits(base)
    if architecture in WAYS[name].unmergeable:
        with pytest.raises(InputError, match="cannot merge: "):
            attached.merge()
        assert torch.equal(_logits(base), tuned), "refused, and yet changed"
        return
    attached.merge()
    torch.testing.assert_close(_logits(base), tuned, atol=1e-5, rtol=1e-5)
    assert _modules(base) == modules


@pytest.mark.parametrize("name", [name for name in WAYS if name not in MERGING])
def test_what_cannot_be_merged_says_why_and_stays_as_it_is(pristine: MakeBase, name: str) -> None:
    base = pristine("llama")
    attached = _trained(base, name)
    tuned = _logits(base, attached)
    with pytest.raises(InputError, match="cannot merge: "):
        attached.merge()
    assert torch.equal(_logits(base, attached), tuned), "refused, and yet changed"


@each_on_two
@pytest.mark.parametrize("name", WAYS)
def test_a_step_changes_what_is_trained_and_nothing_else(
    pristine: MakeBase, tmp_path: Path, name: str, architecture: str
) -> None:
    base = pristine(architecture)
    attached = _trained(base, name)
    groups = attached.groups()
    trained = {id(p) for group in groups for p in group.parameters}
    assert sum(len(group.parameters) for group in groups) == len(trained), "in two groups at once"
    counted = sum(p.numel() for p in base.model.parameters() if p.requires_grad)
    assert attached.trainable() == counted > 0
    switched_off = attached.disabled if WAYS[name].in_place else contextlib.nullcontext
    with switched_off():
        before = _state(base.model)
    _one_step(base, attached, tmp_path)
    with switched_off():
        for parameter_name, parameter in base.model.named_parameters():
            old, requires_grad = before[parameter_name]
            assert requires_grad == (id(parameter) in trained), parameter_name
            if KEYS_BIAS not in parameter_name:
                assert torch.equal(parameter, old) != (id(parameter) in trained), parameter_name
            elif id(parameter) not in trained:
                assert torch.equal(parameter, old), parameter_name


def _one_step(base: Base, attached: Attached, folder: Path) -> None:
    draw = random.Random(0)
    # Learned early too: in a model with a window, later tokens see nothing of what stands first.
    document = Encoded.ending([*attached.prefix_ids, *draw.sample(range(5, 300), 60)], 55)
    Trainer(
        base,
        attached,
        lambda i: Document(str(i), document),
        1,
        TrainSpec(batch_size=1, epochs=1.0),
        learning_rate=1e-2,
        folder=folder,
    ).train()


@each_on_two
@pytest.mark.parametrize("name", ADAPTERS)
def test_a_stored_adapter_gives_the_same_logits_on_a_fresh_base(
    pristine: MakeBase, tmp_path: Path, name: str, architecture: str
) -> None:
    base = pristine(architecture)
    attached = _trained(base, name)
    size = save_adapter(tmp_path, attached, base, "tiny", "a card", {"chat_template": "auto"})
    assert size == (tmp_path / "adapter_model.safetensors").stat().st_size

    fresh = pristine(architecture)
    plain, modules = _state(fresh.model), _modules(fresh)
    adapter = open_adapter(tmp_path)
    assert adapter.base_name == "tiny"
    assert adapter.method().name == WAYS[name].method
    again = attach_adapter(adapter, fresh)
    tuned = _logits(base, attached)
    torch.testing.assert_close(_logits(fresh, again), tuned, atol=1e-6, rtol=1e-6)
    for key, tensor in attached.tensors().items():
        assert torch.equal(again.tensors()[key], tensor), key
    again.detach()
    assert _modules(fresh) == modules
    _assert_as_before(fresh.model, plain)


@each_on_two
@pytest.mark.parametrize("name", ADAPTERS)
def test_training_starts_from_a_stored_adapter_as_it_is(
    pristine: MakeBase, tmp_path: Path, name: str, architecture: str
) -> None:
    base = pristine(architecture)
    attached = _trained(base, name)
    tuned = _logits(base, attached)
    asked = {"name": WAYS[name].method, **_method(base, name).options()}
    # Without what was asked for, as other tools store it, and with it.
    for kind, record in (("bare", {}), ("ours", {"method": asked})):
        save_adapter(tmp_path / kind, attached, base, "tiny", "a card", record)
        values = {"data": {"source": "unread"}, "method": {"start": str(tmp_path / kind)}}
        start, fresh = start_of(recipe_from_dict(values)), pristine(architecture)
        assert start is not None
        again = start.attach(fresh)
        torch.testing.assert_close(_logits(fresh, again), tuned, atol=1e-6, rtol=1e-6)
        assert again.config() == attached.config()
        for key, tensor in attached.tensors().items():
            assert torch.equal(again.tensors()[key], tensor), key
        if record and "projected" not in name:  # a network is not stored
            assert again.trainable() == attached.trainable()
            assert start.method.options() == _method(base, name).options()
        _move(again, seed=3)
        assert not torch.equal(_logits(fresh, again), tuned), "nothing of it is trained"


def _kept(attached: Attached) -> dict[str, torch.Tensor]:
    tensors = attached.tensors()
    assert all(t.device.type == "cpu" for t in tensors.values())
    values = {key: t for key, t in tensors.items() if not key.endswith(".indices")}
    assert all(t.dtype == torch.float32 for t in values.values())
    return {key: tensor.clone() for key, tensor in tensors.items()}


@pytest.mark.parametrize("name", WAYS)
def test_the_seed_decides_the_start(pristine: MakeBase, name: str) -> None:
    starts = [_attach(pristine("llama"), name, seed).tensors() for seed in (0, 0, 1)]
    assert all(torch.equal(starts[0][k], starts[1][k]) for k in starts[0])
    drawn = any(not torch.equal(starts[0][k], starts[2][k]) for k in starts[0])
    assert drawn == WAYS[name].drawn


@pytest.mark.parametrize("name", WAYS)
def test_tensors_that_do_not_fit_are_refused_by_name_and_none_is_taken(
    pristine: MakeBase, name: str
) -> None:
    base = pristine("llama")
    attached = _trained(base, name)
    kept, logits = _kept(attached), _logits(base, attached)
    key = max(kept)
    spoilt: dict[str, dict[str, torch.Tensor]] = {
        key: {k: t + 1 for k, t in kept.items() if k != key},
        "more": {**{k: t + 1 for k, t in kept.items()}, "more": torch.ones(1)},
        "shape": {**{k: t + 1 for k, t in kept.items()}, key: torch.ones(5, 3, 2)},
        "NaN": {**{k: t + 1 for k, t in kept.items()}, key: kept[key] * float("nan")},
    }
    for named, tensors in spoilt.items():
        with pytest.raises(InputError, match=named.replace(".", r"\.")):
            attached.load(tensors)
        assert torch.equal(_logits(base, attached), logits), named
