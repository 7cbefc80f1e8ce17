"""Requests for several adapters over one base, batched together.

    requests     a: "..."   b: "..."   a: "..."   base: "..."   c: "..."
    prompts      read by each adapter's own view, common prefixes once
    rows         one pass per token for all, each row with its adapter (routing.py)

For an encoder-decoder whose rows may join (pair_trial.py), each adapter's own encoder reads its
prompts, and one pass continues the decoder's rows. Adapters that cannot be mixed, and those of all
other models, run separately, one adapter after another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from brulee.inference.completion import Completion
from brulee.inference.engine import Engine
from brulee.inference.generation import Order
from brulee.inference.padded import padded_parts
from brulee.inference.pair_decoder import PairDecoder
from brulee.inference.pair_trial import PairTrial, joins_pairs
from brulee.inference.routed import UnroutableError
from brulee.inference.routing import Learned, Router
from brulee.inference.row import Voice
from brulee.inference.sampling import Sampling
from brulee.inference.stream_decoder import StreamDecoder
from brulee.inference.waves import waves
from brulee.methods.base import Attached
from brulee.methods.swapping import Swap


@dataclass(frozen=True)
class Request:
    """A prompt's token ids and the requested adapter; None for the base."""

    adapter: str | None
    prompt: Sequence[int]


class MixedEngine:
    """Engines of adapters held in `swap`, by name, over one base; None is the base's own.

    `apart` says why an adapter cannot be mixed with others; `router` computes those that can, None
    if the model does not allow it; `pairs`: whether rows of an encoder-decoder join. Threads take
    turns: changing the contents of `swap` requires holding `turn`.
    """

    def __init__(self, swap: Swap, base: Engine) -> None:
        self.swap, self.turn = swap, threading.RLock()
        self.engines: dict[str | None, Engine] = {None: base}
        self.voices: dict[str | None, Voice] = {None: base.voice}
        self.pairs = joins_pairs(base.model, base.pad_id)
        mixes = base.reads_streams or self.pairs
        self.router = self._router_of(base.model) if mixes else None
        self._trial: Router | None = None  # tries adapters while others are computed
        self.apart: dict[str, str] = {}

    def learn(self, view: PreTrainedModel, attached: Attached) -> Learned | str:
        """What an adapter does, or why it cannot be mixed with others.

        May be called in a thread other than the computing one, as `Swap.made`.
        """
        if self.router is None:
            return "this model's requests are padded, and neither read as a stream nor joined"
        if self._trial is None:
            self._trial = self._router_of(self.swap.pattern)
        try:
            return self._trial.learn(view, attached)
        except UnroutableError as error:
            return str(error)

    def _router_of(self, model: PreTrainedModel) -> Router:
        return Router(model, PairTrial(self.engines[None].pad_id) if self.pairs else None)

    def add(self, name: str, engine: Engine, learned: Learned | str) -> None:
        """Add an adapter that `swap` holds, with the engine of its view."""
        view, _ = self.swap.view(name)
        with self.turn:
            self.engines[name] = engine
            self.voices[name] = Voice(name, view.model)
            if self.router is None or isinstance(learned, str):
                self.apart[name] = str(learned)
            else:
                self.router.put(name, learned)

    def remove(self, name: str) -> None:
        """Remove an adapter."""
        with self.turn:
            del self.engines[name], self.voices[name]
            self.apart.pop(name, None)
            if self.router is not None:
                self.router.remove(name)

    def joins(self, name: str | None) -> bool:
        """Whether an adapter's rows are batched; if it cannot be mixed, with its own rows only."""
        if self.engines[None].reads_streams or name not in self.apart:
            return self.router is not None
        # In its own view, an adapter's prefix would be added to every row's mask a second time.
        _, attached = self.swap.view(name)
        return self.pairs and attached is not None and not attached.reserved

    def complete(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Completions in the order of the requests, equal to `Engine.complete` for each alone.

        Random streams are numbered by request. `done(i, completion)` is called as soon as request i
        is finished. Raises InputError as `Engine.complete` does.
        """
        texts = self.engines[None].texts(sampling)
        outputs: dict[int, Completion] = {}
        with self.turn:
            for i, ids in self._written(requests, sampling):
                outputs[i] = texts.completion(ids)
                if done is not None:
                    done(i, outputs[i])
        return [outputs[i] for i in range(len(requests))]

    def _written(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> Iterator[tuple[int, list[int]]]:
        orders = [
            self.engines[asked.adapter].order(i, asked.prompt, i, sampling)
            for i, asked in enumerate(requests)
        ]
        alone: dict[str | None, list[int]] = {}
        mixed: list[int] = []
        for i, asked in enumerate(requests):
            far = self.engines[asked.adapter].stretches(len(asked.prompt) + orders[i].most)
            if self.router is None or asked.adapter in self.apart or far:
                alone.setdefault(asked.adapter, []).append(i)
            else:
                mixed.append(i)
        self.swap.use(None)
        together = self._paired if self.pairs else self._together
        yield from together([orders[i] for i in mixed], requests, sampling)
        for name, own in alone.items():
            yield from self._apart(name, [orders[i] for i in own], sampling)

    def _together(
        self, orders: Sequence[Order], requests: Sequence[Request], sampling: Sampling
    ) -> Iterator[tuple[int, list[int]]]:
        """Generate in waves of mixed adapters, with each adapter's prompts adjacent."""
        base = self.engines[None]
        numbers: Mapping[str | None, int] = {name: at for at, name in enumerate(self.engines)}
        names = [requests[order.request].adapter for order in orders]
        found = waves(
            [order.prompt for order in orders],
            [order.most for order in orders],
            base.batch_tokens,
            sampling.beams,
            [numbers[name] for name in names],
        )
        for wave in found:
            own = [orders[i] for i in wave.prompts]
            voices = [self.voices[names[i]] for i in wave.prompts]
            prompts = [order.prompt for order in own]
            decoder = StreamDecoder(prompts, voices, wave, base.pass_tokens, self.router)
            yield from base.carry_out(decoder, own, sampling)

    def _paired(
        self, orders: Sequence[Order], requests: Sequence[Request], sampling: Sampling
    ) -> Iterator[tuple[int, list[int]]]:
        """Generate in batches of mixed adapters, longest first, each adapter's rows adjacent."""
        base, numbers = self.engines[None], {name: at for at, name in enumerate(self.engines)}
        sizes = [sampling.beams * (len(order.prompt) + order.most) for order in orders]
        for part in padded_parts(sizes, base.batch_tokens):
            part.sort(key=lambda i: numbers[requests[orders[i].request].adapter])
            own = [orders[i] for i in part]
            decoder = PairDecoder(
                [order.prompt for order in own],
                [self.voices[requests[order.request].adapter] for order in own],
                [order.most for order in own],
                self.router,
                base.pad_id,
                sampling.beams,
            )
            yield from base.carry_out(decoder, own, sampling)

    def _apart(
        self, name: str | None, orders: Sequence[Order], sampling: Sampling
    ) -> Iterator[tuple[int, list[int]]]:
        self.swap.use(name)
        try:
            yield from self.engines[name].written(orders, sampling)
        finally:
            self.swap.use(None)
