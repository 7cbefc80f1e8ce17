"""The checks of a GPU run where there is none, and one that fails keeps no other from running."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def exact(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("gpu_exact")


# What pairs are trained by is compared in tests of models, in many more ways.
@pytest.mark.parametrize(
    "check",
    [
        "attention",
        pytest.param("recomputed", marks=pytest.mark.slow),
        pytest.param("pairs", marks=pytest.mark.slow),
        "dropout",
        "rows",
        "inference",
    ],
)
def test_a_cpu_computes_what_is_expected(exact: ModuleType, check: str) -> None:
    found = getattr(exact, check)(CPU)
    assert found
    assert all(off <= most for off, most in found.values()), found


@pytest.mark.parametrize("model", ["_model", "_pair_model"])
def test_what_rounding_to_bfloat16_does_is_within_the_tolerance(
    exact: ModuleType, model: str
) -> None:
    """Which the checks only meet on a GPU: on a CPU they compute in fp32."""
    grads = [
        torch.cat([g.flatten() for g in exact._pass(made, CPU, "lora", steps, narrow=narrow)[1]])
        for narrow in (True, False)
        for made, steps in [(getattr(exact, model)(), [exact._documents(0)])]
    ]
    most = exact.THROUGHOUT if model == "_model" else exact.THROUGHOUT_T5
    assert most / 4 < exact._off(*grads) < most


def test_what_is_not_finite_or_of_another_size_is_as_far_off_as_can_be(exact: ModuleType) -> None:
    one = torch.ones(3)
    assert exact._off(one * torch.nan, one) == exact._off(torch.ones(2), one) == math.inf
    assert exact._off(one * 1.5, one) == pytest.approx(0.5)


def test_a_check_that_fails_is_told_and_the_others_run(
    exact: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loops(_: torch.device) -> dict[str, tuple[float, float]]:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(loops, "__name__", "loops")
    monkeypatch.setattr(exact, "loops", loops)
    right = ["attention", "recomputed", "replayed", "pairs", "dropout", "rows", "inference"]
    for name, off in {**dict.fromkeys(right, 0.1), "passes": 0.3}.items():

        def check(_: torch.device, off: float = off) -> dict[str, tuple[float, float]]:
            return {"something": (off, 0.2)}

        check.__name__ = name
        monkeypatch.setattr(exact, name, check)
    monkeypatch.setattr("sys.argv", ["gpu_exact.py", "--device", "cpu", "--results", str(tmp_path)])
    monkeypatch.setattr("brulee.models.defaults.without_cudnn_attention", lambda: left.append(1))
    left: list[int] = []
    with pytest.raises(SystemExit, match="not as expected: loops, passes"):
        exact.main()
    assert left, "no model is loaded here, which would leave cuDNN out"
    checks = json.loads((tmp_path / "gpu-exact-cpu.json").read_text())["checks"]
    assert [name for name, one in checks.items() if one["ok"]] == right
    assert "no such kernel" in checks["loops"]["raised"]
