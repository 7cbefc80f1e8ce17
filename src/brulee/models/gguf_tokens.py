"""The tokenizer of a GGUF file, its special tokens those that the file names.

transformers does not read them in every version that is allowed here: 5.17 ends a text with the
token that begins it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from transformers import AutoTokenizer, PreTrainedTokenizerBase

# What transformers calls a token, and GGUF.
_KINDS: Final = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def gguf_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """What transformers makes of the file; raises whatever transformers raises."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        path.parent, gguf_file=path.name
    )
    for kind, number in _special_ids(path):
        if getattr(tokenizer, f"{kind}_token_id") != number and number < len(tokenizer):
            setattr(tokenizer, f"{kind}_token", tokenizer.convert_ids_to_tokens(number))
    return tokenizer


def _special_ids(path: Path) -> Iterator[tuple[str, int]]:
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    for kind, theirs in _KINDS.items():
        field = fields.get(f"tokenizer.ggml.{theirs}_token_id")
        if field is not None:
            yield kind, int(field.parts[field.data[0]][0])
