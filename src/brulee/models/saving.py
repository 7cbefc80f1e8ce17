"""A whole model written as a folder that transformers opens as it opens the one it came from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from brulee.models.disk import as_umask_says
from brulee.models.loading import Base

# What says how images, sound and video are read, beside the tokenizer.
_PROCESSORS = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
)


def save_whole(
    base: Base,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a base's model, a tokenizer (its own) and what its folder has to read other inputs.

    `weights` are the model's where it does not hold them whole.
    """
    base.model.save_pretrained(folder, state_dict=weights)
    (tokenizer or base.tokenizer).save_pretrained(folder)
    for name in _PROCESSORS:
        if (base.folder / name).is_file():
            shutil.copyfile(base.folder / name, folder / name)
    as_umask_says(folder)
