"""Several LoRA adapters combined into one.

A module's correction is the product s B A. A weighted sum of corrections is exactly the
concatenation of their factors, with the sum of their ranks; at a lower rank, its best
approximation. Every other way needs the products themselves, one module at a time, and its result
is reduced to a rank. `factors` applies the way to the A's and the B's instead (PEFT's `linear`,
`ties` and so on), each weighted by the square root of |w s|: small and fast, but it mixes the B of
one adapter with the A of another.

The result has alpha = rank everywhere, so its scale is one.

Shapes: `I` inputs, `O` outputs, `R` rank, `N` adapters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.base import Attached
from brulee.methods.checkpoint import Adapter, attach_adapter, attach_to
from brulee.methods.combining_parts import AdapterPart, Made, Plan, Standing, check_holds
from brulee.methods.kept import Tally, gram_of_products
from brulee.methods.lora import LoRA, LoRAOptions
from brulee.methods.lora_pairs import pairs_of, scales_of
from brulee.methods.lora_start import principal
from brulee.methods.peft_config import PREFIX
from brulee.models.skeleton import load_skeleton
from brulee.progress import bar


@dataclass(frozen=True)
class _Correction:
    """A (R, I) and B (O, R) as stored, the scale of B A, and the suffixes of their keys."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float
    ends: tuple[str, str]

    @property
    def dtype(self) -> torch.dtype:
        """A dtype that holds both."""
        return torch.promote_types(self.a.dtype, self.b.dtype)


def combine_lora(parts: Sequence[AdapterPart], plan: Plan, base: Standing) -> Made:
    """Combine LoRA adapters; only the base's configuration is read.

    Raises InputError for one that does not fit the base, and with `factors` for different ranks.
    """
    skeleton = load_skeleton(base.source, base.revision)
    every = [_corrections(part, skeleton, base) for part in parts]
    paths = _in_order(skeleton, every)
    tally = Tally(len(parts))
    tensors: dict[str, torch.Tensor] = {}
    ranks: dict[str, int] = {}
    with bar("Combining", total=len(paths), unit="modules") as progress:
        for path in paths:
            places = [i for i, one in enumerate(every) if path in one]
            here = [every[i][path] for i in places]
            a_RI, b_OR = _combined(path, here, [plan.weights[i] for i in places], plan, tally)
            dtype = reduce(torch.promote_types, (one.dtype for one in here))
            a_RI, b_OR = (factor.to(dtype).contiguous() for factor in (a_RI, b_OR))
            made = (a_RI.float(), b_OR.float())
            own = [(one.a.float(), one.scale * one.b.float()) for one in here]
            tally.add(places, gram_of_products([made, *own]))
            for end, factor in zip(here[0].ends, (a_RI, b_OR), strict=True):
                check_holds(path, factor)
                tensors[f"{PREFIX}{path}{end}"] = factor
            ranks[path] = len(a_RI)
            progress.advance()
    attached, options = _attached(skeleton, ranks, tensors)
    shared = sum(all(path in one for one in every) for path in paths)
    return Made(attached.config(), tensors, options, tally, (shared, len(paths)))


def _corrections(
    part: AdapterPart, skeleton: PreTrainedModel, base: Standing
) -> dict[str, _Correction]:
    """The corrections of an adapter that fits the base, by module."""
    adapter = part.adapter
    assert adapter is not None, "a LoRA is an adapter"
    tensors = adapter.tensors()
    pairs = pairs_of(tensors)
    beside = tensors.keys() - {key for pair in pairs.values() for key in pair}
    if beside:
        _check_on_base(adapter, base)  # PEFT's copies of frozen tables, or unknown tensors
    else:
        attach_to(adapter, skeleton).detach()
    scales = scales_of(adapter, list(pairs))
    return {
        module.removeprefix(PREFIX): _Correction(
            tensors[a],
            tensors[b],
            scales[module],
            (a.removeprefix(module), b.removeprefix(module)),
        )
        for module, (a, b) in pairs.items()
    }


def _check_on_base(adapter: Adapter, base: Standing) -> None:
    loaded = base.load()
    attach_adapter(adapter, loaded).detach()


def _in_order(model: PreTrainedModel, every: Sequence[Mapping[str, Any]]) -> list[str]:
    found = {path for one in every for path in one}
    return [name for name, _ in model.named_modules() if name in found]


def _combined(
    path: str, here: Sequence[_Correction], weights: Sequence[float], plan: Plan, tally: Tally
) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B of the result in one module, in fp32."""
    if plan.factors:
        return _by_factors(path, here, weights, plan)
    outputs, inputs = len(here[0].b), here[0].a.shape[1]
    total = sum(len(one.a) for one in here)
    most = min(plan.rank or total, outputs, inputs)
    if plan.how == "sum":
        return _summed(here, weights, most)
    stack_NOI = torch.stack([one.scale * (one.b.float() @ one.a.float()) for one in here])
    meant_OI = plan.way.apply(stack_NOI, torch.tensor(weights), plan.settings(path))
    del stack_NOI
    a_RI, b_OR = principal(meant_OI, most, 1.0, path)
    tally.cut(b_OR @ a_RI, meant_OI)
    return a_RI, b_OR


def _summed(
    here: Sequence[_Correction], weights: Sequence[float], most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """sum_i w_i s_i B_i A_i, concatenated or approximated at rank `most`: PEFT's cat and svd."""
    scaled = [w * one.scale * one.a.float() for w, one in zip(weights, here, strict=True)]
    a_RI, b_OR = torch.cat(scaled), torch.cat([one.b.float() for one in here], 1)
    if len(a_RI) <= most:
        return a_RI, b_OR
    # The SVD of B A follows from that of an R x R core, without forming an O x I matrix.
    q_OR, left_RR = torch.linalg.qr(b_OR.double())
    q_IR, right_RR = torch.linalg.qr(a_RI.T.double())
    u, values, v = torch.linalg.svd(left_RR @ right_RR.T, full_matrices=False)
    root = values[:most].sqrt()
    return (
        ((q_IR @ v[:most].T) * root).T.float(),
        ((q_OR @ u[:, :most]) * root).float(),
    )


def _by_factors(
    path: str, here: Sequence[_Correction], weights: Sequence[float], plan: Plan
) -> tuple[torch.Tensor, torch.Tensor]:
    ranks = [len(one.a) for one in here]
    if len(set(ranks)) > 1:
        raise InputError(
            f"--factors: {path} has the ranks {', '.join(map(str, ranks))}, and only factors of "
            "one rank can be combined; leave --factors out."
        )
    scale_N = torch.tensor([w * one.scale for w, one in zip(weights, here, strict=True)])
    root_N = scale_N.abs().sqrt()
    # The sign goes into one factor only, otherwise it would cancel.
    a_NRI, b_NOR = (
        torch.stack([one.a.float() for one in here]),
        torch.stack([one.b.float() for one in here]),
    )
    a_RI = plan.way.apply(a_NRI, root_N * scale_N.sign(), plan.settings(f"{path} A"))
    return a_RI, plan.way.apply(b_NOR, root_N, plan.settings(f"{path} B"))


def _attached(
    model: PreTrainedModel, ranks: Mapping[str, int], tensors: Mapping[str, torch.Tensor]
) -> tuple[Attached, dict[str, Any]]:
    """The result attached to a skeleton of the base, which checks that it fits; and its options."""
    usual = Counter(ranks.values()).most_common(1)[0][0]
    others = {f"^{re.escape(path)}": rank for path, rank in ranks.items() if rank != usual}
    options = LoRAOptions(
        rank=usual,
        alpha=usual,
        target=list(ranks),
        ranks=others,
        alphas={pattern: float(rank) for pattern, rank in others.items()},
    )
    attached = LoRA(options, stored=True).attach(model)
    attached.load(tensors)
    return attached, LoRA.from_config(attached.config()).options()
