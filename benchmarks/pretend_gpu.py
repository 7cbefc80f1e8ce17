"""Check a training step's use of a GPU without having one: devices, synchronisation, launches.

    python benchmarks/pretend_gpu.py      # a CUDA build of PyTorch, gcc and g++; no GPU, no driver

PyTorch's fake tensors have a device and a shape but no values. With a stub driver that reports a
GPU, brulee's own code runs a step on them, for every method: a tensor left on the CPU raises when
it meets others, every read of a value is reported by its line, and launches are counted. Nothing is
computed, so this says nothing about speed or numerics. Writes benchmarks/results/pretend-gpu.json;
exits 1 if a step synchronises more than once, or a pass to be captured as a CUDA graph does at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pretended_driver import STAGE, say_there_is_one, show_devices, with_driver

HERE = Path(__file__).parent
RESULT = HERE / "results" / "pretend-gpu.json"
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 16},
    "lora, dropout": {"rank": 16, "dropout": 0.1},
    "full": {},
    "selective, norms": {"train": "norms"},
    "selective, layers": {"train": "layers", "layers": {"last": 1}},
    "bottleneck": {},
    "prefix": {"tokens": 10},
    "prompt": {"tokens": 20},
    "ia3": {},
}
# Operations that neither launch nor synchronise.
VIEWS = frozenset((
    "view", "_unsafe_view", "expand", "slice", "select", "t", "transpose", "permute",
    "unsqueeze", "squeeze", "detach", "alias", "as_strided", "split", "unbind", "device",
    "split_with_sizes", "lift_fresh", "_local_scalar_dense", "empty", "empty_like", "new_empty",
    "empty_strided", "new_empty_strided",
))  # fmt: skip
LAYERS = (2, 4)


def main() -> None:
    if STAGE not in os.environ:
        sys.exit(with_driver(__file__, []))
    gpu = Pretended()
    rows = {}
    for name, options in METHODS.items():
        few, more = (gpu.steps(name.split(",")[0], options, layers) for layers in LAYERS)
        a_layer = (more["launches"] - few["launches"]) / (LAYERS[1] - LAYERS[0])
        rows[name] = {**more, "launches a layer": a_layer}
        print(f"{name:20} {rows[name]}", flush=True)
    result = {
        "what": "a step on fake CUDA tensors, 4 layers of SmolLM2-135M's shape, 8 documents in one "
        "pass: launches, and the lines that wait for a value",
        "command": "python benchmarks/pretend_gpu.py",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": gpu.versions(),
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    once = all(len(row["waits"]) == 1 for row in rows.values())
    sys.exit(not once or any(row["waits in a recorded pass"] for row in rows.values()))


class Pretended:
    """A GPU whose tensors have shapes but no values."""

    def __init__(self) -> None:
        import torch
        import torch._subclasses.fake_tensor as fake

        self.torch, self.fake = torch, fake
        self.waits: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        _say_there_is_one(torch, fake)
        _launch_nothing_in_triton(self.launches)
        _trust_what_is_tried()

    def versions(self) -> dict[str, str]:
        import transformers

        return {"torch": self.torch.__version__, "transformers": transformers.__version__}

    @contextlib.contextmanager
    def _there(self) -> Iterator[None]:
        with self.fake.FakeTensorMode(allow_non_fake_inputs=True) as mode, self._watch(mode):
            show_devices()
            yield

    def _watch(self, mode: Any) -> Any:
        """A dispatch mode that sees every operation before the fake tensors do."""
        from torch.utils._python_dispatch import TorchDispatchMode
        from torch.utils._pytree import tree_leaves, tree_map

        torch, real, gpu = self.torch, self.fake.FakeTensor, self

        def faked(x: Any) -> Any:
            unknown = isinstance(x, torch.Tensor) and not isinstance(x, real)
            return mode.from_tensor(x) if unknown else x

        class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
            def __torch_dispatch__(
                self, func: Any, _: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                name = func.name().split("::")[1].split(".")[0]
                tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
                there = any(x.device.type == "cuda" for x in tensors)
                if there and name not in VIEWS:
                    gpu.launches[name] += 1
                if _copies_and_waits(name, args, kwargs or {}):
                    gpu.waits[_line_of_ours()] += 1
                if name in ("_local_scalar_dense", "equal", "allclose", "nonzero", "masked_select"):
                    if there:
                        gpu.waits[_line_of_ours()] += 1
                    if name == "_local_scalar_dense":
                        kind = args[0].dtype
                        return 1.0 if kind.is_floating_point else kind == torch.bool or 1
                    if name in ("equal", "allclose"):
                        return True
                if func is torch.ops.aten.addmm.dtype:  # fake tensors do not support it
                    _, a, b, dtype = tree_map(faked, args)
                    return a.new_empty(a.shape[0], b.shape[1], dtype=dtype)
                return func(*tree_map(faked, args), **tree_map(faked, kwargs or {}))

        return Watch()  # type: ignore[no-untyped-call]

    def _base(self, wide: bool, layers: int) -> Any:
        """SmolLM2-135M's shape with `layers` layers, on the GPU."""
        from transformers import LlamaConfig, LlamaForCausalLM

        from brulee.models.loading import Base

        torch = self.torch
        config = LlamaConfig(
            hidden_size=576, intermediate_size=1536, num_hidden_layers=layers, vocab_size=49152,
            num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
        )  # fmt: skip
        torch.set_default_dtype(torch.float32 if wide else torch.bfloat16)
        model = LlamaForCausalLM(config).eval()
        torch.set_default_dtype(torch.float32)
        moved: dict[int, Any] = {}
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    there = torch.nn.Parameter(parameter.detach().to("cuda"), requires_grad=False)
                    module._parameters[name] = moved.setdefault(id(parameter), there)
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.to("cuda")
        tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=2)
        return Base(model, tokenizer, "pretended", "0" * 64, "causal", Path())

    def steps(self, name: str, options: dict[str, Any], layers: int) -> dict[str, Any]:
        """A step's launches and the lines that synchronise, in it and in a captured pass."""
        plain, waits = self._one(name, options, layers, record=None)
        inside: Counter[str] = Counter()

        def record(run: Callable[[], None]) -> Callable[[], None]:
            before = Counter(self.waits)
            run()
            inside.update(self.waits - before)
            return run

        self._one(name, options, layers, record=record)
        return {
            "launches": plain,
            "waits": sorted(waits),
            "waits in a recorded pass": sorted(inside),
        }

    def _one(
        self, name: str, options: dict[str, Any], layers: int, record: Any
    ) -> tuple[int, Counter[str]]:
        """Launches and synchronisations of the third step; `record`, if given, captures passes."""
        import brulee.training.captured as captured
        from brulee.data.encoding import Encoded
        from brulee.methods import build_method
        from brulee.recipe import MethodSpec, TrainSpec
        from brulee.training.documents import Document
        from brulee.training.passes import Passes
        from brulee.training.trainer import Trainer

        os.environ["BRULEE_GRAPHS"] = "0" if record is None else "1"
        setattr(captured, "on_cuda", lambda _: record)  # noqa: B010 (mypy: not exported there)
        documents = [
            Encoded(tuple(range(5, 35)) + tuple(range(100, 300 + 10 * i)), ((150 + i, 210 + i),))
            for i in range(8)
        ]
        with self._there(), tempfile.TemporaryDirectory() as scratch:
            method = build_method(MethodSpec(name=name, **options))
            base = self._base(method.stores_model, layers)
            if method.documents():
                passes = Passes(base, most=1)
                with passes.boundary():
                    method.adopt(method.prepare(base.model, passes.each(documents[:2])))
            trainer = Trainer(
                base,
                method.attach(base.model, 0),
                lambda i: Document(str(i), documents[i % 8]),
                80,
                TrainSpec(epochs=1, batch_size=8),
                learning_rate=1e-4,
                folder=Path(scratch),
                autocast=method.stores_model,
            )
            base.model.train()
            progress: Any = SimpleNamespace(advance=lambda *_, **__: None)
            for _ in range(3):
                before = Counter(self.waits)
                self.launches.clear()
                with trainer.passes.boundary():
                    trainer._one_step(progress)
            return sum(self.launches.values()), self.waits - before


def _copies_and_waits(name: str, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether an operation is a copy to or from the GPU that the host waits for.

    PyTorch waits for the stream after every copy that is not asked to be `non_blocking`.
    """
    if name == "copy_":
        kinds = {x.device.type for x in args[:2]}
        return len(kinds) > 1 and not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
    if name != "_to_copy" or kwargs.get("device") is None:
        return False
    kinds = {args[0].device.type, kwargs["device"].type}
    return len(kinds) > 1 and not kwargs.get("non_blocking")


def _line_of_ours() -> str:
    """The innermost line of brulee on the stack."""
    ours = [f for f in traceback.extract_stack() if "/brulee/" in f.filename]
    return f"{ours[-1].filename.split('/brulee/')[-1]}: {ours[-1].line}" if ours else "elsewhere"


def _say_there_is_one(torch: Any, fake: Any) -> None:
    fake.init_gpu_context = lambda _: None
    say_there_is_one()
    made = torch.tensor

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Any:
        """Create the tensor on the CPU first, so that the fake tensors see it."""
        found = made(data, **options)
        return found if device is None else found.to(device)

    torch.tensor = tensor

    def swapped(one: Any, other: Any) -> None:
        """Swap without checking for references: fake tensors hold some."""
        one.__dict__, other.__dict__ = other.__dict__, one.__dict__
        torch._C._swap_tensor_impl(one, other)

    torch.utils.swap_tensors = swapped
    torch.nn.functional.scaled_dot_product_attention = (
        _attention  # PyTorch's queries CUDA to select a kernel
    )


def _attention(q: Any, k: Any, v: Any, attn_mask: Any = None, **options: Any) -> Any:
    if options.get("enable_gqa"):
        k, v = (x.repeat_interleave(q.shape[-3] // k.shape[-3], -3) for x in (k, v))
    scores = q @ k.transpose(-1, -2)
    return (scores if attn_mask is None else scores.masked_fill(~attn_mask, -1e9)).softmax(-1) @ v


def _launch_nothing_in_triton(launches: Counter[str]) -> None:
    import torch
    import triton.runtime.jit as jit

    def run(self: Any, *arguments: Any, **_: Any) -> None:
        tensors = [x for x in arguments if isinstance(x, torch.Tensor)]
        assert all(t.device.type == "cuda" and t.is_contiguous() for t in tensors), self.fn.__name__
        launches[self.fn.__name__] += 1

    jit.JITFunction.run = run


def _trust_what_is_tried() -> None:
    """Skip the numerical self-checks, which need values."""
    import brulee.models.attention as attention
    import brulee.models.fused_decoder as fused
    import brulee.models.head as head
    import brulee.models.kernels.trying as trying
    import brulee.models.layer_form as layer_form
    import brulee.training.passes as passes

    found: tuple[tuple[Any, str, Any], ...] = (
        (attention, "_varlen_is_right", True),
        (fused, "form_is_right", True),
        (fused, "errors_of", []),
        (fused, "only_round", True),
        (layer_form, "_beyond", 0.0),
        (trying, "fault", None),
        (head, "_head_of", head.Head()),
        (passes, "packs_exactly", True),
    )
    for module, name, given in found:
        setattr(module, name, lambda *_, given=given: given)


if __name__ == "__main__":
    main()
