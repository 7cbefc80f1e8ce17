"""Prompt tuning: trained vectors at the start of every document, read by a frozen model.

Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning". The vectors belong
to token ids past the vocabulary, which the wrapped embedding resolves; an encoder-decoder reads
them in its encoder. Stored as in PEFT, which stores P-tuning (Liu et al. 2021) in the same way:
only the output of P-tuning's network, not the network.

Shapes: `P` virtual tokens, `D` width, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from brulee.errors import InputError
from brulee.methods.base import Attached, Method, ParameterGroup, copy_checked
from brulee.methods.linear import weight_of
from brulee.methods.peft_config import FILE, refuse_unsupported, task_type
from brulee.methods.prompt_start import COMMON, SoftOptions, StartText, check_room, read_soft
from brulee.methods.wrapping import Wrapper, Wrapping
from brulee.models.vocabulary import looks_up_more

KEY = "prompt_embeddings"
FIRST = (
    2**24
)  # the first virtual token's id: beyond every vocabulary, so that it cannot be a real token's
_READ = {
    "encoder_dropout",
    "encoder_hidden_size",
    "encoder_num_layers",
    "encoder_reparameterization_type",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "num_virtual_tokens",
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "token_dim",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
}


class PromptOptions(SoftOptions):
    """Options of prompt tuning."""


class Prompt(Method):
    """Train the vectors of virtual tokens at the start of every document."""

    name = "prompt"
    peft_types = ("PROMPT_TUNING", "P_TUNING")
    summary = "trained vectors before every document, read like tokens"
    learning_rate = 3e-2
    Options = PromptOptions

    def __init__(self, options: PromptOptions | None = None, sets: int = 1) -> None:
        """`sets`: how many times P rows are stored; PEFT stores two for T5 and reads the first."""
        self._options, self._sets = options or PromptOptions(), sets
        self._start = StartText(self._options)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Prompt:
        """Read a PEFT adapter_config.json.

        Raises InputError naming a setting, known or not, that this method does not support.
        """
        refuse_unsupported(config, "prompt", _READ, {})
        sets = config.get("num_transformer_submodules") or 1
        if sets not in (1, 2):
            raise InputError(f"{FILE}: num_transformer_submodules = {sets!r}; valid: 1, 2.")
        return cls(read_soft(PromptOptions, "a prompt tuning configuration", config), sets)

    def continued(self, options: Mapping[str, Any]) -> Prompt | None:
        """However it was initialised, its vectors are the file's."""
        own = PromptOptions.model_validate(options)
        return Prompt(own, self._sets) if own.tokens == self._options.tokens else None

    def options(self) -> dict[str, Any]:
        """The options, including all defaults."""
        return self._options.model_dump()

    def label(self) -> str:
        """For instance "prompt 20"."""
        return f"prompt {self._options.tokens}"

    def virtual_tokens(self) -> int:
        """How many virtual ids every document starts with."""
        return self._options.tokens

    def instruct(self, tokenizer: PreTrainedTokenizerBase, instruction: str) -> None:
        """Tokenize the text to start from."""
        self._start.read(tokenizer, instruction)

    def attach(self, model: PreTrainedModel, seed: int = 0) -> Attached:
        """Wrap the input embedding and freeze every parameter of the base.

        Raises InputError for a stored prompt of another kind of model, and for a model that also
        looks tokens up in other tables.
        """
        if self._sets == 2 and not model.config.is_encoder_decoder:
            raise InputError(
                f"{FILE}: num_transformer_submodules = 2 is for encoder-decoders, and "
                f"{type(model).__name__} is none."
            )
        check_room(model, self._options.tokens)
        name, table = reading_embedding(model)
        start_PD = self._start_vectors(table, torch.Generator().manual_seed(seed))
        if looks_up_more(model, table):
            raise InputError(
                f"method prompt: {type(model).__name__} looks its words up in a table for each "
                "layer too, where a soft prompt has no vectors; use another method."
            )
        layer = PromptEmbedding(table, start_PD)
        return _PromptAttached(Wrapping(model, {name: layer}), layer, self._sets)

    @torch.no_grad()
    def _start_vectors(self, table: nn.Module, generator: torch.Generator) -> torch.Tensor:
        weight_VD = weight_of(table)
        if self._options.init == "random":
            # The standard deviation of the model's own token vectors.
            common = torch.arange(min(COMMON, len(weight_VD)), device=weight_VD.device)
            drawn_PD = torch.randn(self._options.tokens, weight_VD.shape[1], generator=generator)
            scale: torch.Tensor = table(common).float().std()
            return drawn_PD.to(weight_VD.device) * scale
        ids_P = self._start.ids(len(weight_VD), generator).to(weight_VD.device)
        vectors_PD: torch.Tensor = table(ids_P)
        return vectors_PD.float()


class PromptEmbedding(Wrapper):
    """An embedding with P more ids; `base_layer` keeps the frozen original."""

    def __init__(self, base_layer: nn.Module, start_PD: torch.Tensor) -> None:
        super().__init__(base_layer)
        self.prompt_embeddings = nn.Parameter(start_PD.clone())

    def before(self, x: torch.Tensor) -> torch.Tensor:
        """Ids x (...), with virtual ones replaced by 0."""
        return x.masked_fill(x >= FIRST, 0)

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Ids x (...) and real tokens' vectors (..., D) -> (..., D)."""
        virtual = x >= FIRST
        # Real tokens look up a zero row that gets no gradient: this avoids a GPU synchronisation.
        count = len(self.prompt_embeddings)
        table = F.pad(self.prompt_embeddings, (0, 0, 0, 1))
        rows = (x - FIRST).masked_fill(~virtual, count)
        trained = F.embedding(rows, table, padding_idx=count)
        return torch.where(virtual.unsqueeze(-1), trained.to(out.dtype), out)

    def merged(self) -> dict[str, torch.Tensor]:
        """Always raises InputError: a soft prompt cannot be merged."""
        raise InputError(
            "method prompt cannot merge: a soft prompt is read before every document, and no "
            "weight of the base holds what is read. Keep the adapter beside its base."
        )


class _PromptAttached(Attached):
    def __init__(
        self, wrapping: Wrapping[PromptEmbedding], layer: PromptEmbedding, sets: int
    ) -> None:
        self.model, self._wrapping, self._layer, self._sets = wrapping.model, wrapping, layer, sets
        self.prefix_ids = tuple(range(FIRST, FIRST + len(layer.prompt_embeddings)))

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("prompt", (self._layer.prompt_embeddings,), decay=False)]

    def tensors(self) -> dict[str, torch.Tensor]:
        # A copy on the CPU too: further training must not change what was returned.
        return {KEY: self._layer.prompt_embeddings.detach().float().cpu().clone()}

    def config(self) -> dict[str, Any]:
        count, width = self._layer.prompt_embeddings.shape
        return {
            "peft_type": "PROMPT_TUNING",
            "task_type": task_type(self.model),
            "num_virtual_tokens": count,
            # Unused here; PEFT requires it if it cannot find it in the model's configuration.
            "num_attention_heads": getattr(self.model.config, "num_attention_heads", 1),
            "token_dim": width,
            "num_transformer_submodules": 1,
            "prompt_tuning_init": "RANDOM",
            "inference_mode": True,
        }

    @torch.no_grad()
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        own = self._layer.prompt_embeddings
        scratch = {KEY: own.new_empty(self._sets * len(own), own.shape[1])}
        copy_checked(scratch, tensors)
        own.copy_(scratch[KEY][: len(own)])
        self._sets = 1

    def merge(self) -> None:
        self._wrapping.fold()

    def detach(self) -> None:
        self._wrapping.off()
        self.prefix_ids = ()

    def disabled(self) -> AbstractContextManager[None]:
        return self._wrapping.disabled()


def reading_embedding(model: PreTrainedModel) -> tuple[str, nn.Module]:
    """The embedding of the model's input, and its path: the encoder's own, if there is one."""
    reader = model.get_encoder() if model.config.is_encoder_decoder else model
    table = reader.get_input_embeddings()
    (outer,) = (name for name, module in model.named_modules() if module is reader)
    (inner,) = (name for name, module in reader.named_modules() if module is table)
    return f"{outer}.{inner}".lstrip("."), table
