"""Prefix tuning: trained keys and values that every layer attends to before a document's own.

Li and Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation". Initialised with
keys and values of real tokens, which they found best. Stored as in PEFT: P rows of every layer's
keys, then its values.

Shapes: `P` prefix positions, `C` values per position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Any

import torch
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from brulee.errors import InputError
from brulee.methods.base import Attached, Method, ParameterGroup, copy_checked, freeze
from brulee.methods.peft_config import FILE, refuse_unsupported, task_type
from brulee.methods.prefix_cache import NAME, PrefixCache, Sizes, activations, sizes_of
from brulee.methods.prefix_source import DirectPrefix, PrefixSource, ProjectedPrefix
from brulee.methods.prompt_start import SoftOptions, StartText, check_room, read_soft
from brulee.models.text_part import entrance

KEY = "prompt_embeddings"
_READ = {
    "encoder_hidden_size",
    "init_weights",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "num_virtual_tokens",
    "prefix_projection",
    "token_dim",
}


class PrefixOptions(SoftOptions):
    """Options of prefix tuning."""

    projection: bool = Field(
        False, description="train through a two-layer network, folded in when stored"
    )
    hidden: Annotated[int, Field(ge=1, le=2**16)] | None = Field(
        None, description="the network's inner width; default: that of a layer's keys"
    )


class Prefix(Method):
    """Train keys and values that every layer attends to before a document's own."""

    name = "prefix"
    peft_types = ("PREFIX_TUNING",)
    summary = "trained keys and values in every layer, before a document's own"
    learning_rate = 1e-2
    Options = PrefixOptions

    def __init__(
        self, options: PrefixOptions | None = None, stored: Mapping[str, Any] | None = None
    ) -> None:
        """`stored`: the configuration of a prefix on disk, whose layout must match the model."""
        self._options, self._stored = options or PrefixOptions(), stored or {}
        self._start = StartText(self._options)
        if self._options.hidden is not None and not self._options.projection:
            raise InputError("method.hidden: of use with projection: true only.")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Prefix:
        """Read a PEFT adapter_config.json.

        Raises InputError naming a setting, known or not, that this method does not support.
        """
        refuse_unsupported(config, "prefix", _READ, {})
        return cls(read_soft(PrefixOptions, "a prefix tuning configuration", config), config)

    def continued(self, options: Mapping[str, Any]) -> Prefix | None:
        """Without a projection, which is folded in when it is stored."""
        own = PrefixOptions.model_validate({**options, "projection": False, "hidden": None})
        return Prefix(own, self._stored) if own.tokens == self._options.tokens else None

    def options(self) -> dict[str, Any]:
        """The options, including all defaults."""
        return self._options.model_dump()

    def label(self) -> str:
        """For instance "prefix 20"."""
        return f"prefix {self._options.tokens}"

    def virtual_tokens(self) -> int:
        """How many positions precede every document."""
        return self._options.tokens

    def instruct(self, tokenizer: PreTrainedTokenizerBase, instruction: str) -> None:
        """Tokenize the text to start from."""
        self._start.read(tokenizer, instruction)

    def attach(self, model: PreTrainedModel, seed: int = 0) -> Attached:
        """Put the prefix into the decoder's cache and freeze every parameter of the base.

        Raises InputError for a model whose layers do not all cache keys and values of one shape.
        """
        check_room(model, self._options.tokens)
        sizes = sizes_of(model)
        self._check_layout(sizes, model)
        generator = torch.Generator().manual_seed(seed)
        source = self._source(model, sizes, generator)
        return _PrefixAttached(model, PrefixCache(source, sizes, model))

    def _source(
        self, model: PreTrainedModel, sizes: Sizes, generator: torch.Generator
    ) -> PrefixSource:
        own = self._options
        ids_P = self._start.ids(model.get_input_embeddings().weight.shape[0], generator)
        start_PC = _laid_out(activations(model, ids_P), sizes)
        from_nothing = own.init == "random"
        if from_nothing:
            drawn_PC = torch.randn(start_PC.shape, generator=generator).to(start_PC.device)
            # The standard deviation of real keys and values; a projection has its own
            # initialisation.
            start_PC = drawn_PC * start_PC.std() * (not own.projection)
        if not own.projection:
            return DirectPrefix(start_PC)
        width = sizes.heads * sizes.width
        return ProjectedPrefix(start_PC, width, own.hidden or width, generator, from_nothing)

    def _check_layout(self, sizes: Sizes, model: PreTrainedModel) -> None:
        for key, right in _layout(sizes).items():
            given = self._stored.get(key)
            if given not in (None, right):
                name = type(model).__name__
                raise InputError(f"{FILE}: {key} = {given!r}, but a prefix of {name} has {right}.")


class _PrefixAttached(Attached):
    def __init__(self, model: PreTrainedModel, prefix: PrefixCache) -> None:
        self.model, self._prefix, self._decoder = model, prefix, entrance(model)
        self.reserved = prefix.source.count
        self._thaw = freeze(model)
        self._decoder.add_module(NAME, prefix)
        self._hook = self._decoder.register_forward_pre_hook(prefix.before, with_kwargs=True)

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("prefix", tuple(self._prefix.parameters()), decay=False)]

    def tensors(self) -> dict[str, torch.Tensor]:
        # A copy on the CPU too: further training must not change what was returned.
        return {KEY: self._prefix.source().detach().float().cpu().clone()}

    def config(self) -> dict[str, Any]:
        sizes = self._prefix.sizes
        return {
            "peft_type": "PREFIX_TUNING",
            "task_type": task_type(self.model),
            "num_virtual_tokens": self._prefix.source.count,
            **_layout(sizes),
            "encoder_hidden_size": sizes.heads * sizes.width,
            "prefix_projection": False,
            "inference_mode": True,
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        scratch = {KEY: torch.empty_like(self._prefix.source().detach())}
        copy_checked(scratch, tensors)
        self._prefix.source.take(scratch[KEY])

    def merge(self) -> None:
        raise InputError(
            "method prefix cannot merge: a prefix is keys and values that no token has, and no "
            "weight of the base makes them. Keep the adapter beside its base."
        )

    def detach(self) -> None:
        self._hook.remove()
        self._prefix.enabled = False
        delattr(self._decoder, NAME)
        for parameter in self._thaw:
            parameter.requires_grad_(True)
        self.reserved = 0

    @contextmanager
    def _switched_off(self) -> Iterator[None]:
        self._prefix.enabled = False
        try:
            yield
        finally:
            self._prefix.enabled = True

    def disabled(self) -> AbstractContextManager[None]:
        return self._switched_off()


def _layout(sizes: Sizes) -> dict[str, int]:
    """How PEFT splits the rows of a prefix into layers and heads."""
    return {
        "num_transformer_submodules": 2 if sizes.crossed else 1,
        "num_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "token_dim": sizes.heads * sizes.width,
    }


def _laid_out(found: list[tuple[torch.Tensor, torch.Tensor]], sizes: Sizes) -> torch.Tensor:
    """Keys and values of every layer in the stored layout, (P, C); zero where no layer reads."""
    blocks: list[torch.Tensor | None] = [None] * (2 * sizes.layers)
    for layer, block in enumerate(sizes.blocks()):
        if blocks[2 * block] is None:
            blocks[2 * block], blocks[2 * block + 1] = found[layer]
    nothing = torch.zeros_like(found[0][0])
    stacked = torch.cat([nothing if block is None else block for block in blocks])
    return stacked.permute(2, 0, 1, 3).flatten(1).float()
