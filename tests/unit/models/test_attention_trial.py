"""A kernel for packed attention that is wrong, forward or back, is found and not used."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from brulee.models import attention, attention_in_c
from brulee.models.attention_trial import Reads, is_right, scale
from brulee.models.kernels import kernel

CPU, BF16 = torch.device("cpu"), torch.bfloat16
READS: Reads = [(slice(0, 3), range(3)), (slice(3, 7), range(3, 9))]
Attend = Callable[..., torch.Tensor]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    for found in (attention._varlen_is_right, attention_in_c._is_right):
        found.cache_clear()
    yield
    for found in (attention._varlen_is_right, attention_in_c._is_right):
        found.cache_clear()


def _by_torch(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None
) -> torch.Tensor:
    outs = []
    for queries, seen in READS:
        at = torch.arange(len(seen))
        own = q[queries].transpose(0, 1)[None]
        behind = at[len(seen) - own.shape[2] :, None] - at
        mask = (behind >= 0) & (behind < (window or len(seen)))
        keys, values = (x[list(seen)].transpose(0, 1)[None] for x in (k, v))
        outs.append(
            torch.nn.functional.scaled_dot_product_attention(
                own, keys, values, mask, scale=scale(q.shape[-1]), enable_gqa=True
            )[0].transpose(0, 1)
        )
    return torch.cat(outs)


class _Slanted(torch.autograd.Function):
    """Leaves a value as it is, and its gradient a little longer."""

    @staticmethod
    def forward(_: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(_: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0] * 1.05


def _slanted(place: int) -> Attend:
    def attend(*given: Any) -> torch.Tensor:
        given = tuple(_Slanted.apply(x) if i == place else x for i, x in enumerate(given))
        return _by_torch(*given)

    return attend


def _failing(*_: Any) -> torch.Tensor:
    raise RuntimeError("no kernel image\nfor this device")


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_what_is_right_is_taken_in_silence(dtype: torch.dtype) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_right(_by_torch, READS, CPU, dtype, 32)


@pytest.mark.parametrize(
    ("attend", "said"),
    [
        (_slanted(0), "dQ is off by 5"),
        (_slanted(1), "dK is off by 5"),
        (_slanted(2), "dV is off by 5"),
        (lambda q, k, v, _: _by_torch(q, k, v, None), "output is off by "),
        (lambda q, k, v, w: torch.nan * _by_torch(q, k, v, w), "output is off by nan"),
        (lambda q, k, v, w: _by_torch(q.detach(), k, v, w), "(One of t|T)he differentiated Tensor"),
        (_failing, "no kernel image$"),
    ],
    ids=["dQ", "dK", "dV", "window", "nan", "without a gradient", "failing"],
)
def test_what_is_wrong_is_told_and_not_taken(attend: Attend, said: str) -> None:
    with pytest.warns(UserWarning, match=f"on cpu in torch.float32: {said}"):
        assert not is_right(attend, READS, CPU, torch.float32, 32)


def test_a_kernel_is_not_found_wrong_for_lack_of_memory() -> None:
    """It would not be used any more in this process."""

    def exhausted(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        is_right(exhausted, READS, CPU, torch.float32, 32)


@pytest.mark.parametrize("width", [32, 64, 96])
@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_loops_in_c_pass(dtype: torch.dtype, width: int) -> None:
    if kernel("attend_forward", torch.empty(0, dtype=dtype)) is None:
        pytest.skip("needs gcc, and for bf16 a processor with products of it")
    assert attention_in_c._is_right(CPU, dtype, width)


def _flash(wrong: bool) -> Callable[..., tuple[torch.Tensor]]:
    def flash(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: Any, **options: Any) -> Any:
        assert [b.tolist() for b in rest[:2]] == [[0, 3, 7], [0, 3, 9]]
        left = options["window_size_left"]
        out = _by_torch(q, k, v, None if left < 0 else left + 1)
        return (out.flip(0) if wrong else out,)

    return flash


@pytest.mark.parametrize("wrong", [False, True])
def test_the_kernel_of_a_gpu_is_tried_before_it_takes_all_documents(
    monkeypatch: pytest.MonkeyPatch, wrong: bool
) -> None:
    monkeypatch.setattr(attention, "by_kernel", lambda _: True)
    monkeypatch.setattr(attention, "_flash", _flash(wrong))
    query = torch.empty(5, 4, 64, dtype=BF16)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert attention.takes_all_documents(query) != wrong
        assert attention.takes_all_documents(query) != wrong
    assert len(told) == wrong, "once"
