"""The tokenizer of a GGUF file, with the special tokens that the file names.

Some of the supported versions of transformers do not read them: 5.17 uses the BOS token as EOS.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from transformers import PreTrainedTokenizerBase

from brulee.models.reading_files import read_tokenizer

# Names of special tokens in transformers and in GGUF.
_KINDS: Final = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def gguf_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The file's tokenizer as transformers loads it; raises what transformers raises."""
    tokenizer = read_tokenizer(path.parent, gguf_file=path.name)
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
