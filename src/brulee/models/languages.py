"""The languages that a translation model reads and writes: `model.languages` of a recipe.

Multilingual tokenizers (NLLB, mBART, M2M100, PLBart) put the source language beside the prompt, and
the decoder is given the target language first: after its start token, as NLLB, M2M100 and mBART-50
were trained, or in place of one, as mBART and PLBart. Which of them is read from the configuration:
a start token that is a language, or none, is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from brulee.errors import InputError, unknown

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_KEY: Final = "model.languages"
_START, _FORCED = "decoder_start_token_id", "forced_bos_token_id"


def read_languages(
    tokenizer: PreTrainedTokenizerBase, languages: Mapping[str, str], name: str
) -> None:
    """Have a tokenizer read texts in the source language, and know the target language.

    Raises InputError, with the model's `name`, for a tokenizer without languages, and for a
    language that it does not know.
    """
    known = _known(tokenizer)
    if not known:
        raise InputError(
            f"{_KEY}: the tokenizer of {name} has no languages to choose from; leave the key out."
        )
    for side, code in languages.items():
        if code not in known:
            raise unknown("language", code, known, f"{_KEY}.{side}: {name}")
    own: Any = tokenizer
    own.src_lang, own.tgt_lang = languages["source"], languages["target"]


def write_language(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, target: str) -> None:
    """Have a model's decoder begin with a language of its tokenizer (see `decoder_start`)."""
    known = _known(tokenizer)
    places = (model.generation_config, model.config)
    start = next((i for p in places if (i := getattr(p, _START, None)) is not None), None)
    key = _START if start is None or start in known.values() else _FORCED
    setattr(model.generation_config, key, known[target])
    if getattr(model.config, key, None) is not None:  # transformers trains with this one
        setattr(model.config, key, known[target])


def told_of(languages: Mapping[str, str] | None) -> str:
    """Languages in a sentence."""
    if languages is None:
        return "those of its files"
    return f"{languages['source']} to {languages['target']}"


def check_alike(
    first: Mapping[str, str] | None,
    second: Mapping[str, str] | None,
    name: str,
    other: str,
) -> None:
    """Raise InputError if two, called `name` and `other`, are for other languages."""
    if first != second:
        raise InputError(
            f"{name} translates {told_of(first)}, and {other} {told_of(second)}: no one base "
            "does both."
        )


def chosen(
    own: Mapping[str, str] | None, asked: Mapping[str, str] | None, name: str
) -> Mapping[str, str] | None:
    """The languages asked for, else an adapter's own; InputError if it has others."""
    if asked is not None and own is not None:
        check_alike(own, asked, name, "--languages")
    return own if asked is None else asked


def _known(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The languages of a tokenizer, and the token of each."""
    if not hasattr(tokenizer, "src_lang"):
        return {}
    listed = getattr(tokenizer, "lang_code_to_id", None)
    if listed:
        return {str(code).strip("_"): int(token) for code, token in listed.items()}
    named = set(tokenizer.special_tokens_map.values())  # its begin, end, mask ...
    codes = [token for token in tokenizer.all_special_tokens if token not in named]
    return {code: int(tokenizer.convert_tokens_to_ids([code])[0]) for code in codes}
