"""Test whether the fused pass of an encoder-decoder gives the same results as the model itself.

As in fused_trial.py: first on a small fp32 twin of the model's class, then on the model itself with
everything that a method added. Dropout is off in both; where it is applied is read from the modules
(pair_form.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from transformers import PreTrainedModel

from brulee.data.batching import Batch, pack_pairs
from brulee.data.encoding import Encoded
from brulee.models.context import free_length
from brulee.models.fused_trial import found_once
from brulee.models.hooks import Adds, Prefixes, Refreshes, Renorms, owners
from brulee.models.pair_form import norms_after, places_of, read_pair_form
from brulee.models.pair_parts import PairForm, stacks_of
from brulee.models.rounding_trial import blocks_of, changed_by_rounding, only_round
from brulee.models.twin import pair_twin_of

Reader = Callable[[Batch], torch.Tensor]
_PAIRS = 5  # pairs of test documents
_SIZES = (45, 21), (7, 3)  # prompt and completion lengths, so long that distances share biases


def pair_hooks_are_known(model: PreTrainedModel) -> bool:
    """Whether all hooks on a model's modules declare what they do, by a protocol of hooks.py."""
    asked = {id(module) for module in places_of(model)}
    norms = {id(module) for module in norms_after(model)}
    hooked = [(m, hook) for m in model.modules() for hook in m._forward_hooks.values()]
    # Embeddings are called as modules, with all their hooks.
    called = {m for stack in stacks_of(model) for m in stack.embed_tokens.modules()}
    before = owners(model, object, without=called)
    known = owners(model, Refreshes | Adds | Prefixes, without=called)
    only_add = all(
        isinstance(hook, Adds) if id(m) in asked else isinstance(hook, Renorms) and id(m) in norms
        for m, hook in hooked
        if m not in called
    )
    return only_add and len(before) == len(known) and _one_prefix_at_most(model)


def _one_prefix_at_most(model: PreTrainedModel) -> bool:
    _, decoder = stacks_of(model)
    own = [module for module in decoder.children() if isinstance(module, Prefixes)]
    return len(own) == len(owners(model, Prefixes)) < 2


def pair_form_is_right(
    model: PreTrainedModel, form: PairForm, reader_of: Callable[[PreTrainedModel, PairForm], Reader]
) -> bool:
    """Whether readers of this form compute what models of this class do, tested on a twin."""

    def trial() -> bool:
        twin = pair_twin_of(model)
        if twin is None or read_pair_form(twin) != form:
            return False
        # One by one, as an error may be NaN, which a maximum may pass over.
        return all(error <= 1e-4 for error in errors_of_pairs(reader_of(twin, form), twin))

    return found_once(model, form, trial)


def pair_is_right(model: PreTrainedModel, reader: Reader, dtype: torch.dtype) -> bool:
    """Whether a reader gives the model's results up to rounding, with products in `dtype`."""
    runs = (partial(_all_alone, model, *_documents(model, seed)) for seed in range(_PAIRS))
    shaken = lambda: [changed_by_rounding(blocks_of(model), run) for run in runs]  # noqa: E731
    return only_round(errors_of_pairs(reader, model), dtype, shaken)


def errors_of_pairs(reader: Reader, model: PreTrainedModel) -> list[float]:
    """Relative errors against the model itself on packs of two documents."""
    training = model.training
    model.eval()
    try:
        return [_error(reader, model, seed) for seed in range(_PAIRS)]
    finally:
        model.train(training)


@torch.no_grad()
def _error(reader: Reader, model: PreTrainedModel, seed: int) -> float:
    documents, start = _documents(model, seed)
    batch = pack_pairs(documents, start).to(next(model.parameters()).device)
    found, expected = reader(batch).float(), _all_alone(model, documents, start)
    return float((found - expected).norm() / expected.norm())


def _documents(model: PreTrainedModel, seed: int) -> tuple[list[Encoded], tuple[int, ...]]:
    """Two documents, and the token that completions begin with."""
    high = min(stack.embed_tokens.weight.shape[0] for stack in stacks_of(model))
    room = free_length(model, max(map(max, _SIZES)))
    draw = torch.Generator().manual_seed(seed)
    documents = [
        Encoded.ending(torch.randint(high, (read + written,), generator=draw).tolist(), written)
        for read, written in ([min(n, room) for n in sizes] for sizes in zip(*_SIZES, strict=True))
    ]
    # PLBart's has none, and begins with its BOS token; here any token will do.
    return documents, (int(getattr(model.config, "decoder_start_token_id", None) or 0),)


def _all_alone(
    model: PreTrainedModel, documents: Sequence[Encoded], start: tuple[int, ...]
) -> torch.Tensor:
    return torch.cat([_alone(model, document, start) for document in documents]).float()


def _alone(model: PreTrainedModel, document: Encoded, start: tuple[int, ...]) -> torch.Tensor:
    device = next(model.parameters()).device
    ids, shifted = (
        torch.tensor([row], device=device)
        for row in (document.prompt, (*start, *document.completion[:-1]))
    )
    encoder, decoder = stacks_of(model)
    given = encoder(input_ids=ids).last_hidden_state
    written = decoder(input_ids=shifted, encoder_hidden_states=given, use_cache=False)
    hidden_TD: torch.Tensor = written.last_hidden_state[0]
    return hidden_TD
