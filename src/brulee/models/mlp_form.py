"""Read the linear layers of an MLP and its activation from its modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from brulee.models.fused_swiglu import activation_of
from brulee.models.layer_parts import attention_of, children, dropouts

# The maps to gate and up, which may be one, and the map after them.
_GATED = (
    (("gate_proj", "up_proj"), "down_proj"),
    (("gate_up_proj",), "down_proj"),
    (("w1", "w3"), "w2"),
    (("input_linear",), "output_linear"),
)
_WITHOUT_GATE = (
    ("up_proj", "down_proj"),
    ("c_fc", "c_proj"),
    ("fc1", "fc2"),
    ("fc_in", "fc_out"),
    ("dense_h_to_4h", "dense_4h_to_h"),
)
_NORMS = ("ffn_sub_norm",)
_ACTIVATIONS = ("act_fn", "activation_fn", "act", "activation", "gelu_impl")


@dataclass(frozen=True)
class Inner:
    """The linear layers before and after an MLP's activation, and that activation.

    `norm` is that of the last layer's input, "" if it has none (BitNet).
    """

    maps: tuple[str, ...]
    gate: str
    down: str = "down_proj"
    act: str = "act_fn"
    curve: str = ""
    norm: str = ""


def read_inner(mlp: Any) -> Inner | None:
    """Read a gated MLP, or one of two linear layers, which may be the layer's own."""
    acts, own = [n for n in _ACTIVATIONS if hasattr(mlp, n)], children(mlp) - dropouts(mlp)
    norm = next((name for name in _NORMS if name in own), "")
    if len(acts) > 1:
        return None
    # Without a module it is in the code (LFM 2), where silu is a guess.
    gate = activation_of(getattr(mlp, acts[0])) if acts else "silu"
    for maps, down in _GATED:
        if own >= {*maps}:
            known = own - {norm} == {*maps, down, *acts} and gate is not None
            return Inner(maps, gate or "", down, "".join(acts), norm=norm) if known else None
    two, whole = first_of(mlp, _WITHOUT_GATE), attention_of(mlp) is None
    if two is None or not acts or (whole and own != {*two, *acts}):
        return None
    return Inner(two[:1], "", two[1], acts[0], gate or "")


def first_of(module: nn.Module, choices: tuple[tuple[str, ...], ...]) -> tuple[str, ...] | None:
    """The first choice of names that a module's children all have."""
    return next((names for names in choices if children(module) >= {*names}), None)
