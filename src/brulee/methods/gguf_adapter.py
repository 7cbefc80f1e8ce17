"""A LoRA adapter as a GGUF file, which llama.cpp applies to a base at run time (`--lora`).

The two matrices of a layer are stored as `NAME.lora_a` (R, I) and `NAME.lora_b` (O, R), with one
alpha for all layers: llama.cpp scales a correction by alpha / R, whatever the scale in training
was. Any other factor is folded into B.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.adapter_files import CONFIG, WEIGHTS
from brulee.methods.checkpoint import Adapter, check_made_on
from brulee.methods.lora import LoRA
from brulee.methods.lora_experts import LoRAParameters
from brulee.methods.lora_layer import LoRALinear
from brulee.methods.soundness import check_sizes
from brulee.models.base_files import base_digest
from brulee.models.gguf_model import Written, add_matrix, finish
from brulee.models.gguf_names import architecture_of, namer, pairs_together
from brulee.models.skeleton import load_skeleton


def write_adapter(adapter: Adapter, base: str | None, out: Path, dtype: str) -> Written:
    """Write a stored LoRA; only its base's configuration is read.

    `base` is used instead of the one that the adapter names and must be the same model: its weights
    are hashed. Raises InputError for another base, for another method, for DoRA and embeddings,
    which the format cannot represent, for damage, and for a base that cannot be written.
    """
    from gguf import GGUFWriter

    method = _plain(adapter)
    source, revision = adapter.named_base(base)
    skeleton = load_skeleton(source, revision, adapter.rope_scaling)
    if base is not None and adapter.digest is not None:
        check_made_on(adapter, source, base_digest(source, revision))
    config = skeleton.config
    layers = _layers(adapter, method, skeleton)
    architecture, name_of = architecture_of(config), namer(config)
    alpha = max(_alpha(layer) for layer in layers.values())
    writer = GGUFWriter(None, architecture.name)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    writer.add_name(f"{adapter.label()} for {Path(source).name}")
    halved = 0
    for path, layer in layers.items():
        a_RI, b_OR = (factor.detach() for factor in layer.factors())
        name = name_of(f"{path}.weight")
        b_OR = pairs_together(name, b_OR * (_alpha(layer) / alpha), config)
        halved += add_matrix(writer, f"{name}.lora_a", a_RI, dtype)
        halved += add_matrix(writer, f"{name}.lora_b", b_OR, dtype)
    return Written(finish(writer, out), halved)


def _plain(adapter: Adapter) -> LoRA:
    """The adapter's method, if the format can represent it."""
    method = adapter.method()
    label = adapter.label()
    if not isinstance(method, LoRA):
        raise InputError(
            f"{adapter.folder}: {label} cannot be a GGUF adapter, only LoRA can; if it "
            "can be merged, export the merged model: --to gguf."
        )
    if adapter.alongside():
        raise InputError(
            f"{adapter.folder}: {label} has rows of tokens, which a GGUF adapter cannot hold; "
            "merge it: --to gguf."
        )
    if method.options()["dora"]:
        raise InputError(
            f"{adapter.folder}: {label} scales whole outputs, which a GGUF adapter cannot hold; "
            "merge it: --to gguf."
        )
    return method


def _layers(adapter: Adapter, method: LoRA, skeleton: PreTrainedModel) -> dict[str, LoRALinear]:
    """The adapter's layers by path, attached to a skeleton of the base without weights."""
    tensors = adapter.tensors()
    check_sizes(adapter.config, tensors, adapter.folder / CONFIG)
    attached = method.attach(skeleton)
    try:
        attached.load(tensors)
    except InputError as error:
        raise InputError(f"{adapter.folder / WEIGHTS}: {error}") from None
    found = {}
    for path, layer in attached.layers.items():
        if not isinstance(layer, LoRALinear):
            kind = "parameters of" if isinstance(layer, LoRAParameters) else "the embedding"
            raise InputError(
                f"{adapter.folder}: it corrects {kind} {path!r}, which a GGUF adapter "
                "does not hold here; merge it: --to gguf."
            )
        if layer.weight is skeleton.get_input_embeddings().weight:
            raise InputError(
                f"{adapter.folder}: it corrects the head {path!r}, which a GGUF file of this base "
                "has as the table of its embeddings; merge it: --to gguf."
            )
        found[path] = layer
    return found


@torch.no_grad()
def _alpha(layer: LoRALinear) -> float:
    """The alpha that gives this layer's scale; PiSSA's rank is stored doubled."""
    return float(layer.scale * layer.factors()[0].shape[0])
