"""Configurations and tokenizers, read by transformers, and its reasons for not reading one.

Code that comes with a model is never run: without being told, transformers asks on the terminal
whether to run it.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any, Final

import transformers
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from brulee.errors import InputError

SENTENCEPIECE: Final = ("*.model", "*.spm")  # the files of such a tokenizer
# Where a processor's chat template is, if it is not in a file that tokenizers read too.
_OF_PROCESSOR: Final = ("processor_config.json", "chat_template.json")
_LONGEST = 200  # characters of a reason


def read_config(where: Path | str, **more: Any) -> PretrainedConfig:
    """A model's configuration; raises what transformers raises."""
    config: PretrainedConfig = AutoConfig.from_pretrained(where, trust_remote_code=False, **more)
    return config


def read_tokenizer(where: Path, **more: Any) -> PreTrainedTokenizerBase:
    """A model's tokenizer, with its processor's chat template if it has none itself.

    Raises what transformers raises, and InputError for one that is only there as SentencePiece
    wrote it, and cannot be read here.
    """
    _need_sentencepiece(where)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        where, trust_remote_code=False, **more
    )
    if tokenizer.chat_template is None and not more:
        tokenizer.chat_template = _processors_template(where)
    return tokenizer


def _processors_template(folder: Path) -> str | None:
    """The chat template in the files of a processor alone, as LLaVA's and Pixtral's are.

    Raises InputError for such a file that is no JSON object.
    """
    for name in _OF_PROCESSOR:
        if (folder / name).is_file():
            try:
                found = dict(json.loads((folder / name).read_text(encoding="utf-8")))
            except (ValueError, TypeError):
                raise InputError(f"{folder / name}: not a JSON object.") from None
            if isinstance(template := found.get("chat_template"), str):
                return template
    return None


def _need_sentencepiece(folder: Path) -> None:
    """Else transformers, which takes the file for one of tiktoken's, asks for that library."""
    if (folder / "tokenizer.json").is_file() or importlib.util.find_spec("sentencepiece"):
        return
    for file in (file for pattern in SENTENCEPIECE for file in sorted(folder.glob(pattern))):
        raise InputError(
            f"{file}: reading this tokenizer needs sentencepiece, which is not installed; "
            "run: pip install 'brulee[sentencepiece]'"
        )


def reason(error: Exception) -> str:
    """Why transformers does not read a file, on one line."""
    text = str(error).strip()
    if "trust_remote_code" in text:
        return "it needs code from its own repository (auto_map in its files), which is never run"
    if unknown := re.search(r"model type `(.+?)`.* does not recognize this architecture", text):
        return (
            f"transformers {transformers.__version__} does not know the model type "
            f"{unknown[1]!r}; a newer one may"
        )
    if unknown := re.search(r"Unrecognized configuration class <class '[\w.]*?(\w+)'>", text):
        return f"it has no class for a {unknown[1]} that reads text and writes text"
    # The Hub client's further lines hold advice, and URLs that the limit would cut off.
    lines = [text]
    if isinstance(error, OSError):
        lines = [line.partition(" Checkout 'http")[0] for line in text.splitlines()[:1]]
    return " ".join(" ".join(lines).split())[:_LONGEST] or type(error).__name__
