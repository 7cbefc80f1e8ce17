"""Tokens added to a model's vocabulary: to its tokenizer, its embedding and its output head.

Each new token's row starts as the mean of the rows of the pieces that its text had before (Gee et
al. 2022, "Fast Vocabulary Transfer for Language Model Compression"). At first the token then means
about what its text meant, and the head gives it at most the mean probability of its pieces: the
exponential of a mean is at most the mean of the exponentials. So untrained tokens do not take over
the output, as randomly initialised ones may (Hewitt 2021, "Initializing New Word Embeddings for
Pretrained Language Models", which takes the mean of all rows).

Shapes: `V` vocabulary, `N` new tokens, `D` width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerBase

from brulee.errors import InputError
from brulee.models.text_part import text_modules
from brulee.models.vocabulary import looks_up_more
from brulee.recipe import ModelSpec


@dataclass(frozen=True)
class NewToken:
    """A text to be one token; `id` is the one that it must get, None: any.

    A `special` one is left out of decoded text, and texts of rows never become it.
    """

    text: str
    special: bool = False
    id: int | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What brulee.json says of it."""
        return {"text": self.text, "special": self.special, "id": self.id}


def asked(spec: ModelSpec) -> tuple[NewToken, ...]:
    """The tokens that a recipe's model section adds.

    Raises InputError for one that is to be of both kinds.
    """
    for text in spec.add_special_tokens:
        if text in spec.add_tokens:
            raise InputError(
                f"model.add_special_tokens: {text!r} is one of model.add_tokens too; name it once."
            )
    ordinary = tuple(NewToken(text) for text in spec.add_tokens)
    return ordinary + tuple(NewToken(text, special=True) for text in spec.add_special_tokens)


def extend(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[NewToken]
) -> tuple[tuple[NewToken, ...], dict[str, list[int]]]:
    """Add tokens to a tokenizer; those that it has as added tokens already are left as they are.

    Returns the new ones with their ids, and the ids of the pieces that each text had before. Raises
    InputError for a text that is an ordinary piece of the vocabulary, because words that have it
    would then be split, and for one that the tokenizer does not read as one token afterwards.
    """
    known = {token.content for token in tokenizer.added_tokens_decoder.values()}
    missing = [token for token in tokens if token.text not in known]
    vocabulary = tokenizer.get_vocab() if missing else {}
    pieces = {}
    for token in missing:
        if token.text in vocabulary:
            raise InputError(
                f"{_key(token)}: {token.text!r} is an ordinary piece of this model's vocabulary, "
                "which words are made of; add a text that is none, such as "
                f"{'<' + token.text.strip('<>') + '>'!r}."
            )
        pieces[token.text] = list(tokenizer(token.text, add_special_tokens=False)["input_ids"])
    for token in missing:
        one = AddedToken(token.text, special=token.special, normalized=False)
        tokenizer.add_tokens([one], special_tokens=token.special)
    return tuple(_placed(tokenizer, token) for token in missing), pieces


def _placed(tokenizer: PreTrainedTokenizerBase, token: NewToken) -> NewToken:
    at = int(tokenizer.convert_tokens_to_ids(token.text))
    if list(tokenizer(token.text, add_special_tokens=False)["input_ids"]) != [at]:
        raise InputError(
            f"{_key(token)}: this model's tokenizer splits {token.text!r} all the same."
        )
    if token.id not in (None, at):
        raise InputError(
            f"the token {token.text!r} was {token.id} in training, and this tokenizer makes it "
            f"{at}: it is not the one that was trained with."
        )
    return NewToken(token.text, token.special, at)


def _key(token: NewToken) -> str:
    return f"model.{'add_special_tokens' if token.special else 'add_tokens'}"


@torch.no_grad()
def give_rows(
    model: PreTrainedModel, added: Sequence[NewToken], pieces: Mapping[str, Sequence[int]]
) -> None:
    """Give new tokens a row each in the embedding and in the head, with their start values.

    Rows that the checkpoint has beyond its tokenizer's tokens are used first. Raises InputError for
    a model that looks its words up in another table too, which would lack them.
    """
    if looks_up_more(model, model.get_input_embeddings()):
        raise InputError(
            f"{_key(added[0])}: {type(model).__name__} looks its words up in a table for each "
            "layer too, which new tokens cannot be added to."
        )
    last = max(token.id or 0 for token in added)
    before = model.get_input_embeddings().weight.shape[0]
    if last >= before:
        _resize(model, last + 1)
    tables = tables_of(model)
    for weight in {id(m.weight): m.weight for m in tables.values()}.values():
        _begin(weight, before, added, pieces)
    for module in tables.values():
        if getattr(module, "bias", None) is not None:
            _begin(module.bias, before, added, pieces)


def _resize(model: PreTrainedModel, size: int) -> None:
    """Resize the tables, each of which stays a module of its own, as it is loaded.

    transformers puts one module into all places of an encoder-decoder.
    """
    before = tables_of(model)
    model.resize_token_embeddings(size, mean_resizing=False)
    for path, module in before.items():
        parent, _, leaf = path.rpartition(".")
        now = getattr(model.get_submodule(parent), leaf)
        if now is module:
            continue
        module.weight = now.weight
        if isinstance(module, nn.Embedding):
            module.num_embeddings = size
        else:
            module.bias, module.out_features = now.bias, size
        setattr(model.get_submodule(parent), leaf, module)


def _begin(
    table: torch.Tensor, before: int, added: Sequence[NewToken], pieces: Mapping[str, Sequence[int]]
) -> None:
    """Write the start values into a table of rows (V, D), or of a head's biases (V)."""
    mean = table[:before].mean(0, dtype=torch.float32).to(table.dtype)
    table[before:] = mean  # also of tokens that only the tokenizer had
    for token in added:
        own = [i for i in pieces[token.text] if i < before]
        table[token.id] = table[own].float().mean(0).to(table.dtype) if own else mean


def table_weights(model: PreTrainedModel) -> frozenset[str]:
    """The names of the parameters with a row per token: `tables_of`'s weights."""
    return frozenset(f"{path}.weight" for path in tables_of(model))


def tables_of(model: PreTrainedModel) -> dict[str, Any]:
    """The modules with a row per token, by path: embeddings of ids, and the head if it is linear.

    Those of an encoder-decoder's two parts, and those that share their weight with another.
    """
    holders = [model.get_input_embeddings(), model.get_output_embeddings()]
    if model.config.is_encoder_decoder:
        holders += [_embeddings(stack) for stack in (model.get_encoder(), model.get_decoder())]
    weights = {id(m.weight) for m in holders if m is not None}
    return {
        name: module
        for name, module in text_modules(model)
        if isinstance(module, nn.Embedding | nn.Linear) and id(module.weight) in weights
    }


def _embeddings(stack: nn.Module) -> nn.Module | None:
    """The token embeddings of an encoder or decoder; FSMT's are plain modules."""
    if isinstance(stack, PreTrainedModel):
        found: nn.Module = stack.get_input_embeddings()
        return found
    return getattr(stack, "embed_tokens", None)
