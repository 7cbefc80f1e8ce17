"""The tokens that a recipe adds to its model, and those whose rows it trains."""

from __future__ import annotations

from brulee.errors import InputError, nearest
from brulee.methods import Method
from brulee.methods.alongside import Alongside
from brulee.models.loading import Base
from brulee.progress import note
from brulee.recipe import Recipe


def alongside_of(recipe: Recipe, base: Base, method: Method) -> Alongside:
    """The rows that are trained alongside the method: of added tokens, and of those it names.

    Full fine-tuning trains them all anyway. Raises InputError for tokens that the model lacks, and
    for tokens named where they have no effect.
    """
    named, at = recipe.method.train_tokens, recipe.source.at(("method", "train_tokens"))
    if named and method.stores_model:
        raise InputError(f"{at}: method {method.name} trains every row; leave it out.")
    if method.stores_model or recipe.method.start:
        return Alongside()
    ids = [token.id for token in base.added if token.id is not None]
    for token in named:
        found = _id_of(token, base, at)
        if found not in ids:
            ids.append(found)
    return Alongside(tuple(ids))


def _id_of(token: str | int, base: Base, at: str) -> int:
    count = len(base.tokenizer)
    if isinstance(token, int):
        if token >= count:
            raise InputError(f"{at}: no token has the id {token}; valid: 0 to {count - 1}.")
        return token
    vocabulary = base.tokenizer.get_vocab()
    if token in vocabulary:
        return int(vocabulary[token])
    close = nearest(token, list(base.tokenizer.get_added_vocab()))
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise InputError(
        f"{at}: {token!r} is no token of this model; {hint}add it with model.add_tokens."
    )


def say_of_tokens(recipe: Recipe, base: Base) -> None:
    """Note tokens that the vocabulary had already, and those that no text can contain."""
    spec, added = recipe.base, {token.text for token in base.added}
    for key in ("add_tokens", "add_special_tokens"):
        at = recipe.source.at(("model", key))
        had = [text for text in getattr(spec, key) if text not in added]
        if had and not recipe.method.start:
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
