"""Adapters combined here are what PEFT's add_weighted_adapter makes of them, and load there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from brulee.errors import InputError
from brulee.inference.session import open_session
from brulee.methods import build_method
from brulee.methods.adapter_files import WEIGHTS
from brulee.methods.combining import combine
from brulee.methods.storing import save_adapter
from brulee.models.loading import load_base
from brulee.recipe import MethodSpec

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings(
    "error",
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:The density 1.0 is greater:UserWarning",
)

SAME_RANK = (
    {"rank": 3, "alpha": 7.0, "target": "all-linear"},
    {"rank": 3, "alpha": 2.0, "rslora": True, "target": ["q_proj", "v_proj", "down_proj"]},
)
OTHER_RANKS = (
    {"rank": 3, "alpha": 7.0, "target": ["q_proj", "down_proj", "embed_tokens"]},
    {"rank": 5, "alpha": 2.0, "target": ["q_proj", "v_proj", "embed_tokens"]},
)
# PEFT's name, what it is here, and whether both adapters need one rank for it.
WAYS: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("cat", {"how": "sum"}, {}, False),
    ("svd", {"how": "sum", "rank": 4}, {"svd_rank": 4}, False),
    ("linear", {"how": "sum", "factors": True}, {}, True),
    ("ties", {"how": "ties", "factors": True, "density": 0.4}, {"density": 0.4}, True),
    (
        "ties_svd",
        {"how": "ties", "rank": 4, "density": 0.4},
        {"density": 0.4, "svd_rank": 4},
        False,
    ),
    ("magnitude_prune", {"how": "prune", "factors": True, "density": 0.3}, {"density": 0.3}, True),
    (
        "magnitude_prune_svd",
        {"how": "prune", "rank": 6, "density": 0.3},
        {"density": 0.3, "svd_rank": 6},
        False,
    ),
    # What is dropped by chance differs; where nothing is, the rest can be held side by side.
    ("dare_linear", {"how": "dare", "factors": True, "density": 1.0}, {"density": 1.0}, True),
    ("dare_ties", {"how": "dare-ties", "factors": True, "density": 1.0}, {"density": 1.0}, True),
    (
        "dare_ties_svd",
        {"how": "dare-ties", "rank": 4, "density": 1.0},
        {"density": 1.0, "svd_rank": 4},
        False,
    ),
]


def _adapters(model: Path, where: Path, name: str, every: tuple[dict[str, Any], ...]) -> list[str]:
    found = []
    for number, options in enumerate(every):
        base = load_base(str(model), torch.float32, torch.device("cpu"))
        attached = build_method(MethodSpec(name=name, **options)).attach(base.model)
        draw = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for group in attached.groups():
                for parameter in group.parameters:
                    parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)
        save_adapter(where / f"{number}", attached, base, str(model), "", {})
        found.append(str(where / f"{number}"))
    return found


def _in_peft(model: Path, adapters: list[str], ours: Path) -> Any:
    """A base with all of them on it in PEFT, called by their numbers, and what is ours."""
    plain = load_base(str(model), torch.float32, torch.device("cpu")).model
    theirs = peft.PeftModel.from_pretrained(plain, adapters[0], adapter_name="0")
    for number, folder in enumerate(adapters[1:], start=1):
        theirs.load_adapter(folder, str(number))
    theirs.load_adapter(str(ours), "ours")
    return theirs


def _deltas(model: Any, name: str) -> dict[str, torch.Tensor]:
    return {
        path: module.get_delta_weight(name).detach()
        for path, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
        and (name in module.lora_A or name in module.lora_embedding_A)
    }


def _logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(5, 40).unsqueeze(0)).logits
    return logits


@pytest.mark.diagonal("kind", "weights")
@pytest.mark.parametrize("weights", [(0.7, 0.3), (1.0, 1.0)], ids=str)
@pytest.mark.parametrize(("kind", "here", "there", "same"), WAYS, ids=[way[0] for way in WAYS])
def test_a_combination_is_pefts(
    tiny_model_folder: Path,
    tmp_path: Path,
    kind: str,
    here: dict[str, Any],
    there: dict[str, Any],
    same: bool,
    weights: tuple[float, ...],
) -> None:
    options = SAME_RANK if same else OTHER_RANKS
    adapters = _adapters(tiny_model_folder, tmp_path, "lora", options)
    combine(adapters, tmp_path / "ours", weights=weights, **here)
    model = _in_peft(tiny_model_folder, adapters, tmp_path / "ours")
    model.add_weighted_adapter(["0", "1"], list(weights), "both", combination_type=kind, **there)
    ours, theirs = _deltas(model, "ours"), _deltas(model, "both")
    assert ours.keys() == theirs.keys()
    for path, delta in theirs.items():
        assert delta.abs().max() > 1e-2, path
        torch.testing.assert_close(ours[path], delta, atol=1e-5, rtol=1e-5)
    model.set_adapter("ours")
    session = open_session(str(tmp_path / "ours"), "cpu", "float32")
    torch.testing.assert_close(_logits(session.base.model), _logits(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "here", "there"),
    [
        ("cat", {}, {}),
        ("svd", {"rank": 4}, {"svd_rank": 4}),
        ("linear", {"factors": True}, {}),
        ("magnitude_prune", {"how": "prune", "factors": True, "density": 0.3}, {"density": 0.3}),
    ],
)
def test_what_is_subtracted_is_subtracted_as_in_peft(
    tiny_model_folder: Path, tmp_path: Path, kind: str, here: dict[str, Any], there: dict[str, Any]
) -> None:
    adapters = _adapters(tiny_model_folder, tmp_path, "lora", SAME_RANK)
    combine(adapters, tmp_path / "ours", weights=(1.0, -0.5), **here)
    model = _in_peft(tiny_model_folder, adapters, tmp_path / "ours")
    model.add_weighted_adapter(["0", "1"], [1.0, -0.5], "both", combination_type=kind, **there)
    ours, theirs = _deltas(model, "ours"), _deltas(model, "both")
    assert theirs
    for path, delta in theirs.items():
        torch.testing.assert_close(ours[path], delta, atol=1e-5, rtol=1e-5)


def test_what_peft_wrote_is_combined_without_its_copies_of_the_bases_tables(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    for number in range(2):
        plain = load_base(str(tiny_model_folder), torch.float32, torch.device("cpu")).model
        plain.config._name_or_path = str(tiny_model_folder)
        config = peft.LoraConfig(r=2, target_modules=["embed_tokens"], task_type="CAUSAL_LM")
        theirs = peft.get_peft_model(plain, config)
        with torch.no_grad():
            for name, parameter in theirs.named_parameters():
                if "lora_embedding" in name:
                    parameter.add_(torch.full_like(parameter, 0.1 * (number + 1)))
        theirs.save_pretrained(tmp_path / f"{number}", save_embedding_layers=True)
    parts = [str(tmp_path / "0"), str(tmp_path / "1")]
    combine(parts, tmp_path / "ours", weights=(0.5, 2.0))
    assert not any("base_layer" in key for key in load_file(tmp_path / "ours" / WEIGHTS))
    model = _in_peft(tiny_model_folder, parts, tmp_path / "ours")
    model.add_weighted_adapter(["0", "1"], [0.5, 2.0], "both", combination_type="cat")
    ours = _deltas(model, "ours")
    assert ours
    for path, delta in _deltas(model, "both").items():
        torch.testing.assert_close(ours[path], delta, atol=1e-5, rtol=1e-5)
    damaged = load_file(tmp_path / "1" / WEIGHTS)
    copied = next(key for key in damaged if "lora" not in key)
    save_file({**damaged, copied: damaged[copied] + 1}, tmp_path / "1" / WEIGHTS)
    with pytest.raises(InputError, match="is not that of this base"):
        combine(parts, tmp_path / "no")


def test_scales_whose_weights_sum_to_one_are_pefts(tiny_model_folder: Path, tmp_path: Path) -> None:
    adapters = _adapters(tiny_model_folder, tmp_path, "ia3", ({}, {}))
    combine(adapters, tmp_path / "ours", weights=(0.8, 0.2))
    model = _in_peft(tiny_model_folder, adapters, tmp_path / "ours")
    model.add_weighted_adapter(["0", "1"], [0.8, 0.2], "both")
    model.set_adapter("both")
    expected = _logits(model)
    model.set_adapter("ours")
    torch.testing.assert_close(_logits(model), expected, atol=1e-5, rtol=1e-5)
    model.set_adapter("0")
    assert (_logits(model) - expected).abs().max() > 1e-2


def test_scales_that_both_apply_are_not_doubled_as_pefts_are(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    adapters = _adapters(tiny_model_folder, tmp_path, "ia3", ({}, {}))
    combine(adapters, tmp_path / "ours", weights=(1.0, 1.0))
    model = _in_peft(tiny_model_folder, adapters, tmp_path / "ours")
    model.add_weighted_adapter(["0", "1"], [1.0, 1.0], "both")
    for _, module in model.named_modules():
        if hasattr(module, "ia3_l") and "ours" in module.ia3_l:
            scales = {name: module.ia3_l[name] for name in ("0", "1", "both", "ours")}
            torch.testing.assert_close(scales["both"], scales["ours"] + 1, atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(
                scales["ours"], scales["0"] + scales["1"] - 1, atol=1e-6, rtol=1e-6
            )
