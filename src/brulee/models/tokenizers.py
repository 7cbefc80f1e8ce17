"""Load the tokenizer of a base model without its weights."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from brulee.data.encoded import Kind
from brulee.data.encoding import Encoder
from brulee.errors import InputError
from brulee.models.added_tokens import asked, extend
from brulee.models.bundled import NAME, bundled_folder, cache_folder
from brulee.models.chat_templates import by_recipe, mode_of
from brulee.models.languages import read_languages
from brulee.models.named import TOKENIZER, downloaded
from brulee.progress import waiting
from brulee.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@waiting("Loading the tokenizer")
def load_encoder(recipe: Recipe) -> Encoder:
    """The encoder of a recipe's rows into token ids; raises InputError as `load_tokenizer` does."""
    from brulee.models.lengths import within_context

    base = recipe.base
    with recipe.source.placing():
        tokenizer, kind = load_tokenizer(base.name, base.revision, recipe.source.resolve)
        if recipe.languages is not None:
            read_languages(tokenizer, recipe.languages, Path(base.name).name)
        extend(tokenizer, asked(base))
    return encoder_of(by_recipe(tokenizer, kind, recipe), kind, within_context(recipe))


def encoder_of(
    tokenizer: PreTrainedTokenizerBase, kind: Kind, recipe: Recipe, day: date | None = None
) -> Encoder:
    """The encoder of a recipe's rows into token ids, for a tokenizer that has its chat template.

    `day` is as for `Encoder`.
    """
    return Encoder(
        tokenizer,
        kind=kind,
        chat_template=mode_of(recipe.base.chat_template),
        system=recipe.system,
        max_length=recipe.train.max_length,
        day=day,
    )


def load_tokenizer(
    name: str, revision: str | None = None, resolve: Callable[[str], Path] = Path
) -> tuple[PreTrainedTokenizerBase, Kind]:
    """The tokenizer of `bundled`, a folder, a .gguf file or a Hub id, and the kind of its model.

    Reads no weights, except to convert the bundled model on first use. Raises InputError, with the
    name, if the model does not exist or has no tokenizer.
    """
    from brulee.models.gguf_tokens import gguf_tokenizer
    from brulee.models.reading_files import read_config, read_tokenizer, reason

    path = _bundled() if name == "bundled" else resolve(name)
    gguf = path.is_file()
    folder = path if gguf or path.is_dir() else downloaded(name, revision, TOKENIZER)
    try:
        tokenizer = gguf_tokenizer(path) if gguf else read_tokenizer(folder)
        config = None if gguf else read_config(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"model {name!r}: its tokenizer cannot be loaded: {reason(error)}"
        ) from None
    return tokenizer, "seq2seq" if config is not None and config.is_encoder_decoder else "causal"


def _bundled() -> Path:
    """The converted model's folder, without checking its weights, which are not read."""
    folder = cache_folder() / "models" / NAME
    return folder if (folder / "tokenizer.json").is_file() else bundled_folder()
