"""The tokens that a recipe adds to its model, and those whose rows it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from brulee.errors import InputError, nearest
from brulee.methods import Method
from brulee.methods.alongside import NOTHING, Alongside
from brulee.methods.continuing import StartAdapter
from brulee.models.added_tokens import NewToken, asked, extend
from brulee.models.loading import Base
from brulee.models.tokenizers import load_tokenizer
from brulee.progress import note
from brulee.recipe import ADDED, ALONGSIDE, Recipe


@dataclass(frozen=True)
class TokenRows:
    """Tokens whose rows are trained with any method that stores an adapter.

    `vocabulary`: how many rows the model needs at least.
    """

    trained: Alongside = NOTHING
    vocabulary: int = 0

    def alongside(self, method: Method) -> Alongside:
        """What is trained alongside a method: nothing where that trains all rows itself."""
        return NOTHING if method.stores_model else self.trained


NO_ROWS = TokenRows()


def rows_of(recipe: Recipe) -> TokenRows:
    """The rows of a resolved recipe; its tokenizer alone is read, and only if it names any."""
    spec = recipe.base
    whole = tuple(recipe.method.train_whole)
    if not (spec.add_tokens or spec.add_special_tokens or recipe.method.train_tokens):
        return TokenRows(Alongside(whole=whole)) if whole else NO_ROWS
    tokenizer, _ = load_tokenizer(spec.name, spec.revision, recipe.source.resolve)
    added, _ = extend(tokenizer, asked(spec))
    last = max((token.id or 0 for token in added), default=-1)
    return TokenRows(Alongside(_ids(recipe, tokenizer, added), whole=whole), last + 1)


def alongside_of(
    recipe: Recipe, base: Base, method: Method, start: StartAdapter | None
) -> Alongside:
    """What is trained alongside the method: rows of added tokens, and what the recipe names.

    Full fine-tuning trains everything anyway, and an adapter to start from has its own. Raises
    InputError for tokens that the model lacks, and for what is named where that has no effect.
    """
    spec, source = recipe.method, recipe.source
    if method.stores_model:
        for key in (key for key in ALONGSIDE if getattr(spec, key)):
            raise InputError(
                f"{source.at(('method', key))}: method {method.name} trains everything; leave it "
                "out."
            )
        return NOTHING
    ids, whole = _ids(recipe, base.tokenizer, base.added), tuple(spec.train_whole)
    if start is None:
        return Alongside(ids, whole=whole)
    own = start.adapter.alongside()
    for key, differs in (
        ("train_tokens", spec.train_tokens and own.every != frozenset(ids)),
        ("train_whole", whole and set(whole) != set(own.saved)),
    ):
        if differs:
            raise InputError(
                f"{source.at(('method', key))}: what {start.name}, from which training starts, has "
                "trained beside its method is trained further, and nothing else; leave it out."
            )
    return NOTHING


def _ids(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, added: Sequence[NewToken]
) -> tuple[int, ...]:
    ids = [token.id for token in added if token.id is not None]
    at = recipe.source.at(("method", "train_tokens"))
    ids += [_id_of(token, tokenizer, at) for token in recipe.method.train_tokens]
    return tuple(dict.fromkeys(ids))


def _id_of(token: str | int, tokenizer: PreTrainedTokenizerBase, at: str) -> int:
    if isinstance(token, int):
        if token >= len(tokenizer):
            raise InputError(
                f"{at}: no token has the id {token}; valid: 0 to {len(tokenizer) - 1}."
            )
        return token
    vocabulary = tokenizer.get_vocab()
    if token in vocabulary:
        return int(vocabulary[token])
    close = nearest(token, list(tokenizer.get_added_vocab()))
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise InputError(f"{at}: {token!r} is no token of this model; {hint}model.add_tokens adds one.")


def say_of_tokens(recipe: Recipe, base: Base) -> None:
    """Note tokens that the vocabulary had already, and those that no text can contain."""
    spec, added = recipe.base, {token.text for token in base.added}
    for key in ADDED:
        at = recipe.source.at(("model", key))
        had = [text for text in getattr(spec, key) if text not in added]
        if had:
            note(
                f"{at}: {', '.join(map(repr, had))}: in this model's vocabulary already, and not "
                "added again; method.train_tokens trains the rows of such tokens too."
            )
    template = str(base.tokenizer.chat_template)
    unwritten = [text for text in spec.add_special_tokens if text in added and text not in template]
    if unwritten:
        note(
            f"{recipe.source.at(('model', 'add_special_tokens'))}: the chat template does not "
            f"write {', '.join(map(repr, unwritten))}, and texts of rows never become control "
            "tokens, so that nothing is learned of them; texts that rows contain belong under "
            "model.add_tokens."
        )
