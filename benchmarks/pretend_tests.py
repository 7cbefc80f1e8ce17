"""Run the tests on a simulated GPU: tensors report a CUDA device and are computed on the CPU.

    python benchmarks/pretend_tests.py tests/end_to_end -m "not slow"     # pytest's arguments
    python benchmarks/pretend_tests.py --models tests/unit/methods       # see pretended_models.py

Needs a CUDA build of PyTorch, gcc and g++; no GPU and no driver. `train.device: auto` then selects
the GPU in this process, its threads and its subprocesses. Mixing CPU and GPU tensors in an
operation is an error, as on a real GPU; GPU-only paths (variable-length attention, padded
encoder-decoders, passes of equally many tokens) run and meet the tests' expectations. Triton
kernels are left out: their interpreter runs in tests/unit/models and is too slow here.

Unit tests build their models on the CPU, where they stay unless `--models` is given. What cannot be
simulated fails: four-bit weights, several GPUs, and (most of them not with `--models`) tests that
pass ids on the CPU to a model themselves.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pretended_driver import STAGE, allocated, say_there_is_one, show_devices, with_driver

HERE: Final = Path(__file__).parent
# Operations in which CPU and GPU tensors may meet.
_CROSSES: Final = frozenset(("_to_copy", "copy_", "lift_fresh", "set_"))
# A CPU tensor without dimensions may meet GPU tensors in any other operation.
_JOINS: Final = frozenset(("cat", "stack"))
_INDEXES: Final = frozenset(("index", "index_put", "index_put_", "_index_put_impl_"))
# The sitecustomize.py of every subprocess: simulates the GPU once torch is imported.
_FOLLOWS: Final = f"""
import importlib.util, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "torch" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            sys.path.insert(0, {str(HERE)!r})
            import pretend_tests
            pretend_tests.pretend()

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def main() -> None:
    if STAGE not in os.environ:
        sys.exit(with_driver(__file__, sys.argv[1:]))
    import pretended_models
    import pytest

    os.environ["BRULEE_KERNELS"] = "torch"
    given = [argument for argument in sys.argv[1:] if argument != "--models"]
    with_models = len(given) < len(sys.argv) - 1
    pretend(pretended_models.in_tests if with_models else lambda: False)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "sitecustomize.py").write_text(_FOLLOWS)
        _have_processes_follow(scratch)
        plugins = [pretended_models] if with_models else []
        sys.exit(pytest.main(["-n", "0", "-p", "no:cacheprovider", *given], plugins=plugins))


def _have_processes_follow(folder: str) -> None:
    """Put the folder first on every subprocess's PYTHONPATH, whatever environment it is given."""
    process: Any = subprocess.Popen
    begin = process.__init__

    def begun(self: Any, *arguments: Any, env: Any = None, **options: Any) -> None:
        env = dict(os.environ if env is None else env)
        env["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, [env.get("PYTHONPATH")])])
        begin(self, *arguments, env=env, **options)

    process.__init__ = begun


def pretend(may_mix: Callable[[], bool] = lambda: False) -> None:
    """Give this process a simulated GPU; `may_mix`: whether this line may mix devices."""
    import torch
    import torch.utils._device

    # Cached from the original torch.tensor, before it is replaced.
    torch.utils._device._device_constructors()
    state = torch.zeros(16, dtype=torch.uint8)
    # Nonzero memory, as `brulee plan` expects.
    memory = allocated(1 << 20, 2 << 20)
    say_there_is_one(memory_stats_as_nested_dict=memory, get_rng_state_all=[state])
    # Random numbers come from the CPU's generator.
    setattr(torch.cuda, "get_rng_state", lambda *_: torch.get_rng_state())  # noqa: B010
    setattr(torch.cuda, "set_rng_state", lambda new, *_: torch.set_rng_state(new))  # noqa: B010
    _Placed.install(may_mix)
    show_devices()


class _Placed:
    """GPU tensors: a wrapper with the device around a CPU tensor with the values."""

    @staticmethod
    def install(may_mix: Callable[[], bool]) -> None:
        import torch
        from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
        from torch.utils._pytree import tree_leaves, tree_map

        tensor: Any = torch.Tensor
        aliased: Any = return_and_correct_aliasing

        class There(tensor):  # type: ignore[misc]
            __torch_function__ = torch._C._disabled_torch_function_impl

            @staticmethod
            def __new__(cls: Any, inner: torch.Tensor, requires_grad: bool = False) -> Any:
                return torch.Tensor._make_wrapper_subclass(
                    cls,
                    inner.shape,
                    strides=inner.stride(),
                    storage_offset=inner.storage_offset(),
                    dtype=inner.dtype,
                    device=torch.device("cuda", 0),
                    requires_grad=requires_grad,
                )

            def __init__(self, inner: torch.Tensor, requires_grad: bool = False) -> None:
                del requires_grad
                self.inner = inner

            @classmethod
            def __torch_dispatch__(
                cls, func: Any, _: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                return run(func, args, kwargs or {})

            def __getitem__(self, at: Any) -> Any:
                """Convert lists here: C++ would allocate their tensors on the GPU."""

                def made(one: Any) -> Any:
                    return torch.tensor(one) if isinstance(one, list) else one

                at = tuple(map(made, at)) if isinstance(at, tuple) else made(at)
                return torch.Tensor.__getitem__(self, at)

            @property
            def data(self) -> Any:
                return self.detach()

            @data.setter
            def data(self, new: Any) -> None:
                tensor.data.__set__(self, new)
                self.inner = new.inner

            def data_ptr(self) -> int:
                return self.inner.data_ptr()

            def untyped_storage(self) -> Any:
                return self.inner.untyped_storage()

            def set_(self, *given: Any) -> Any:
                return There(torch.empty(0, dtype=self.dtype).set_(*given))

            def __deepcopy__(self, memo: Any) -> Any:
                if id(self) not in memo:
                    made = There(self.inner.detach().clone(), self.requires_grad)
                    parameter = isinstance(self, torch.nn.Parameter)
                    held = torch.nn.Parameter(made, self.requires_grad) if parameter else made
                    memo[id(self)] = held
                return memo[id(self)]

            def tolist(self) -> Any:
                return self.cpu().tolist()

            def numpy(self, *_: Any, **__: Any) -> Any:
                if may_mix():
                    return self.detach().cpu().numpy()
                raise TypeError("a tensor on a GPU is no array: copy it with Tensor.cpu() first")

            __array__ = numpy

        def inside(x: Any) -> Any:
            return x.inner if isinstance(x, There) else x

        def placed(x: Any) -> Any:
            return There(x) if isinstance(x, torch.Tensor) and not isinstance(x, There) else x

        def run(func: Any, args: Any, kwargs: Any) -> Any:
            name = func.name().split("::")[1].split(".")[0]
            tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
            there = [x for x in tensors if isinstance(x, There)]
            here = [x for x in tensors if not isinstance(x, There) and (x.ndim or name in _JOINS)]
            if there and here and name not in _CROSSES:
                indices = name in _INDEXES and isinstance(args[0], There)
                wrong = not indices or (len(args) > 2 and args[2] is here[-1])
                if wrong and not may_mix():
                    shapes = [tuple(x.shape) for x in tensors]
                    raise RuntimeError(f"{func} has tensors on a GPU and on the CPU: {shapes}")
            own = tree_map(inside, args)
            more = tree_map(inside, kwargs)
            if name in _ATTENTIONS:
                return tree_map(placed, _ATTENTIONS[name](*own, **more))
            if name == "copy_":
                own[0].copy_(own[1])
                return args[0]
            if name == "is_pinned":
                return False
            on_gpu = bool(there)
            if more.get("device") is not None:
                on_gpu = torch.device(more["device"]).type == "cuda"
                more["device"] = torch.device("cpu") if on_gpu else more["device"]
            more = {k: v for k, v in more.items() if k != "pin_memory"}
            if name == "histc" and on_gpu:  # CPUs count floating-point numbers only
                found = func(own[0].double(), *own[1:]).to(own[0].dtype)
            else:
                found = func(*own, **more)
            if not on_gpu:
                return found
            same = {id(x.inner): x for x in there}
            found = tree_map(lambda x: same[id(x)] if id(x) in same else placed(x), found)
            if not there or not isinstance(found, torch.Tensor):
                return found
            return aliased(func, args, kwargs, found)

        class Everywhere(TorchDispatchMode):  # type: ignore[no-untyped-call]
            """Also intercepts the creation of tensors on the GPU, which has no wrapper as input."""

            def __torch_dispatch__(
                self, func: Any, _: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                return run(func, args, kwargs or {})

        _replace(There, Everywhere)
        Everywhere().__enter__()  # type: ignore[no-untyped-call]


def _replace(There: Any, Everywhere: Any) -> None:
    """Replace functions that bypass dispatch modes in C++ or depend on the kind of GPU."""
    import torch

    made: Any = torch.tensor

    def tensor(data: Any, *, device: Any = None, requires_grad: bool = False, **more: Any) -> Any:
        found = made(data.cpu() if isinstance(data, There) else data, **more)
        found = found if device is None else found.to(device)
        return found.requires_grad_(requires_grad) if requires_grad else found

    def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
        if isinstance(data, torch.Tensor):
            return data.to(device=device, dtype=dtype)
        return tensor(data, device=device, **({} if dtype is None else {"dtype": dtype}))

    def swapped(one: Any, other: Any) -> None:
        """Swap two tensors in place, as `Module.to` does to keep references to parameters."""
        if isinstance(one, torch.nn.Parameter) and isinstance(other, There):
            other._is_param = True
        one.__class__, other.__class__ = other.__class__, one.__class__
        one.__dict__, other.__dict__ = other.__dict__, one.__dict__
        torch._C._swap_tensor_impl(one, other)

    begin = threading.Thread.run

    def begun(self: threading.Thread) -> None:
        with Everywhere():
            begin(self)

    for place, name, new in (
        (torch, "tensor", tensor),
        (torch, "as_tensor", as_tensor),
        (torch.utils, "swap_tensors", swapped),
        (torch.Tensor, "pin_memory", lambda self, *_: self),
        (torch.nn.functional, "scaled_dot_product_attention", _attention),
        (threading.Thread, "run", begun),
    ):
        setattr(place, name, new)
    torch.__future__.set_swap_module_params_on_conversion(True)


def _attention(
    q: Any,
    k: Any,
    v: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Attention in plain products: PyTorch's queries the GPU to select a kernel."""
    import torch

    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[-3] // k.shape[-3], -3) for x in (k, v))
    scores = (q @ k.transpose(-1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        seen = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
        scores = scores.masked_fill(~seen, -torch.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.dropout(torch.nan_to_num(scores.softmax(-1)), dropout_p, True) @ v


def _documents(bounds: Any, key_bounds: Any) -> list[tuple[slice, slice]]:
    rows, keys = (
        itertools.starmap(slice, itertools.pairwise(b.tolist())) for b in (bounds, key_bounds)
    )
    return list(zip(rows, keys, strict=True))


def _weights(q: Any, k: Any, causal: bool, scale: float, left: int, right: int) -> Any:
    """Attention weights (H, Q, T) of one document; masks align the last query and the last key."""
    import torch

    scores = torch.einsum("qhd,thd->hqt", q, k) * scale
    behind = torch.arange(len(q))[:, None] + len(k) - len(q) - torch.arange(len(k))[None]
    seen = behind >= 0 if causal else torch.ones_like(behind, dtype=torch.bool)
    seen &= (behind <= left) if left >= 0 else True
    seen &= (behind >= -right) if right >= 0 else True
    return torch.nan_to_num(scores.masked_fill(~seen, -torch.inf).softmax(-1))


def _windows(more: dict[str, Any]) -> tuple[int, int]:
    found = (more.get("window_size_left"), more.get("window_size_right"))
    left, right = (-1 if size is None else size for size in found)
    return left, right


def _flash_forward(
    q: Any, k: Any, v: Any, bounds: Any, key_bounds: Any, *rest: Any, **more: Any
) -> tuple[Any, ...]:
    """Variable-length attention with the schema of PyTorch's kernel."""
    import torch

    causal, scale = rest[3], more.get("scale") or q.shape[-1] ** -0.5
    groups, out = q.shape[1] // k.shape[1], torch.zeros(q.shape)
    for rows, keys in _documents(bounds, key_bounds):
        wide_k, wide_v = (x[keys].float().repeat_interleave(groups, 1) for x in (k, v))
        weights = _weights(q[rows].float(), wide_k, causal, scale, *_windows(more))
        out[rows] = torch.einsum("hqt,thd->qhd", weights, wide_v)
    unused = torch.zeros(2, dtype=torch.uint64)
    return out.to(q.dtype), torch.zeros(q.shape[1], len(q)), unused, unused[:0], q.new_empty(0)


def _flash_backward(
    d_out: Any, q: Any, k: Any, v: Any, _out: Any, _lse: Any, *rest: Any, **more: Any
) -> tuple[Any, ...]:
    import torch

    bounds, key_bounds, causal = rest[0], rest[1], rest[5]
    scale, groups = more.get("scale") or q.shape[-1] ** -0.5, q.shape[1] // k.shape[1]
    d_q, d_k, d_v = (torch.zeros(x.shape) for x in (q, k, v))
    for rows, keys in _documents(bounds, key_bounds):
        d, wide_q = d_out[rows].float(), q[rows].float()
        wide_k, wide_v = (x[keys].float().repeat_interleave(groups, 1) for x in (k, v))
        weights = _weights(wide_q, wide_k, causal, scale, *_windows(more))
        d_weights = torch.einsum("qhd,thd->hqt", d, wide_v)
        own = (d_weights * weights).sum(-1, keepdim=True)
        d_scores = weights * (d_weights - own) * scale
        d_q[rows] = torch.einsum("hqt,thd->qhd", d_scores, wide_k)
        for wide, left, right in ((d_k, d_scores, wide_q), (d_v, weights, d)):
            each = torch.einsum("hqt,qhd->thd", left, right)
            wide[keys] = each.view(len(each), -1, groups, each.shape[-1]).sum(2)
    return d_q.to(q.dtype), d_k.to(k.dtype), d_v.to(v.dtype)


_ATTENTIONS: Final[dict[str, Callable[..., Any]]] = {
    "_flash_attention_forward": _flash_forward,
    "_flash_attention_backward": _flash_backward,
}

if __name__ == "__main__":
    main()
