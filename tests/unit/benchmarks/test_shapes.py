"""Models of a known shape: as large as they say, and loaded like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from brulee.models.loading import load_base
from brulee.models.pair_form import read_pair_form
from brulee.training.passes import Passes


@pytest.fixture(scope="module")
def shapes(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("shapes")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("135m", 134_515_008),
        ("1b", 1_235_814_400),
        ("7b", 6_738_415_616),
        ("bart", 139_420_416),
    ],
)
def test_a_shape_has_as_many_parameters_as_the_model_it_is_called_after(
    shapes: ModuleType, name: str, parameters: int
) -> None:
    kind = AutoModelForSeq2SeqLM if name in shapes.PAIR_SHAPES else AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(shapes.config(name))
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", ["t5-tiny", "bart-tiny"])
@pytest.mark.parametrize("share", [0.0, 0.25])
def test_both_sides_drop_what_a_pair_says(
    shapes: ModuleType, script: Callable[[str], ModuleType], name: str, share: float
) -> None:
    """Whatever share the shape's own configuration has, and wherever its modules keep it."""
    model = AutoModelForSeq2SeqLM.from_config(shapes.config(name))
    script("peers.dropping").drop_share(model, share)
    form = read_pair_form(model)
    assert form is not None
    assert {form.dropout, form.inner, form.weights} == {share}


def test_it_is_written_once_and_trained_by_the_fused_decoder(
    shapes: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "tiny"
    shapes.write("tiny", folder, "cpu")
    written = (folder / "model.safetensors").stat().st_mtime_ns
    shapes.write("tiny", folder, "cpu")
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    base = load_base(str(folder), torch.float32, torch.device("cpu"))
    assert Passes(base, most=2).fused
    assert len(base.tokenizer) <= base.model.config.vocab_size
