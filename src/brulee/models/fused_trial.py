"""Test whether a fused pass gives the same results as the model itself.

Two tests. The first is on a twin (twin.py), a small fp32 model of the same architecture, whose
windows are shorter than the test documents; one pair of documents is at the end of the model's
positions, or long if scores have a bias by distance. If the architecture has dropout, twins with
probability 1 in one place each show, deterministically, where it is applied. The second is on the
model itself, with its dtype, its device and everything that a method added.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from functools import partial

import torch
from transformers import PreTrainedModel

from brulee.data.batching import Batch, common_start, pack
from brulee.data.encoding import Encoded
from brulee.models.allocator import is_exhaustion
from brulee.models.context import context_length
from brulee.models.experts import router_modules
from brulee.models.form_reading import read_form
from brulee.models.hooks import Adds, Prefixes, Refreshes, owners
from brulee.models.layer_form import DecoderForm, LayerForm
from brulee.models.layer_parts import (
    added_to,
    layers_of,
    mlp_of,
    places_of_additions,
)
from brulee.models.linear_parts import parts_of
from brulee.models.rounding_trial import changed_by_rounding
from brulee.models.text_part import body_with_inputs, entrance
from brulee.models.twin import HEADS, WINDOW, drops, twin_of

# Classes, configurations and forms for which the test on a twin has succeeded.
FOUND_RIGHT: set[Hashable] = set()
Decoder = Callable[[Batch], torch.Tensor]
LONGEST = 9  # most tokens in a test document
_PAIRS = 5  # pairs of test documents
_TOKENS = 64  # tokens on which a router is tested
_END = 16  # distance from the last position
_FAR = 300  # tokens, at which a bias by distance shows whether it is rounded to bfloat16
_SLOPING = 9  # heads; of fewer, all slopes are powers of two, whose products are never rounded
_MULTIPLIED = 0.5  # stands for all residual multipliers other than 1


def hooks_are_known(model: PreTrainedModel) -> bool:
    """Whether all hooks on a model's modules declare what they do, by a protocol of hooks.py."""
    return _adds_only(model) and _prepares_only(model)


def _adds_only(model: PreTrainedModel) -> bool:
    """Whether every forward hook is an `Adds`, on a module where the fused pass applies it."""
    asked = {id(m) for layer in layers_of(model) for m in places_of_additions(layer)}
    hooked = [(m, hook) for m in model.modules() for hook in m._forward_hooks.values()]
    # A layer without `LinearParts` is called as a module, and its hooks would add a second time.
    maps = [m for layer in layers_of(model) if mlp_of(layer) == "" for m in (added_to(layer),)]
    called = any(m._forward_hooks and parts_of(m) is None for m in maps)
    return not called and all(isinstance(hook, Adds) and id(m) in asked for m, hook in hooked)


def _prepares_only(model: PreTrainedModel) -> bool:
    """Whether every forward pre-hook is of a known kind, and there is at most one prefix."""
    known = {id(own) for kind in (Refreshes, Prefixes, Adds) for own in owners(model, kind)}
    # The embedding is called as a module, with all its hooks.
    called = set(model.get_input_embeddings().modules())
    others = owners(model, object, without=called)
    prefixes = [m for m in entrance(model).children() if isinstance(m, Prefixes)]
    return (
        all(id(own) in known for own in others)
        and len(prefixes) == len(owners(model, Prefixes)) < 2
    )


def form_is_right(
    model: PreTrainedModel,
    form: DecoderForm,
    decoder_of: Callable[[PreTrainedModel, DecoderForm], Decoder],
) -> bool:
    """Whether decoders of this form compute what models of this class do, tested on a twin.

    If no twin can be built, a form is accepted only if the test on the model itself would show all
    its properties. A success is remembered in this process and not tested again.
    """
    return found_once(model, form, lambda: _is_right(model, form, decoder_of))


def found_once(model: PreTrainedModel, form: Hashable, trial: Callable[[], bool]) -> bool:
    """The result of a test on a twin; successes are cached by class, configuration and form."""
    key = type(model), model.config.to_json_string(use_diff=False), form
    if key not in FOUND_RIGHT and trial():
        FOUND_RIGHT.add(key)
    return key in FOUND_RIGHT


def _is_right(
    model: PreTrainedModel,
    form: DecoderForm,
    decoder_of: Callable[[PreTrainedModel, DecoderForm], Decoder],
) -> bool:
    heads = _SLOPING if _is_sloping(form) else HEADS
    twin = twin_of(model, _layers_of_all_kinds(form), heads=heads)
    if twin is None:
        plain = all(layer.plain for layer in form.layers)
        return plain and form.embedding == 1.0 and form.growth is None
    own = read_form(twin)
    if own is None or _around(own) != _around(form):
        return False
    if _kinds(own.layers) != _kinds(form.layers):
        return False
    decoder = decoder_of(twin, own)
    try:
        # An error may be NaN, if a twin's hidden states are; the comparison is then False.
        right = all(_error(decoder, twin, seed) <= 1e-4 for seed in range(_PAIRS - 1))
        right = right and _error(decoder, twin, _PAIRS - 1, *_far(twin, own)) <= 1e-4
    except (RuntimeError, ValueError, TypeError) as failure:
        if is_exhaustion(failure):
            raise
        return False  # layers of unexpected sizes
    if not right or _routes_by_chance(twin, own):
        return False
    return all(_drops_where_read(model, len(own.layers), key, decoder_of) for key in drops(model))


def _far(twin: PreTrainedModel, form: DecoderForm) -> tuple[int, int]:
    """Where a pair of documents far from the first position begins, and how much longer it is.

    A bias by distance counts from the first token, at whatever position that is said to be.
    """
    if _is_sloping(form):
        return 0, min(_FAR, (context_length(twin) or _FAR) - LONGEST)
    end = int(getattr(twin.config, "max_position_embeddings", 0) or 0) - _END
    return max(0, end), 0


def _is_sloping(form: DecoderForm) -> bool:
    return any(layer.extras.slopes for layer in form.layers)


def _drops_where_read(
    model: PreTrainedModel,
    layers: int,
    key: str,
    decoder_of: Callable[[PreTrainedModel, DecoderForm], Decoder],
) -> bool:
    """Whether results agree on a twin with the dropout of a configuration key set to 1."""
    twin = twin_of(model, layers, dropped=key)
    form = None if twin is None else read_form(twin)
    if twin is None or form is None:
        return False
    return _error(decoder_of(twin, form), twin, 0) <= 1e-4


def _layers_of_all_kinds(form: DecoderForm) -> int:
    """The number of first layers that include every kind of layer; at least two."""
    whole = _kinds(form.layers)
    depths = range(2, len(form.layers) + 1)
    return next((n for n in depths if _kinds(form.layers[:n]) == whole), len(form.layers))


def _around(form: DecoderForm) -> DecoderForm:
    """What a form says beside layers and dropout."""
    return replace(form, layers=(), words_drop=0.0)


def _kinds(layers: Iterable[LayerForm]) -> set[LayerForm]:
    """The distinct layer forms, apart from dropout and from limits that are another in a twin.

    Nor does it matter what residuals are multiplied by, which may depend on the number of layers
    (MiniCPM 3), but only whether they are.
    """
    alike = [
        replace(x.without_drops(), window=x.window and WINDOW, extras=x.extras.as_in_twins())
        for x in layers
    ]
    return {x if x.residual == 1.0 else replace(x, residual=_MULTIPLIED) for x in alike}


@torch.no_grad()
def _routes_by_chance(twin: PreTrainedModel, form: DecoderForm) -> bool:
    """Whether routing is random in training (Phi-MoE, Mixtral's jitter).

    Recomputation in the backward pass could then use other experts than the forward pass. The
    twin's routers are set to zero here, so that the experts tie and any randomness shows.
    """
    for router in router_modules(twin).values():
        router.get_parameter("weight").zero_()
    layers = zip(layers_of(twin), form.layers, strict=True)
    width = twin.get_input_embeddings().weight.shape[1]
    for block in (getattr(layer, own.mlp).train() for layer, own in layers if own.experts):
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            x_1TD = torch.randn(1, _TOKENS, width)
            # Clones, since jitter is applied to the input in place.
            one, other = (_first(block(x_1TD.clone())) for _ in range(2))
        if not torch.equal(one, other):
            return True
    return False


def _first(found: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return found if isinstance(found, torch.Tensor) else found[0]


def errors_of(decoder: Decoder, model: PreTrainedModel) -> list[float]:
    """Relative errors against the model itself on pairs of short documents with a shared start."""
    return [_error(decoder, model, seed) for seed in range(_PAIRS)]


def shaken_by(model: PreTrainedModel) -> list[float]:
    """Relative changes of its hidden states on the test documents if its layers are rounded."""
    runs = [partial(_all_alone, model, _documents(model, seed), 0) for seed in range(_PAIRS)]
    return [changed_by_rounding(layers_of(model), run) for run in runs]


@torch.no_grad()
def _error(
    decoder: Decoder, model: PreTrainedModel, seed: int, start: int = 0, longer: int = 0
) -> float:
    documents = _documents(model, seed, longer)
    batch = pack(documents, common_start(documents)).to(next(model.parameters()).device)
    batch.inputs["position_ids"] += start
    found, expected = decoder(batch).float(), _all_alone(model, documents, start)
    return float((found - expected).norm() / expected.norm())


def _documents(model: PreTrainedModel, seed: int, longer: int = 0) -> list[Encoded]:
    high, draw = model.get_input_embeddings().weight.shape[0], torch.Generator().manual_seed(seed)
    drawn = torch.randint(high, (12 + longer,), generator=draw).tolist()
    return [Encoded.ending(drawn[: 7 + longer], 3), Encoded.ending(drawn[:3] + drawn[6:], 4)]


def _all_alone(model: PreTrainedModel, documents: list[Encoded], start: int) -> torch.Tensor:
    return torch.cat([_alone(model, document, start) for document in documents]).float()


def _alone(model: PreTrainedModel, document: Encoded, start: int) -> torch.Tensor:
    ids = torch.tensor([document.ids], device=next(model.parameters()).device)
    at = torch.arange(start, start + len(document.ids), device=ids.device)[None]
    hidden_TD: torch.Tensor = body_with_inputs(model)(
        input_ids=ids, position_ids=at, use_cache=False
    ).last_hidden_state[0]
    return hidden_TD[len(document.ids) - document.learned - 1 : -1]
