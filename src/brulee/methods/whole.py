"""Fully tuned or merged models: a digest is stored with them and checked when they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brulee.data.encoding import Encoder
from brulee.errors import InputError
from brulee.methods.adapter_files import read_record
from brulee.methods.base import largest
from brulee.methods.storing import write_record
from brulee.models.base_files import base_digest
from brulee.models.chat_templates import by_record, mode_of
from brulee.models.loading import Base
from brulee.models.saving import save_whole


def save_as_recorded(base: Base, folder: Path, record: Mapping[str, Any]) -> None:
    """Write a whole model with the chat template of a record, and where its answers end.

    A record without a chat template (an adapter that PEFT wrote) says neither.
    """
    template = record.get("chat_template")
    tokenizer = by_record(base.tokenizer, template)
    stops: tuple[int, ...] = ()
    if template is not None:
        stops = Encoder(tokenizer, kind=base.kind, chat_template=mode_of(template)).stop_ids
    save_whole(base, folder, tokenizer, stops=stops)


def write_model_record(folder: Path, base: Base, source: str, extra: dict[str, Any]) -> None:
    """Write brulee.json next to a whole model's weights, with their digest."""
    digest = {"weights_digest": base_digest(str(folder))}
    write_record(folder, base, source, {**digest, **extra})


def check_whole(folder: Path, base: Base) -> None:
    """Look for damage in a fully tuned model after it is loaded.

    Raises InputError for any change if brulee.json has the weights' digest, otherwise for values
    that are not finite; a model without brulee.json is not checked.
    """
    record = read_record(folder)
    check_weights(folder, record, base.digest)
    if not record or "weights_digest" in record:
        return
    for name, parameter in base.model.named_parameters():
        if parameter.is_floating_point() and not math.isfinite(largest(parameter.detach())):
            raise InputError(f"{folder}: tensor {name!r} holds NaN or infinite values.")


def check_weights(folder: Path, record: Mapping[str, Any], digest: str) -> None:
    """Refuse a whole model whose weights do not have the recorded digest, if there is one."""
    if record.get("weights_digest", digest) != digest:
        raise InputError(f"{folder}: its weights are not those that were saved (digest differs).")
