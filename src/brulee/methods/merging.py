"""An adapter merged into its base and stored as an ordinary model.

The sum is computed in fp32 from the original base, whatever dtype the base had during training, and
rounded once. Subtracting the adapter cannot undo the rounding; reloading the base does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from brulee.errors import BruleeError, InputError
from brulee.methods.adapter_files import tensors_digest
from brulee.methods.base import largest, left_out
from brulee.methods.checkpoint import Adapter, attach_adapter, open_adapter
from brulee.methods.linear import is_transposed
from brulee.methods.whole import save_as_recorded, write_model_record
from brulee.models.disk import check_new_folder, disk_errors, new_folder
from brulee.models.loading import Base, load_base
from brulee.models.quantised_experts import restore_experts
from brulee.models.quantising import held_bytes, is_misread, unpacked

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_ROUNDING = 1e-3  # relative to the largest logit: far above fp32's rounding
_PROBE = 16  # tokens on which the merged model is compared with the adapter


@dataclass(frozen=True)
class Cost:
    """The effect of merging, measured on a few tokens.

    `by_merging` is the largest change of a logit compared with the unmerged adapter in fp32,
    `by_storing` the same after rounding to the stored dtype; `agree` is the share of positions
    whose top token is unchanged. `dequantised`: the base was quantised, in its files or when loaded
    for training, and the result is stored dequantised, because quantising again would lose the
    adapter.
    """

    by_merging: float
    by_storing: float
    agree: float
    dequantised: bool


@dataclass(frozen=True)
class Merged:
    """A merged model on disk; `dtype` is its stored dtype, `size` its weights' size in bytes.

    `base_size` is the size of the base's files. `held` says how the base was quantised when loaded,
    `held_size` how many bytes it then took, with unquantised weights counted in the files' dtype;
    None if it was not quantised.
    """

    folder: Path
    label: str
    base: str
    dtype: str
    size: int
    base_size: int
    cost: Cost
    held: str | None = None
    held_size: int | None = None


def merge(folder: Path, out: Path, dtype: str = "auto", base: str | None = None) -> Merged:
    """Merge an adapter folder into its base, and store the result in a new folder.

    `dtype` is float32, bfloat16, float16, or auto: the dtype of the base's own files. `base` is
    loaded instead of the one that the adapter names; it must be the same model. Raises InputError
    for an output folder that is not empty or cannot be created, a method that cannot be merged,
    another base, and a value that the dtype cannot represent; BruleeError if the merged model
    computes something else. In these cases nothing is written.
    """
    out = out.expanduser().resolve()
    check_new_folder(out, "the model's folder")
    adapter = open_adapter(folder)
    label = adapter.label()
    name, revision = adapter.named_base(base)
    if name != "bundled" and Path(name).exists():
        name = str(Path(name).resolve())
    loaded = load_base(name, torch.float32, torch.device("cpu"), revision, **adapter.loading)
    base_size = sum(file.stat().st_size for file in loaded.folder.glob("*.safetensors"))
    stored = _as_stored(loaded)
    held_size = held_bytes(loaded.model, rest=stored) if loaded.quantised else None
    wanted = stored if dtype == "auto" else DTYPES[dtype]
    folded, cost = _fold(adapter, loaded, wanted)
    size = _store(adapter, folded, out, name, wanted, label)
    named = str(wanted).removeprefix("torch.")
    return Merged(
        out, label, name, named, size, base_size, cost, held=loaded.quantised, held_size=held_size
    )


@torch.no_grad()
def _fold(adapter: Adapter, base: Base, dtype: torch.dtype) -> tuple[Base, Cost]:
    fixed = {n: base.model.get_parameter(n).clone() for n in left_out(base.model)}
    attached = attach_adapter(adapter, base)
    beside = _logits(base)
    quantised = hasattr(base.model.config, "quantization_config")
    if quantised:
        attached.detach()
        base = replace(base, model=_dequantised(base))
        attached = attach_adapter(adapter, base)
    attached.merge()
    for name, value in fixed.items():
        if not torch.equal(base.model.get_parameter(name), value):
            raise InputError(
                f"{adapter.folder}: it changes {name}, which a stored {type(base.model).__name__} "
                "leaves out, so that it cannot be merged; keep the adapter beside its base."
            )
    merged = _logits(base)
    if merged.isnan().any():
        raise BruleeError(
            f"{adapter.folder}: merged, the model's logits are not numbers (NaN): the adapter's "
            "weights are damaged or too large, or its base's are; nothing was stored."
        )
    by_merging = _furthest(merged, beside)
    if not by_merging <= _ROUNDING * max(1.0, _largest_finite(beside)):
        raise BruleeError(
            f"{adapter.folder}: merging it moved a logit by {by_merging:.2g}, far more than "
            "rounding can; nothing was stored."
        )
    base.model.to(dtype)
    for name, tensor in base.model.named_parameters():
        if not math.isfinite(largest(tensor)):
            raise InputError(
                f"{adapter.folder}: merged, {name} has values that {dtype} cannot hold; "
                "choose --dtype bfloat16 or float32."
            )
    rounded = _logits(base)
    agree = (beside.argmax(-1) == rounded.argmax(-1)).float().mean()
    return base, Cost(by_merging, _furthest(rounded, beside), float(agree), quantised)


def _dequantised(base: Base) -> PreTrainedModel:
    """The model with its quantised weights dequantised to fp32."""
    restore_experts(base.model)
    own = {
        f"{name}.weight": unpacked(module.weight, torch.float32)
        for name, module in base.model.named_modules()
        if is_misread(getattr(module, "weight", None))
    }
    try:
        model: PreTrainedModel = base.model.dequantize()
    except (NotImplementedError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{base.name}: this quantised base cannot be merged into: {reason}"
        ) from None
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # A model that was loaded quantised keeps a record of it, and cannot be saved.
    plain: PreTrainedModel = type(model)(config).eval()
    plain.load_state_dict(_as_held_by(plain, {**model.state_dict(), **own}))
    return plain


def _as_held_by(
    model: PreTrainedModel, weights: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Dequantised weights are (O, I); transpose those that the model holds as Conv1D."""
    turned = {f"{n}.weight" for n, module in model.named_modules() if is_transposed(module)}
    return {name: w.T if name in turned else w for name, w in weights.items()}


def _logits(base: Base) -> torch.Tensor:
    """Logits of tokens from the whole vocabulary, in fp32: (1, T, V)."""
    last = base.model.get_input_embeddings().weight.shape[0] - 1
    ids = torch.linspace(0, last, _PROBE).long().unsqueeze(0)
    more = {"decoder_input_ids": ids} if base.kind == "seq2seq" else {}
    logits: torch.Tensor = base.model(input_ids=ids, **more, use_cache=False).logits
    return logits.float()


def _furthest(a: torch.Tensor, b: torch.Tensor) -> float:
    same = a == b  # also where a model never writes a token, of -inf
    return float((a - b).masked_fill(same, 0.0).abs().max())


def _largest_finite(logits: torch.Tensor) -> float:
    return float(logits[logits.isfinite()].abs().max())


def _store(
    adapter: Adapter, base: Base, out: Path, source: str, dtype: torch.dtype, label: str
) -> int:
    """Write the model, the tokenizer and the record; returns the weights' size in bytes."""
    with new_folder(out) as aside:
        with disk_errors(out):
            save_as_recorded(base, aside, adapter.record)
        of_adapter = ("base", "config_digest", "tensors_digest")
        kept = {k: v for k, v in adapter.record.items() if k not in of_adapter}
        merged = {
            "label": label,
            "tensors_digest": tensors_digest(adapter.tensors()),
            "dtype": str(dtype).removeprefix("torch."),
        }
        write_model_record(aside, base, source, {**kept, "merged": merged})
    return sum(file.stat().st_size for file in out.glob("*.safetensors"))


def _as_stored(base: Base) -> torch.dtype:
    """The dtype of most of the base's unquantised values in its files; fp32 if there are none."""
    held: dict[torch.dtype, int] = {}
    for path in base.folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                part = file.get_slice(name)
                dtype = _STORED.get(part.get_dtype())
                if dtype is not None:
                    held[dtype] = held.get(dtype, 0) + torch.Size(part.get_shape()).numel()
    return max(held, key=lambda d: held[d]) if held else torch.float32
