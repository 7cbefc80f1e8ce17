"""The side of bottleneck_parity.py computed by the library `adapters`.

adapters 1.2.0 transposes Llama's attention output a second time, so that its initialisation alone
changes a model's output, before any adapter is added. This script reports that error and restores
transformers' own attention; the adapters are the library's either way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import adapters
import torch
import transformers
from safetensors.torch import load_file, save_file

NAMES = {
    "down": "adapter_down.0.weight",
    "down_bias": "adapter_down.0.bias",
    "up": "adapter_up.weight",
    "up_bias": "adapter_up.bias",
}


def theirs(key: str, own: Iterable[str]) -> str:
    """Map our name of a tensor to theirs: within a layer, attention's adapter comes first."""
    layer, place, name = key.rsplit(".", 2)
    end = f"adapters.parity.{NAMES[name]}"
    found = [n for n in own if n.startswith(f"{layer}.") and n.endswith(end)]
    return found[0 if place == "bottleneck_attention" else -1]


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    config = getattr(transformers, job["config"])(**job["sizes"])
    model = getattr(transformers, job["model"])(config).eval()
    model.load_state_dict(load_file(folder / "base.safetensors"))
    inputs = load_file(folder / "inputs.safetensors")
    off = put_library_on(model, inputs)
    kind = {"houlsby": adapters.DoubleSeqBnConfig, "pfeiffer": adapters.SeqBnConfig}[job["kind"]]
    reduction = config.hidden_size / job["width"]
    model.add_adapter(
        "parity", config=kind(reduction_factor=reduction, non_linearity=job["activation"])
    )
    model.train_adapter("parity")
    model.eval()
    own = {n: p for n, p in model.named_parameters() if p.requires_grad}
    given = load_file(folder / "adapter.safetensors")
    placed = {key: own[theirs(key, own)] for key in given}
    assert len({id(p) for p in placed.values()}) == len(own), "another set of adapters"
    with torch.no_grad():
        for key, tensor in given.items():
            assert placed[key].shape == tensor.shape, key
            placed[key].copy_(tensor)
    logits = model(**inputs).logits
    logits.square().mean().backward()
    found = {f"gradient {key}": parameter.grad for key, parameter in placed.items()}
    save_file({"logits": logits.detach(), **found}, folder / "theirs.safetensors")
    versions = {m.__name__: m.__version__ for m in (adapters, transformers, torch)}
    (folder / "peer.json").write_text(json.dumps({"versions": versions, "off": off}))


@torch.no_grad()
def put_library_on(model: transformers.PreTrainedModel, inputs: dict[str, torch.Tensor]) -> float:
    """Initialise the library on the model and undo its bug; returns the logits' error before."""
    plain = model(**inputs).logits
    forwards = {n: m.forward for n, m in model.named_modules() if n.endswith(".self_attn")}
    adapters.init(model)
    off = (model(**inputs).logits - plain).abs().max().item()
    if off > 1e-5:
        for name, forward in forwards.items():
            module = model.get_submodule(name)
            module.forward = forward.__func__.__get__(module)
    assert (model(**inputs).logits - plain).abs().max() <= 1e-5, "the base itself is another"
    return off


if __name__ == "__main__":
    main()
