"""Whether a faster way through a model gives what the model gives, which is tried.

Two trials. A twin (twin.py) has the model's architecture in fp32 and in small, with windows that
short documents are longer than; one pair of documents stands at the end of the positions that the
model knows. Where the architecture drops values in training, the twin drops all of them in one of
the places, which leaves nothing to chance. The model itself has all that a method put into it, its
number format, its device.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from brulee.data.batching import Batch, common_start, pack
from brulee.data.encoding import Encoded
from brulee.models.experts import router_modules
from brulee.models.hooks import Adds, Prefixes, Refreshes, owners
from brulee.models.layer_form import Form, LayerForm, read_form
from brulee.models.layer_parts import (
    added_to,
    layers_of,
    mlp_of,
    places_of_additions,
)
from brulee.models.linear_parts import parts_of
from brulee.models.text_part import entrance
from brulee.models.twin import WINDOW, drops, twin_of

# Classes, configurations and forms of which a twin has shown that they belong together.
FOUND_RIGHT: set[Hashable] = set()
Decoder = Callable[[Batch], torch.Tensor]
LONGEST = 9  # tokens of a document that a decoder is tried on
_PAIRS = 5  # of documents that a model is tried on
_TOKENS = 64  # that a router is tried on
_END = 16  # positions before the last


def hooks_are_known(model: PreTrainedModel) -> bool:
    """Whether the hooks on a model's modules say what they do; what others do is theirs to know."""
    return _adds_only(model) and _prepares_only(model)


def _adds_only(model: PreTrainedModel) -> bool:
    """Whether every hook on what a module gives is an addition, in a place that is asked for it."""
    asked = {id(m) for layer in layers_of(model) for m in places_of_additions(layer)}
    hooked = [(m, hook) for m in model.modules() for hook in m._forward_hooks.values()]
    # Called as it is, a map would make its additions itself.
    maps = [m for layer in layers_of(model) if mlp_of(layer) == "" for m in (added_to(layer),)]
    called = any(m._forward_hooks and parts_of(m) is None for m in maps)
    return not called and all(isinstance(hook, Adds) and id(m) in asked for m, hook in hooked)


def _prepares_only(model: PreTrainedModel) -> bool:
    """Whether all that modules call before they compute is known, and of prefixes there is one."""
    known = {id(own) for kind in (Refreshes, Prefixes, Adds) for own in owners(model, kind)}
    # The embedding is called as it is, with all that it calls.
    called = set(model.get_input_embeddings().modules())
    others = owners(model, object, without=called)
    prefixes = [m for m in entrance(model).children() if isinstance(m, Prefixes)]
    return (
        all(id(own) in known for own in others)
        and len(prefixes) == len(owners(model, Prefixes)) < 2
    )


def form_is_right(
    model: PreTrainedModel,
    form: Form,
    decoder_of: Callable[[PreTrainedModel, Form], Decoder],
) -> bool:
    """Whether decoders of this form compute what a model of this class does, by its twin.

    Where there is none, a form is right in which nothing is left that the model itself would not
    show. What was found right once in this process is not tried again.
    """
    return found_once(model, form, lambda: _is_right(model, form, decoder_of))


def found_once(model: PreTrainedModel, form: Hashable, trial: Callable[[], bool]) -> bool:
    """What a trial on a model's twin finds, which its class, configuration and form decide."""
    key = type(model), model.config.to_json_string(use_diff=False), form
    if key not in FOUND_RIGHT and trial():
        FOUND_RIGHT.add(key)
    return key in FOUND_RIGHT


def _is_right(
    model: PreTrainedModel,
    form: Form,
    decoder_of: Callable[[PreTrainedModel, Form], Decoder],
) -> bool:
    twin = twin_of(model, _layers_of_all_kinds(form))
    if twin is None:
        return all(layer.plain for layer in form.layers) and form.embedding == 1.0
    own = read_form(twin)
    if own is None or (own.embedding, own.places) != (form.embedding, form.places):
        return False
    if _kinds(own.layers) != _kinds(form.layers):
        return False
    decoder = decoder_of(twin, own)
    end = int(getattr(twin.config, "max_position_embeddings", 0) or 0) - _END
    starts = [0] * (_PAIRS - 1) + [max(0, end)]
    try:
        # An error may be no number, where a twin's hidden states are none.
        right = all(_error(decoder, twin, i, start) <= 1e-4 for i, start in enumerate(starts))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError):
        return False  # maps of other sizes than those that were read
    if not right or _routes_by_chance(twin, own):
        return False
    return all(_drops_where_read(model, len(own.layers), key, decoder_of) for key in drops(model))


def _drops_where_read(
    model: PreTrainedModel,
    layers: int,
    key: str,
    decoder_of: Callable[[PreTrainedModel, Form], Decoder],
) -> bool:
    """Whether a twin that drops all that a key of the configuration names gives the same."""
    twin = twin_of(model, layers, dropped=key)
    form = None if twin is None else read_form(twin)
    if twin is None or form is None:
        return False
    return _error(decoder_of(twin, form), twin, 0) <= 1e-4


def _layers_of_all_kinds(form: Form) -> int:
    """How many layers it takes from the first on to have met every kind; two at the least."""
    whole = _kinds(form.layers)
    depths = range(2, len(form.layers) + 1)
    return next((n for n in depths if _kinds(form.layers[:n]) == whole), len(form.layers))


def _kinds(layers: Iterable[LayerForm]) -> set[LayerForm]:
    """The layers that differ in more than in how long their windows are, and in shares."""
    return {replace(x.without_drops(), window=x.window and WINDOW) for x in layers}


@torch.no_grad()
def _routes_by_chance(twin: PreTrainedModel, form: Form) -> bool:
    """Whether a token in training is sent to other experts each time (Phi-MoE, Mixtral's jitter).

    Computed again on the way back, it would be through others than those that the loss is of. The
    twin's routers, which cannot tell experts apart after this, show it best.
    """
    for router in router_modules(twin).values():
        router.get_parameter("weight").zero_()
    layers = zip(layers_of(twin), form.layers, strict=True)
    width = twin.get_input_embeddings().weight.shape[1]
    for block in (getattr(layer, own.mlp).train() for layer, own in layers if own.experts):
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            x_1TD = torch.randn(1, _TOKENS, width)
            # Copies, as jitter is put into what is given.
            one, other = (_first(block(x_1TD.clone())) for _ in range(2))
        if not torch.equal(one, other):
            return True
    return False


def _first(found: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return found if isinstance(found, torch.Tensor) else found[0]


def errors_of(decoder: Decoder, model: PreTrainedModel) -> list[float]:
    """Of pairs of short documents, their common beginning computed once, beside the model alone."""
    return [_error(decoder, model, seed) for seed in range(_PAIRS)]


def only_round(errors: list[float], dtype: torch.dtype) -> bool:
    """Whether errors are those of products in `dtype`.

    A right formula is off by 0.02 to 0.09 of a hidden state's norm in bfloat16, by the pair (30
    layers of SmolLM2), so that there the middle of the pairs counts; in fp32 every one does.
    """
    if dtype == torch.float32:  # not the model's: what is trained may be wider
        return max(errors) <= 1e-4
    return statistics.median(errors) <= 0.05


@torch.no_grad()
def _error(decoder: Decoder, model: PreTrainedModel, seed: int, start: int = 0) -> float:
    device = next(model.parameters()).device
    high = model.get_input_embeddings().weight.shape[0]
    drawn = torch.randint(high, (12,), generator=torch.Generator().manual_seed(seed)).tolist()
    documents = [Encoded.ending(drawn[:7], 3), Encoded.ending(drawn[:3] + drawn[6:], 4)]
    batch = pack(documents, common_start(documents)).to(device)
    batch.inputs["position_ids"] += start
    found = decoder(batch).float()
    expected = torch.cat([_alone(model, document, start) for document in documents]).float()
    return float((found - expected).norm() / expected.norm())


def _alone(model: PreTrainedModel, document: Encoded, start: int) -> torch.Tensor:
    ids = torch.tensor([document.ids], device=next(model.parameters()).device)
    at = torch.arange(start, start + len(document.ids), device=ids.device)[None]
    hidden_TD: torch.Tensor = model.base_model(
        input_ids=ids, position_ids=at, use_cache=False
    ).last_hidden_state[0]
    return hidden_TD[len(document.ids) - document.learned - 1 : -1]
