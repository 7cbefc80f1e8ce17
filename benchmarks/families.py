"""Model families through the fused decoder and through transformers' layers, side by side.

    .venv/bin/python benchmarks/families.py [--repeats 3] [--pairs | --gpt | --newer | --hybrids]

Random weights in the shapes of Gemma 3 270M (vocabulary cut to 32,768) and of a small Phi 3, with
LoRA r16 on every linear layer, in bf16, on one thread. The documents: two of about 300 tokens that
share the first 24 and have loss on the last fifth, and one of 1,100 tokens, more than Gemma's
window. The two ways alternate step by step on one model, and ratios compare neighbouring steps in
the thread's CPU time, so that they hold on a busy machine too. The losses must agree within 1%.
Memory is what a step adds at its peak; through layers it is measured in passes of 512 tokens, as in
training, and in passes as large as the decoder's. Writes families-cpu.json. --pairs: the shape of
BART base with its dropout, on eight documents of 180 to 410 tokens; writes families-pairs-cpu.json.
--gpt: the shape of GPT-2 with its dropout, in fp32; writes families-gpt-cpu.json.
--newer: small models with layers without attention, gates on attention, latent attention, shared
keys or chunks, in fp32, on eight documents; writes families-newer-cpu.json. --hybrids: the same of
layers of one sublayer or of two mixers side by side, lightning attention, ALiBi, several streams;
writes families-hybrids-cpu.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers

import brulee.models.head as head
from brulee.data.encoding import Encoded
from brulee.methods import build_method
from brulee.models.allocator import give_back_freed_memory, keep_freed_memory
from brulee.models.loading import Base
from brulee.models.precision import FUSED_PASS_TOKENS
from brulee.pipeline.origin import machine
from brulee.recipe import MethodSpec
from brulee.training.memory import current_bytes, peak_bytes, reset_peak
from brulee.training.passes import Passes

HERE = Path(__file__).parent
CPU = torch.device("cpu")
VOCABULARY, SHARED = 32_768, 24
_NEWER: dict[str, Any] = {
    "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64,
    "vocab_size": VOCABULARY,
}  # fmt: skip
_WHOLE_HEADS: dict[str, Any] = {"hidden_size": 512, "vocab_size": VOCABULARY}
_LATENT: dict[str, Any] = {
    "head_dim": 32, "num_key_value_heads": 8, "kv_lora_rank": 128, "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32, "v_head_dim": 64,
}  # fmt: skip
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma-3-270m": (
        "Gemma3Text",
        {
            "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
            "sliding_window": 512, "query_pre_attn_scalar": 256, "vocab_size": VOCABULARY,
        },
    ),
    "phi-small": (
        "Phi3",
        {
            "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
            "num_attention_heads": 12, "num_key_value_heads": 12, "vocab_size": VOCABULARY,
        },
    ),
    "starcoder2-small": (
        "Starcoder2",
        {
            "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": VOCABULARY,
            "residual_dropout": 0.0, "embedding_dropout": 0.0,
        },
    ),
    "cohere-small": (
        "Cohere",
        {
            "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
            "num_attention_heads": 12, "num_key_value_heads": 12, "vocab_size": VOCABULARY,
        },
    ),
    "qwen3-moe-small": (
        "Qwen3Moe",
        {
            "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 8,
            "num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 64,
            "moe_intermediate_size": 384, "num_experts": 32, "num_experts_per_tok": 4,
            "norm_topk_prob": True, "vocab_size": VOCABULARY,
        },
    ),
    "qwen3.5-small": (
        "Qwen3_5Text",
        {
            **_NEWER, "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 2,
            "linear_key_head_dim": 64, "linear_value_head_dim": 64,
            "linear_num_key_heads": 4, "linear_num_value_heads": 8,
        },
    ),
    "lfm2-small": (
        "Lfm2",
        {
            **_NEWER, "layer_types": (["conv"] * 3 + ["full_attention"]) * 2,
            "block_auto_adjust_ff_dim": False,
        },
    ),
    "afmoe-small": (
        "Afmoe",
        {
            **_NEWER, "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 2,
            "sliding_window": 128, "num_dense_layers": 8,
        },
    ),
    "deepseek3-small": (
        "DeepseekV3",
        {
            **_NEWER, **_LATENT, "q_lora_rank": 256, "n_routed_experts": 16,
            "num_experts_per_tok": 4, "moe_intermediate_size": 256, "n_shared_experts": 1,
            "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2,
        },
    ),
    "minicpm3-small": ("MiniCPM3", {**_NEWER, **_LATENT, "q_lora_rank": 256}),
    "gemma4-small": (
        "Gemma4Text",
        {
            **_NEWER, "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 2,
            "sliding_window": 128, "global_head_dim": 128, "num_kv_shared_layers": 4,
            "hidden_size_per_layer_input": 64, "vocab_size_per_layer_input": VOCABULARY,
        },
    ),
    "llama4-small": (
        "Llama4Text",
        {
            **_NEWER, "intermediate_size_mlp": 1536, "moe_layers": [], "attention_chunk_size": 128,
            "no_rope_layers": [1, 1, 1, 0] * 2,
        },
    ),
    "nemotron-h-small": (
        "NemotronH",
        {
            **{key: value for key, value in _NEWER.items() if key != "num_hidden_layers"},
            "layers_block_type": (["linear_attention", "mlp"] * 3 + ["full_attention", "mlp"]) * 2,
            "mamba_num_heads": 16, "mamba_head_dim": 64, "ssm_state_size": 64, "n_groups": 2,
        },
    ),
    "falcon-h1-small": (
        "FalconH1",
        {
            **_NEWER, "mamba_d_ssm": 512, "mamba_n_heads": 8, "mamba_d_head": 64,
            "mamba_d_state": 64, "mamba_chunk_size": 128,
        },
    ),
    "minimax-small": (
        "MiniMax",
        {
            **_NEWER, "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 2,
            "num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 512,
        },
    ),
    "bitnet-small": ("BitNet", _NEWER),
    "gemma3n-small": (
        "Gemma3nText",
        {
            **_NEWER, "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 2,
            "sliding_window": 128, "num_kv_shared_layers": 4, "hidden_size_per_layer_input": 64,
            "vocab_size_per_layer_input": VOCABULARY, "laurel_rank": 32,
            "activation_sparsity_pattern": [0.95] * 4 + [0.0] * 4,
        },
    ),
    "bloom-small": ("Bloom", {**_WHOLE_HEADS, "n_layer": 8, "n_head": 8}),
    "mpt-small": ("Mpt", {**_WHOLE_HEADS, "n_layers": 8, "n_heads": 8}),
    "falcon-rw-small": (
        "Falcon",
        {
            **_WHOLE_HEADS, "num_hidden_layers": 8, "num_attention_heads": 8, "alibi": True,
            "parallel_attn": False, "multi_query": False, "bias": True,
        },
    ),
    "gpt2": ("GPT2", {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}),
    "bart-base": (
        "Bart",
        {
            "d_model": 768, "encoder_layers": 6, "decoder_layers": 6, "encoder_ffn_dim": 3072,
            "decoder_ffn_dim": 3072, "encoder_attention_heads": 12, "decoder_attention_heads": 12,
            "dropout": 0.1, "vocab_size": VOCABULARY,
        },
    ),
}  # fmt: skip
CASES = (
    ("gemma-3-270m", (280, 320)),
    ("phi-small", (280, 320)),
    ("gemma-3-270m", (1_100,)),
    ("starcoder2-small", (280, 320)),
    ("cohere-small", (280, 320)),
    ("qwen3-moe-small", (280, 320)),
)
GPT_CASES = (("gpt2", (280, 320)),)
_UNEQUAL = (60, 400, 280, 110, 330, 200, 80, 240)
NEWER_CASES = tuple(
    (f"{name}-small", _UNEQUAL)
    for name in ("qwen3.5", "lfm2", "afmoe", "deepseek3", "minicpm3", "gemma4", "llama4")
)
HYBRID_CASES = tuple(
    (f"{name}-small", _UNEQUAL)
    for name in (
        *("bloom", "mpt", "falcon-rw", "gemma3n", "bitnet"),
        *("minimax", "falcon-h1", "nemotron-h"),
    )
)
PAIR_CASES = (("bart-base", (180, 230, 300, 320, 250, 200, 410, 280)),)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--pairs", action="store_true", help="encoder-decoders instead")
    others.add_argument("--gpt", action="store_true", help="GPT-2 instead, in fp32")
    others.add_argument("--newer", action="store_true", help="newer families instead, in fp32")
    others.add_argument("--hybrids", action="store_true", help="hybrids and ALiBi, in fp32")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder to write to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    in_fp32 = arguments.gpt or arguments.newer or arguments.hybrids
    cases, dtype = [], torch.float32 if in_fp32 else torch.bfloat16
    others_by_name = {
        **{"gpt": GPT_CASES, "pairs": PAIR_CASES},
        **{"newer": NEWER_CASES, "hybrids": HYBRID_CASES},
    }
    which = next((name for name in others_by_name if getattr(arguments, name)), "")
    chosen = others_by_name.get(which, CASES)
    for shape, lengths in chosen:
        cases.append(case(shape, lengths, arguments.repeats, dtype))
        print(json.dumps(cases[-1]), flush=True)
    result = {
        "what": "LoRA r16 on every linear map, random weights, forward and backward, "
        + ("fp32" if in_fp32 else "bf16"),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "cases": cases,
    }
    target = arguments.results / f"families-{which}{'-' if which else ''}cpu.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")


def case(shape: str, lengths: Sequence[int], repeats: int, dtype: torch.dtype) -> dict[str, Any]:
    fused, layers, parameters = _two_ways(shape, dtype)
    documents = [_document(length, seed) for seed, length in enumerate(lengths)]
    runs: dict[str, list[dict[str, float]]] = {"fused": [], "layers": []}
    for at in range(repeats + 1):  # the first is warm-up
        for passes in (fused, layers) if at % 2 else (layers, fused):
            found = _step(passes, documents, parameters)
            if at:
                runs["fused" if passes.fused else "layers"].append(found)
    layers.pass_tokens = FUSED_PASS_TOKENS["cpu"]
    together = _step(layers, documents, parameters)
    pairs = list(zip(runs["fused"], runs["layers"], strict=True))
    # Within 1% even if dropout differs: with random weights all losses are close.
    assert all(abs(one["loss"] / other["loss"] - 1) < 0.01 for one, other in pairs), pairs
    memory = {way: statistics.median(run["extra_mib"] for run in runs[way]) for way in runs}
    speed = {way: statistics.median(run["tokens_per_second"] for run in runs[way]) for way in runs}
    return {
        "shape": shape,
        "documents": list(lengths),
        "tokens_per_second": speed,
        "speed_ratios": sorted(
            round(one["tokens_per_second"] / other["tokens_per_second"], 2) for one, other in pairs
        ),
        "extra_mib": {**memory, "layers in the same passes": together["extra_mib"]},
    }


def _two_ways(shape: str, dtype: torch.dtype) -> tuple[Passes, Passes, list[torch.nn.Parameter]]:
    """Passes through the decoder and through layers, and the parameters that both train."""
    kind, sizes = SHAPES[shape]
    config = getattr(transformers, f"{kind}Config")(**sizes, pad_token_id=0)
    pair = bool(config.is_encoder_decoder)
    auto: Any = transformers.AutoModelForSeq2SeqLM if pair else transformers.AutoModelForCausalLM
    torch.manual_seed(0)
    model = auto.from_config(config, dtype=dtype).eval()
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=2)
    base = Base(model, tokenizer, shape, "0" * 64, "seq2seq" if pair else "causal", Path())
    spec = MethodSpec.model_validate({"name": "lora", "rank": 16, "target": "all-linear"})
    attached = build_method(spec).attach(model, 0)
    fused = Passes(base, most=8)
    name = "fused_pair" if pair else "fused_decoder"
    look_for = getattr(head, name)
    setattr(head, name, lambda _: None)
    layers = Passes(base, most=8)
    setattr(head, name, look_for)
    model.train()  # dropout as in its configuration
    assert (fused.fused, layers.fused) == (True, False)
    return fused, layers, [p for group in attached.groups() for p in group.parameters]


def _step(
    passes: Passes, documents: list[Encoded], parameters: list[torch.nn.Parameter]
) -> dict[str, float]:
    give_back_freed_memory()
    before = current_bytes(CPU)
    reset_peak(CPU)
    with passes.boundary():
        began = time.process_time()
        loss, tokens = passes.backward(documents)
        seconds = time.process_time() - began
    extra = peak_bytes(CPU) - before
    for parameter in parameters:
        parameter.grad = None
    return {
        "tokens_per_second": round(tokens / seconds, 1),
        "extra_mib": round(extra / 2**20),
        "loss": float(loss),
    }


def _document(length: int, seed: int) -> Encoded:
    draw = torch.Generator().manual_seed(seed)
    own = torch.randint(3, VOCABULARY, (length - SHARED,), generator=draw).tolist()
    return Encoded.ending((*range(3, 3 + SHARED), *own), length // 5)


if __name__ == "__main__":
    main()
