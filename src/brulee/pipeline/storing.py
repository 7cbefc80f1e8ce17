"""The result of a training on disk: an adapter, or of full fine-tuning a model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from brulee.methods import Attached
from brulee.methods.checkpoint import CARD, save_adapter
from brulee.methods.whole import write_model_record
from brulee.models.disk import disk_errors
from brulee.models.loading import load_base
from brulee.pipeline.card import model_card
from brulee.pipeline.preparation import Prepared
from brulee.training.sharding import gathered


def store(prepared: Prepared, attached: Attached) -> int:
    """Write the adapter or the model under another name, then rename it; returns its bytes.

    Every process calls it, one writes; 0 in the others.
    """
    world = prepared.world
    whole = gathered(prepared.base.model, world.writes) if world.shards else None
    if not world.writes:
        return 0
    final = prepared.where.path / ("model" if prepared.method.stores_model else "adapter")
    aside = final.with_name(f".{final.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        with disk_errors(final):
            if prepared.method.stores_model:
                size = _store_model(prepared, whole, aside)
            else:
                size = _store_adapter(prepared, attached, aside)
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return size


def reloaded(prepared: Prepared) -> Prepared:
    """The same run with the stored model as its base, whole in this process."""
    base = prepared.base
    folder = str(prepared.where.path / "model")
    model = load_base(folder, base.model.dtype, base.device).model
    return replace(prepared, base=replace(base, model=model))


def _store_adapter(prepared: Prepared, attached: Attached, folder: Path) -> int:
    source = prepared.recipe.base.name
    card = model_card(prepared, None)
    return save_adapter(folder, attached, prepared.base, source, card, _made_by(prepared))


def _store_model(prepared: Prepared, whole: dict[str, Any] | None, folder: Path) -> int:
    prepared.base.model.save_pretrained(folder, state_dict=whole)
    prepared.base.tokenizer.save_pretrained(folder)
    write_model_record(folder, prepared.base, prepared.recipe.base.name, _made_by(prepared))
    (folder / CARD).write_text(model_card(prepared, None), encoding="utf-8")
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _made_by(prepared: Prepared) -> dict[str, Any]:
    """What brulee.json says of the method, and of how prompts must be framed for the result."""
    return {
        "method": {"name": prepared.method.name, **prepared.method.options()},
        "chat_template": prepared.recipe.base.chat_template,
        "framing_digest": prepared.encoder.digest,
        "system": prepared.recipe.system,
    }
