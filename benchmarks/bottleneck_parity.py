"""Parity of bottleneck adapters with the library `adapters`: same model, values and outcome.

    python3 -m venv .peer && .peer/bin/pip install -r benchmarks/peers/adapters.txt
    .venv/bin/python benchmarks/bottleneck_parity.py --peer .peer/bin/python

For Houlsby and Pfeiffer on a small Llama, GPT-2 and T5 (pre-norm) and BART (post-norm), with random
weights and random adapters. peers/adapters_side.py works around a bug of the library with Llama.
Asserts logits and the gradients of every adapter value within 1e-5, and that the adapters change
the logits by more than 0.01. Writes benchmarks/results/bottleneck-parity.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from brulee.methods.bottleneck import Bottleneck, BottleneckOptions

HERE = Path(__file__).parent
TOLERANCE = 1e-5
WIDTH = 4
COMMON = {"vocab_size": 300, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": (
        "LlamaConfig",
        "LlamaForCausalLM",
        {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "initializer_range": 0.2,
        },
    ),
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "initializer_range": 0.2},
    ),
    "t5": (
        "T5Config",
        "T5ForConditionalGeneration",
        {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 2,
            "num_heads": 4,
            "decoder_start_token_id": 0,
        },
    ),
    "bart": (
        "BartConfig",
        "BartForConditionalGeneration",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 64,
            "init_std": 0.2,
            "decoder_start_token_id": 2,
        },
    ),
}
# The library calls SiLU swish.
CASES = [("houlsby", "silu", "swish"), ("pfeiffer", "relu", "relu")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="the Python of the peer's environment")
    peer = parser.parse_args().peer
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for name in MODELS:
        for kind, activation, theirs in CASES:
            with tempfile.TemporaryDirectory() as scratch:
                changed = _our_side(Path(scratch), name, kind, activation, theirs)
                _run([peer, str(HERE / "peers" / "adapters_side.py"), scratch])
                said = json.loads((Path(scratch) / "peer.json").read_text())
                case: dict[str, Any] = {"model": name, "kind": kind, "activation": activation}
                case |= changed
                case |= {"peer_changes_its_base_by": said["off"]}
                found.append(case | _differences(Path(scratch)))
                versions = said["versions"]
            print(json.dumps(found[-1]), flush=True)
    for case in found:
        assert max(case["logits"], case["gradients"]) <= TOLERANCE, case
        assert case["changed"] > 0.01, case
    result = {
        "what": "bottleneck adapters: largest absolute difference from the library adapters, fp32",
        "date": datetime.now(UTC).date().isoformat(),
        "tolerance": TOLERANCE,
        "ours": {"transformers": transformers.__version__, "torch": torch.__version__},
        "theirs": versions,
        "cases": found,
    }
    target = HERE / "results" / "bottleneck-parity.json"
    target.write_text(json.dumps(result, indent=2) + "\n")


def _our_side(
    folder: Path, name: str, kind: str, activation: str, theirs: str
) -> dict[str, float | int]:
    """Write the model, the adapter, the inputs and our outputs."""
    config_class, model_class, sizes = MODELS[name]
    torch.manual_seed(0)
    sizes = {**COMMON, **sizes}
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**sizes)).eval()
    # Cloned, so that a tied weight is written under each of its names.
    save_file({k: v.clone() for k, v in model.state_dict().items()}, folder / "base.safetensors")
    ids = torch.randint(5, 300, (2, 16))
    inputs = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids.flip(0).contiguous()
    with torch.no_grad():
        plain = model(**inputs).logits
    options = {"kind": kind, "width": WIDTH, "activation": activation}
    attached = Bottleneck(BottleneckOptions.model_validate(options)).attach(model)
    random = {k: 0.2 * torch.randn(t.shape) for k, t in attached.tensors().items()}
    attached.load(random)
    logits = model(**inputs).logits
    logits.square().mean().backward()
    gradients = {f"gradient {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert len(gradients) == len(random)
    save_file({"logits": logits.detach(), **gradients}, folder / "ours.safetensors")
    save_file(random, folder / "adapter.safetensors")
    save_file(inputs, folder / "inputs.safetensors")
    job = {"model": model_class, "config": config_class, "sizes": sizes, "kind": kind}
    (folder / "job.json").write_text(json.dumps({**job, "width": WIDTH, "activation": theirs}))
    changed = (logits - plain).abs().max().item()
    return {"trainable": attached.trainable(), "changed": round(changed, 3)}


def _differences(folder: Path) -> dict[str, float]:
    ours, theirs = (load_file(folder / f"{side}.safetensors") for side in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    apart = {k: (ours[k] - theirs[k]).abs().max().item() for k in ours}
    return {
        "logits": apart.pop("logits"),
        "gradients": max(apart.values()),
        "largest_gradient": max(t.abs().max().item() for k, t in ours.items() if k != "logits"),
    }


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])


if __name__ == "__main__":
    main()
