"""Training that starts from a stored adapter: `method: {start: runs/a}`.

Method and options are the adapter's. What is attached is the method of its file, with its tensors;
the optimiser begins anew. "Before" is then the base with this adapter.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from brulee.errors import InputError
from brulee.methods import METHODS, build_method, unknown_method
from brulee.methods.adapter_files import config_digest, tensors_digest
from brulee.methods.base import Attached, Method
from brulee.methods.checkpoint import Adapter, attach_adapter, open_adapter
from brulee.methods.shelf import locate
from brulee.models.lengths import within_context
from brulee.models.loading import Base
from brulee.models.tokenizers import load_tokenizer
from brulee.recipe import ADDED, ALONGSIDE, MethodSpec, ModelSpec, Recipe, Source, check

_START = ("method", "start")
# Chen et al. 2023 take learning rates 3 to 10 times smaller than AdamW's.
_LION_RATE = 0.2


@dataclass(frozen=True)
class StartAdapter:
    """The adapter that training starts from, called `name` in the recipe.

    `method` trains it further, with the options of the recipe; `at` is the recipe's line.
    """

    name: str
    adapter: Adapter
    method: Method
    at: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its configuration and its tensors. Raises InputError for damage."""
        parts = config_digest(self.adapter.config), tensors_digest(self.adapter.tensors())
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    @property
    def record(self) -> dict[str, str]:
        """What a run and the adapter that comes of it say of it."""
        return {"adapter": self.name, "digest": self.digest}

    def attach(self, base: Base) -> Attached:
        """Put it on its base, to be trained. Raises InputError as `attach_adapter` does."""
        try:
            return attach_adapter(self.adapter, base, self.method)
        except InputError as error:
            raise InputError(f"{self.at}: {error}") from None


def start_of(recipe: Recipe) -> StartAdapter | None:
    """The adapter that a recipe's training starts from; None if it starts anew.

    Raises InputError for a folder without an adapter, and for a method or an option of the recipe
    that is not the adapter's.
    """
    spec, source = recipe.method, recipe.source
    if spec.start is None:
        return None
    at = source.at(_START)
    _refuse_full(spec, source)
    try:
        adapter = open_adapter(_folder(source, spec.start))
        stored, asked = adapter.method(), adapter.asked()
    except InputError as error:
        raise InputError(f"{at}: {error}") from None
    if spec.named and spec.name != stored.name:
        if spec.name not in METHODS:
            raise unknown_method(spec.name, source.at(("method", "name")))
        raise InputError(
            f"{source.at(('method', 'name'))}: method.name = {spec.name!r}, but {spec.start}, from "
            f"which training starts, is of method {stored.name}; leave it out."
        )
    own = (stored.continued(asked.options()) if asked else None) or stored
    changed = _changed(spec, own, stored, source)
    with source.placing():
        method = stored.continued({**own.options(), **changed})
    assert method is not None, "only options of training were changed"
    return StartAdapter(spec.start, adapter, method, at)


def method_of(recipe: Recipe) -> Method:
    """The recipe's method, also where it and its options are those of an adapter.

    Raises InputError as `build_method` and `start_of` do.
    """
    spec = recipe.method
    if spec.start is None:
        return build_method(spec, recipe.source)
    _refuse_full(spec, recipe.source)
    if (written := _written_out(spec, recipe.source)) is not None:
        return written
    start = start_of(recipe)
    assert start is not None, "the recipe names one"
    return start.method


def resolved(recipe: Recipe) -> Recipe:
    """The recipe with the method's options written out, its learning rate, and its lengths.

    A run's recipe then records what was done even if a later version changes the defaults. Raises
    InputError as `method_of` and `within_context` do.
    """
    method, own = method_of(recipe), recipe.method
    given: dict[str, Any] = {} if own.start is None else {"start": own.start}
    model, more = _of_start(recipe)
    given |= {key: value for key, value in more.items() if value}
    spec = MethodSpec(name=method.name, **given, **method.options())
    usual = method.learning_rate * (_LION_RATE if recipe.train.optimizer == "lion" else 1.0)
    rate = recipe.train.learning_rate or usual
    train = recipe.train.model_copy(update={"learning_rate": rate})
    changed = {"method": spec, "train": train, "model": model}
    return within_context(recipe.model_copy(update=changed))


def _of_start(recipe: Recipe) -> tuple[str | ModelSpec, dict[str, Any]]:
    """The model section and what is trained alongside; if not given, as the start has it."""
    spec, base, source = recipe.method, recipe.base, recipe.source
    given = recipe.model, {key: getattr(spec, key) for key in ALONGSIDE}
    said = any(getattr(base, key) for key in ADDED) or any(given[1].values())
    if spec.start is None or said:
        return given
    start = None if _written_out(spec, source) else start_of(recipe)
    if start is None or not start.adapter.alongside():
        return given
    tokens = start.adapter.tokens
    # Other tools store a whole tokenizer, most of whose added tokens are the base's own.
    tokenizer, _ = load_tokenizer(base.name, base.revision, source.resolve)
    known = tokenizer.get_vocab()
    new = [token for token in tokens if token.text not in known]
    texts = {
        "add_tokens": [token.text for token in new if not token.special],
        "add_special_tokens": [token.text for token in new if token.special],
    }
    alongside = start.adapter.alongside()
    rows = sorted(alongside.every - {token.id or 0 for token in new})
    more = {"train_tokens": rows, "train_whole": list(alongside.saved)}
    return base.model_copy(update=texts) if new else recipe.model, more


def _written_out(spec: MethodSpec, source: Source) -> Method | None:
    """The method of a run's own recipe, which says everything: its start may be gone by then."""
    if not spec.named:
        return None
    try:
        method = build_method(spec, source)
    except InputError:
        return None  # some options may be left to the adapter; what is wrong is found with it
    return method if method.options().keys() <= spec.options().keys() else None


def _refuse_full(spec: MethodSpec, source: Source) -> None:
    if spec.named and spec.name == "full":
        raise InputError(
            f"{source.at(_START)}: method full trains a whole model, and {spec.start} is to be an "
            "adapter; to train on from a fully tuned model, name it as the model: {model: "
            "runs/NAME/model}; `brulee adapters merge` makes one of an adapter."
        )


def _folder(source: Source, name: str) -> Path:
    found = locate(str(source.resolve(name)))
    if found.kind == "model":
        raise InputError(
            f"{name}: it is a whole model, not an adapter; name it as the model: {found.folder}"
        )
    return found.folder


def _changed(spec: MethodSpec, own: Method, stored: Method, source: Source) -> dict[str, Any]:
    """The options of training that the recipe gives. Raises InputError for others that differ."""
    given = check(stored.Options, spec.options(), source, ("method",)).model_dump()
    asked, there = own.options(), stored.options()
    changed = {}
    for key in spec.options():
        if key in stored.of_training:
            changed[key] = given[key]
        elif given[key] not in (asked.get(key), there.get(key)):
            raise InputError(
                f"{source.at(('method', key))}: method.{key} = {given[key]!r}, but {spec.start}, "
                f"from which training starts, has {asked.get(key)!r}; leave it out."
            )
    return changed
