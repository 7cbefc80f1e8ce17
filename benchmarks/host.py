"""Host overhead of a pass: the time of Python and PyTorch that a GPU has to wait for.

    python benchmarks/host.py

A LoRA step of 30 layers so narrow that their arithmetic is negligible, on one thread, with one
attention call as on a GPU. Prints the process time of the fastest and the median step in
milliseconds; meaningful only against another version of brulee on the same machine.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

import brulee.models.fused_decoder as fused
from brulee.data.encoding import Encoded
from brulee.methods import build_method
from brulee.models.loading import Base
from brulee.recipe import MethodSpec
from brulee.training.passes import Passes

STEPS = 40


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=30, vocab_size=256,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=2)
    base = Base(model, tokenizer, "narrow", "0" * 64, "causal", Path())
    attached = build_method(MethodSpec.model_validate({"name": "lora", "rank": 8})).attach(model, 0)
    passes = Passes(base, most=8)
    assert passes.fused
    setattr(fused, "attend", _in_one_call)  # noqa: B010 (mypy: not exported there)
    document = Encoded(tuple(range(5, 25)), ((2, 4),))
    parameters = [p for group in attached.groups() for p in group.parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    taken = []
    with passes.boundary():
        for _ in range(STEPS):
            began = time.process_time()
            passes.backward([document])
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            taken.append(1e3 * (time.process_time() - began))
    print(f"fastest {min(taken):.1f} ms, middle {statistics.median(taken):.1f} ms")


def _in_one_call(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, _: Any, scale: float, *__: Any
) -> Any:
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, scale=scale, enable_gqa=True)
    return out[0].transpose(0, 1)


if __name__ == "__main__":
    main()
