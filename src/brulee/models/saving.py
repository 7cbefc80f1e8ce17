"""Save a whole model as a folder that transformers can load like the original."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from brulee.models.disk import as_umask_says
from brulee.models.loading import Base

# Settings of the processors of images, sound and video.
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
    """Write a base's model, its tokenizer (or another), and its processors' settings.

    `weights` are the model's full weights, if the model itself does not hold them all.
    """
    base.model.save_pretrained(folder, state_dict=weights)
    (tokenizer or base.tokenizer).save_pretrained(folder)
    for name in _PROCESSORS:
        if (base.folder / name).is_file():
            shutil.copyfile(base.folder / name, folder / name)
    as_umask_says(folder)
