"""Configurations and tokenizers, read by transformers, and its reasons for not reading one.

Code that comes with a model is never run: without being told, transformers asks on the terminal
whether to run it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

_LONGEST = 200  # characters of a reason


def read_config(where: Path | str, **more: Any) -> PretrainedConfig:
    """A model's configuration; raises what transformers raises."""
    config: PretrainedConfig = AutoConfig.from_pretrained(where, trust_remote_code=False, **more)
    return config


def read_tokenizer(where: Path | str, **more: Any) -> PreTrainedTokenizerBase:
    """A model's tokenizer; raises what transformers raises."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        where, trust_remote_code=False, **more
    )
    return tokenizer


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
    # The Hub client's further lines hold advice, and URLs that the limit would cut off.
    lines = text.splitlines()[:1] if isinstance(error, OSError) else [text]
    return " ".join(" ".join(lines).split())[:_LONGEST] or type(error).__name__
