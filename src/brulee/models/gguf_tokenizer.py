"""Write a byte-level BPE tokenizer into GGUF's metadata.

GGUF stores tokens, merges and the name of a pre-tokenizer, which is implemented in llama.cpp. A
tokenizer whose pre-tokenizer has no name there cannot be represented.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from brulee.errors import InputError

if TYPE_CHECKING:
    from gguf import GGUFWriter

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # GGUF's token types
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# The regular expression of a pre-tokenizer -> its name in llama.cpp.
_PATTERNS = {
    rf"{_WORDS}|\p{{N}}{{1,3}}{_REST}": "llama-bpe",
    rf"{_WORDS}|\p{{N}}{_REST}": "qwen2",
}


def add_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
    """Write tokens, merges, special ids and the chat template, for `vocabulary` embedding rows.

    Raises InputError for a tokenizer that GGUF cannot represent.
    """
    inside = json.loads(tokenizer.backend_tokenizer.to_str())
    way, merges = _way(inside), inside["model"].get("merges")
    if way is None or not merges:
        raise InputError(
            "its tokenizer cannot be written as GGUF here: only byte-level BPE that cuts words as "
            "GPT-2, SmolLM, Llama 3 or Qwen 2 do can."
        )
    tokens, types = _tokens(tokenizer, inside, vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(way)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    for kind in ("bos", "eos", "unk", "pad"):
        number = getattr(tokenizer, f"{kind}_token_id")
        if number is not None:
            getattr(writer, f"add_{kind}_token_id")(number)
    empty = tokenizer("")["input_ids"]
    writer.add_add_bos_token(empty[:1] == [tokenizer.bos_token_id])
    writer.add_add_eos_token(empty[-1:] == [tokenizer.eos_token_id] and len(empty) > 0)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _way(inside: dict[str, Any]) -> str | None:
    """The name of the pre-tokenizer in llama.cpp; None if it has none."""
    cut = inside.get("pre_tokenizer") or {}
    parts = cut.get("pretokenizers") or [cut]
    *before, last = [part.get("type") for part in parts]
    if inside["model"]["type"] != "BPE" or last != "ByteLevel" or parts[-1]["add_prefix_space"]:
        return None
    own = parts[-1].get("use_regex", True)
    if not before and own:
        return "gpt-2"
    if before == ["Digits"] and own and parts[0]["individual_digits"]:
        return "smollm"
    if before == ["Split"] and not own:
        return _PATTERNS.get(parts[0]["pattern"].get("Regex", ""))
    return None


def _tokens(
    tokenizer: PreTrainedTokenizerBase, inside: dict[str, Any], vocabulary: int
) -> tuple[list[str], list[int]]:
    """Each id's token and type; ids without a token are of type unused."""
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    added = {token["id"]: token["special"] for token in inside["added_tokens"]}
    if max(by_id) >= vocabulary:
        raise InputError(
            f"its tokenizer has {max(by_id) + 1} tokens and its embedding {vocabulary} rows: "
            "GGUF needs a row for each token."
        )
    tokens = [by_id.get(number, f"[PAD{number}]") for number in range(vocabulary)]
    types = [
        _UNUSED
        if number not in by_id
        else _NORMAL
        if number not in added
        else _CONTROL
        if added[number]
        else _USER_DEFINED
        for number in range(vocabulary)
    ]
    return tokens, types
