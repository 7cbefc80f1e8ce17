"""Save a whole model as a folder that transformers can load like the original."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from brulee.models.disk import as_umask_says
from brulee.models.generation_settings import own_stops
from brulee.models.loading import Base

_GENERATION = "generation_config.json"
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
    stops: Sequence[int] = (),
) -> None:
    """Write a base's model, its tokenizer (or another), and its processors' settings.

    `weights` are the model's full weights, if the model itself does not hold them all. `stops` are
    the tokens that it was trained to end its answers with: other tools stop at those that
    `generation_config.json` names, where a base model's has no token of a chat.
    """
    base.model.save_pretrained(folder, state_dict=weights)
    if (missing := stops_missing(base, stops)) and (folder / _GENERATION).is_file():
        settings = json.loads((folder / _GENERATION).read_text(encoding="utf-8"))
        settings["eos_token_id"] = [*own_stops(base.model), *missing]
        text = json.dumps(settings, indent=2, sort_keys=True)
        (folder / _GENERATION).write_text(f"{text}\n", encoding="utf-8")
    (tokenizer or base.tokenizer).save_pretrained(folder)
    for name in _PROCESSORS:
        if (base.folder / name).is_file():
            shutil.copyfile(base.folder / name, folder / name)
    as_umask_says(folder)


def stops_missing(base: Base, stops: Iterable[int]) -> list[int]:
    """Those of the tokens at which the base's own generation settings do not stop."""
    return [token for token in stops if token not in own_stops(base.model)]
