"""Adapters that PEFT has no method for: it must refuse them by name, never load them as nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from peft import PeftModel

from brulee.methods import build_method
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base
from brulee.recipe import MethodSpec


@pytest.mark.parametrize("name", ["bottleneck", "selective"])
def test_peft_refuses_by_name(make_base: Callable[..., Base], tmp_path: Path, name: str) -> None:
    base = make_base("llama")
    attached = build_method(MethodSpec(name=name)).attach(base.model)
    save_adapter(tmp_path, attached, base, "tiny", "a card", {})
    with pytest.raises((KeyError, ValueError), match=f"BRULEE_{name.upper()}"):
        PeftModel.from_pretrained(make_base("llama").model, tmp_path)
