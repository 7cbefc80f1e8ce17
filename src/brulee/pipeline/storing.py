"""The result of a training on disk: an adapter, or a model for full fine-tuning."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from brulee.methods import Attached
from brulee.methods.adapter_files import CARD
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.storing import save_adapter
from brulee.methods.whole import write_model_record
from brulee.models.chat_templates import recorded
from brulee.models.disk import disk_errors
from brulee.models.loading import load_base, no_bars
from brulee.models.saving import save_whole
from brulee.pipeline.card import model_card
from brulee.pipeline.preparation import Prepared, together_in
from brulee.pipeline.trained import Trained, Tuned
from brulee.reporting.results import Training
from brulee.training.sharding import gathered


def result_folder(prepared: Prepared) -> Path:
    """The folder of the training's result."""
    return prepared.where.path / ("model" if prepared.method.stores_model else "adapter")


def store(prepared: Prepared, attached: Attached, training: Training) -> int:
    """Write the adapter or the model atomically, by a rename; returns its bytes.

    All processes must call it; one writes, the others get 0.
    """
    world = prepared.world
    model = prepared.method.stores_model and world.shards
    whole = gathered(prepared.base.model, world.writes) if model else None
    if not world.writes:
        return 0
    final = result_folder(prepared)
    card = model_card(prepared, training)
    aside = final.with_name(f".{final.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        with disk_errors(final):
            if prepared.method.stores_model:
                size = _store_model(prepared, whole, aside, card)
            else:
                size = _store_adapter(prepared, attached, aside, card)
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return size


def from_disk(prepared: Prepared, trained: Trained) -> tuple[Prepared, Tuned]:
    """The run with its stored result loaded, on a base without a method; before it is sharded.

    Raises InputError if the result is damaged.
    """
    folder, base = result_folder(prepared), prepared.base
    if not prepared.method.stores_model:
        return prepared, Tuned(attach_adapter(open_adapter(folder), base), trained)
    together = together_in(prepared.world)
    device = torch.device("cpu") if together else base.device
    model = load_base(str(folder), base.model.dtype, device, together=together).model
    prepared = replace(prepared, base=replace(base, model=model))
    return prepared, Tuned(prepared.method.attach(model), trained)


def _store_adapter(prepared: Prepared, attached: Attached, folder: Path, card: str) -> int:
    source = prepared.recipe.base.name
    return save_adapter(folder, attached, prepared.base, source, card, _made_by(prepared))


def _store_model(prepared: Prepared, whole: dict[str, Any] | None, folder: Path, card: str) -> int:
    with no_bars():
        save_whole(prepared.base, folder, weights=whole, stops=prepared.encoder.stop_ids)
    write_model_record(folder, prepared.base, prepared.recipe.base.name, _made_by(prepared))
    (folder / CARD).write_text(card, encoding="utf-8")
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _made_by(prepared: Prepared) -> dict[str, Any]:
    """The method, and how prompts must be framed for the result, for brulee.json."""
    return {
        "method": {"name": prepared.method.name, **prepared.method.options()},
        "chat_template": recorded(prepared.base.tokenizer, prepared.recipe),
        "framing_digest": prepared.encoder.digest,
        "system": prepared.recipe.system,
        **({"start": prepared.start.record} if prepared.start else {}),
        **({"thoughts": list(tags[:2])} if (tags := prepared.encoder.taught) else {}),
    }
