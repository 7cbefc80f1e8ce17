"""Correctness on a GPU: brulee's own parts compared with fp32 or fp64 on a CPU.

    python benchmarks/gpu_exact.py --device cuda

Checks every Triton kernel; variable-length attention with its gradients; passes of a small model
with a shared prefix: plain, with activation recomputation, and replayed from CUDA graphs; an
encoder-decoder's passes and dropout; attention of prompts and of generated rows; likelihoods and
generated texts. Errors are relative L2 norms,
shown next to their tolerances. Later checks build on earlier ones, so look at the first that fails.
Writes gpu-exact-DEVICE.json; exits 1 if a check fails. `--device cpu` tries the script.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from gpu_rows import read

HERE = Path(__file__).parent
# Tolerances: of one rounding to bfloat16, and of roundings throughout a small bfloat16 model. T5's
# scores are not divided by the root of the width, so rounding moves its weights further: on a CPU,
# gradients of transformers' own layers are off by 7e-2, those of Llama's by 2e-2.
ROUNDED, ROWS, THROUGHOUT, THROUGHOUT_T5 = 5e-3, 1e-2, 5e-2, 1.5e-1
Found = dict[str, tuple[float, float]]  # what was compared -> (error, tolerance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder to write to")
    arguments = parser.parse_args()
    from brulee.models.defaults import without_cudnn_attention

    device = torch.empty(0, device=arguments.device).device
    without_cudnn_attention()  # as wherever brulee has loaded a model
    told, failures = {}, []
    checks = (loops, attention, passes, recomputed, replayed, pairs, dropout, rows, inference)
    for check in checks:
        try:
            found, error = check(device), ""
        except Exception:  # recorded, so that the other checks still run
            found, error = {}, traceback.format_exc(limit=-4)
        good = not error and all(off <= most for off, most in found.values())
        told[check.__name__] = {"ok": good, "errors": found, "raised": error}
        failures += [] if good else [check.__name__]
        _print(check.__name__, found, error)
    result = {"what": "brulee's parts on a device beside fp32 on a CPU", "device": _told(device)}
    target = arguments.results / f"gpu-exact-{arguments.device}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({**result, "checks": told}, indent=2) + "\n", encoding="utf-8")
    if failures:
        sys.exit(f"not as expected: {', '.join(failures)}")


def _print(name: str, found: Found, error: str) -> None:
    for what, (off, most) in found.items():
        print(f"{'ok' if off <= most else 'OFF':4}{name:12}{what:44}{off:.1e} (at most {most:.0e})")
    if error:
        print(f"FAIL {name}\n{error}")
    sys.stdout.flush()


def _told(device: torch.device) -> dict[str, Any]:
    from brulee.models.fused_projection import _scales_and_widens
    from brulee.models.kernels import language
    from brulee.pipeline.origin import machine

    return {
        "machine": machine(),
        "torch": torch.__version__,
        "loops": language(device),
        "scales_and_widens": _scales_and_widens(device, torch.bfloat16),
    }


def _off(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The relative L2 error; infinite if shapes differ or a value is not finite."""
    mine, exact = found.detach().double().cpu(), expected.detach().double().cpu()
    if mine.shape != exact.shape or not mine.isfinite().all():
        return math.inf
    return float((mine - exact).norm() / exact.norm().clamp(min=1e-30))


def _drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loops(device: torch.device) -> Found:
    """Norm, gate, rotary embedding, loss: forward and backward, fp32 and bf16, at model widths."""
    found: Found = {}
    for dtype in (torch.float32, torch.bfloat16):
        most = 1e-5 if dtype == torch.float32 else ROUNDED
        for name, width in (("135m", 576), ("1b", 2048), ("7b", 4096)):
            for what, compute, inputs in _loops(width):
                there = [x.to(device, dtype).requires_grad_() for x in inputs]
                exact = [x.detach().double().cpu().requires_grad_() for x in there]
                ours, plain = compute(True, *there), compute(False, *exact)
                weight = _drawn(9, *plain.shape).to(dtype)
                torch.autograd.backward(ours, weight.to(device, ours.dtype))
                torch.autograd.backward(plain, weight.double())
                key = f"{what} {name} {str(dtype).removeprefix('torch.')}"
                found[key] = (_off(ours, plain), most)
                for i, (a, b) in enumerate(zip(there, exact, strict=True)):
                    assert a.grad is not None
                    assert b.grad is not None
                    found[f"{key}, gradient {i}"] = (_off(a.grad, b.grad), most)
    return {**found, **_losses(device)}


def _loops(width: int) -> Iterator[tuple[str, Callable[..., torch.Tensor], list[torch.Tensor]]]:
    from brulee.models.fused_norm import rms_norm
    from brulee.models.fused_rope import rotate
    from brulee.models.fused_swiglu import gated

    def norm(ours: bool, x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        if ours:
            return rms_norm(x, gain, 1e-5, x.dtype)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * gain

    def gate(ours: bool, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return gated(a, b) if ours else F.silu(a) * b

    angle = _drawn(3, 100, 32).bfloat16()
    angle = torch.cat([angle, angle], 1)

    def turn(ours: bool, x: torch.Tensor) -> torch.Tensor:
        x = x.view(100, -1, 64)
        # Rounded to bfloat16 on both sides: cos and sin are inputs, not under test.
        cos, sin = (part.to(x.device, x.dtype) for part in (angle.cos(), angle.sin()))
        if ours:
            return rotate(x, cos, sin)
        first, second = x.chunk(2, -1)
        return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]

    yield "norm", norm, [_drawn(0, 100, width), _drawn(1, width)]
    yield "gate", gate, [_drawn(0, 100, 3 * width), _drawn(1, 100, 3 * width)]
    yield "rotation", turn, [_drawn(0, 100, width)]


def _losses(device: torch.device) -> Found:
    from brulee.models.linear_cross_entropy import linear_cross_entropy

    found: Found = {}
    for vocabulary in (49_152, 128_256):
        hidden, weight = _drawn(0, 70, 64).bfloat16(), _drawn(1, vocabulary, 64).bfloat16() / 8
        targets = torch.randint(vocabulary, (70,), generator=torch.Generator().manual_seed(2))
        there = hidden.to(device, copy=True).requires_grad_()
        ours = linear_cross_entropy(there, weight.to(device), targets.to(device))
        exact = hidden.float().requires_grad_()
        plain = F.cross_entropy(exact @ weight.float().T, targets, reduction="sum")
        torch.autograd.backward(ours)
        torch.autograd.backward(plain)
        assert there.grad is not None
        assert exact.grad is not None
        found[f"loss over {vocabulary}"] = (_off(ours, plain), 2e-3)
        found[f"loss over {vocabulary}, gradient"] = (_off(there.grad, exact.grad), 2e-2)
    return found


def attention(device: torch.device) -> Found:
    """Attention with gradients, over documents with a shared prefix and only their last queries."""
    from brulee.models.fused_attention import attend, reading
    from brulee.models.spans import asking

    segments, shared, asked = (40, 130, 1, 300), 40, (0, 30, 1, 200)
    spans = asking(segments, shared, asked)
    found: Found = {}
    for heads, groups, width in ((9, 3, 64), (32, 8, 64), (4, 4, 128)):
        inputs = [
            _drawn(i, rows, count, width).bfloat16()
            for i, (rows, count) in enumerate(
                ((sum(asked), heads), (sum(segments), groups), (sum(segments), groups))
            )
        ]
        there = [x.to(device, copy=True).requires_grad_() for x in inputs]
        exact = [x.float().requires_grad_() for x in inputs]
        cpu = torch.device("cpu")
        (q, k, v), read = there, reading(spans, sum(segments), device)
        ours = attend(q, k, v, read, width**-0.5)
        (q, k, v), read = exact, reading(spans, sum(segments), cpu)
        plain = attend(q, k, v, read, width**-0.5)
        weight = _drawn(7, *plain.shape).bfloat16()
        torch.autograd.backward(ours, weight.to(device))
        torch.autograd.backward(plain, weight.float())
        key = f"{heads} heads, {groups} of keys, of {width}"
        found[key] = (_off(ours, plain), 1e-2)
        for what, a, b in zip("qkv", there, exact, strict=True):
            assert a.grad is not None
            assert b.grad is not None
            found[f"{key}, gradient of {what}"] = (_off(a.grad, b.grad), 2e-2)
    return found


def passes(device: torch.device) -> Found:
    """Loss and gradient of LoRA and of full fine-tuning, compared with fp32 on a CPU."""
    return {**_compared(device, "lora"), **_compared(device, "full")}


def recomputed(device: torch.device) -> Found:
    """The same with activation recomputation."""
    return _compared(device, "lora", recompute=True)


def replayed(device: torch.device) -> Found:
    """The same replayed from CUDA graphs on new documents, and the number not replayed."""
    os.environ["BRULEE_GRAPHS"] = "1"
    try:
        found = _compared(device, "lora", times=3)
        return {**found, **_compared(device, "full", times=3)}
    finally:
        os.environ["BRULEE_GRAPHS"] = ""


def pairs(device: torch.device) -> Found:
    """The same for an encoder-decoder: LoRA plain and with recomputation, full fine-tuning."""
    plain = _compared(device, "lora", model_of=_pair_model)
    again = _compared(device, "lora", recompute=True, model_of=_pair_model)
    found = {**plain, **{f"{key}, again": value for key, value in again.items()}}
    return {**found, **_compared(device, "full", model_of=_pair_model)}


def dropout(device: torch.device) -> Found:
    """The share of dropped values, and whether the gradient has the same mask."""
    from brulee.models.dropping import dropped

    x, share = torch.ones(1000, 1000, device=device, requires_grad=True), 0.1
    y = dropped(x, share)
    torch.autograd.backward(y, torch.ones_like(y))
    assert x.grad is not None
    gone = (y == 0).double().mean()
    return {
        "share dropped": (abs(float(gone) - share), 2e-3),
        "gradient": (_off(x.grad, y), 0.0),
        "mean": (abs(float(y.detach().mean()) - 1), 2e-3),
    }


def rows(device: torch.device) -> Found:
    """What prompts and generated rows read in bfloat16, with scores of some hundred."""
    return {what: (_off(ours, exact), ROWS) for what, (ours, exact) in read(device).items()}


def inference(device: torch.device) -> Found:
    """Likelihoods and generated texts, in fp32."""
    sums, texts = _answers(device)
    exact, expected = _answers(torch.device("cpu"))
    wrong = sum(a != b for a, b in zip(texts, expected, strict=True))
    return {"likelihoods": (_off(sums, exact), 1e-4), "texts that differ": (float(wrong), 0.0)}


def _answers(device: torch.device) -> tuple[torch.Tensor, list[list[int]]]:
    from brulee.inference.engine import Engine
    from brulee.inference.sampling import Sampling

    engine = Engine(_model().to(device), stop_ids=[], pad_id=0)
    documents = _documents(0)
    found = engine.loglikelihood(documents)
    prompts = [document.ids[:-5] for document in documents]
    texts = engine.generate(prompts, Sampling(max_new_tokens=12))
    return torch.tensor([one.log_probability for one in found]), texts


def _compared(
    device: torch.device,
    method: str,
    recompute: bool = False,
    times: int = 1,
    model_of: Callable[[], Any] | None = None,
) -> Found:
    """The pass over the last step's documents, compared with the same in fp32 on a CPU."""
    from brulee.progress import enable

    enable()
    steps = [_documents(seed) for seed in range(times)]
    most = THROUGHOUT if model_of is None else THROUGHOUT_T5
    model_of, cpu = model_of or _model, torch.device("cpu")
    narrow = device.type == "cuda" and method == "lora"
    loss, grads, found = _pass(model_of(), device, method, steps, recompute, narrow)
    exact_loss, exact_grads, _ = _pass(model_of(), cpu, method, steps[-1:])
    every, exact = (torch.cat([g.flatten().cpu() for g in x]) for x in (grads, exact_grads))
    rows: Found = {
        f"loss, {method}": (_off(loss, exact_loss), ROUNDED),
        f"gradient, {method}": (_off(every, exact), most),
    }
    if times > 1 and device.type == "cuda":
        rows[f"passes not replayed, {method}"] = (float(times - 1 - found.replayed), 0.0)
    return rows


def _pass(
    model: Any,
    device: torch.device,
    method: str,
    steps: Sequence[Any],
    recompute: bool = False,
    narrow: bool = False,
) -> tuple[torch.Tensor, list[torch.Tensor], Any]:
    from brulee.methods import build_method
    from brulee.models.loading import Base
    from brulee.recipe import MethodSpec
    from brulee.training.passes import Passes

    model = model.to(device, torch.bfloat16 if narrow else torch.float32)
    kind: Literal["causal", "seq2seq"] = "seq2seq" if model.config.is_encoder_decoder else "causal"
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=2)
    base = Base(model, tokenizer, "small", "0" * 64, kind, Path())
    options = {"rank": 8} if method == "lora" else {}
    attached = build_method(MethodSpec.model_validate({"name": method, **options})).attach(model, 0)
    parameters = [p for group in attached.groups() for p in group.parameters]
    for i, parameter in enumerate(parameters):
        if method == "lora":  # also B, which is initialised to zero
            parameter.data.copy_(0.05 * _drawn(i, *parameter.shape))
    found = Passes(base, most=8, autocast=device.type == "cuda" and method == "full")
    assert found.fused, "the model does not go through the fast path here"
    if recompute:
        found.recompute()
    loss = torch.zeros(())
    with found.boundary():
        for documents in steps:
            for parameter in parameters:
                parameter.grad = None
            loss, _ = found.backward(documents)
    grads = [p.grad.detach().float() for p in parameters if p.grad is not None]
    assert len(grads) == len(parameters), "some have no gradient"
    return loss, grads, found


def _model() -> Any:
    """A two-layer model with grouped-query attention and weights large enough for attention."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=2, vocab_size=4096,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
        initializer_range=0.05,
    )  # fmt: skip
    return _as_narrow(LlamaForCausalLM(config))


def _pair_model() -> Any:
    """A model of FLAN-T5's architecture with two layers on each side, without dropout."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        d_model=256, d_kv=64, d_ff=512, num_layers=2, num_heads=4, vocab_size=4096,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=0.0,
        decoder_start_token_id=0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    torch.nn.init.normal_(model.lm_head.weight, std=0.05)
    return _as_narrow(model)


def _as_narrow(model: Any) -> Any:
    """Round the weights to bfloat16 values, so that both sides have the same weights."""
    model = model.eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    return model


def _documents(seed: int) -> list[Any]:
    """Five documents with a shared prefix, of the same lengths for every seed."""
    from brulee.data.encoding import Encoded

    draw = torch.Generator().manual_seed(seed)
    front = tuple(range(5, 25))
    found = []
    for i, length in enumerate((60, 9, 150, 33, 260)):
        own = torch.randint(100, 4096, (length,), generator=draw).tolist()
        found.append(Encoded.ending((*front, 30 + i, *own), 5 + length // 4))
    return found


if __name__ == "__main__":
    main()
