"""Time to switch to another adapter on the bundled model.

    python benchmarks/swap.py

Prints JSON and writes it to benchmarks/results/swap.json. One adapter of each kind with random
values is stored on disk; all are held over one base (`methods.swapping.Swap`). Timed: adding an
adapter (reading and checking files, creating modules), switching to each (`use`), and the
alternatives: loading the other's tensors into the same modules, and PEFT's `set_adapter` between
two LoRAs if PEFT is installed. Every switch is checked: logits are bitwise equal to those before,
and no parameter of the base was written, except by the mask, which writes its selected weights.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from mixture import machine, spread

from brulee.methods import build_method
from brulee.methods.checkpoint import open_adapter
from brulee.methods.storing import save_adapter
from brulee.methods.swapping import Swap
from brulee.models.loading import Base, load_base
from brulee.recipe import MethodSpec

ROUNDS, VIEWS, MASK = 30, 40, "mask 0.5%"
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "LoRA r8": ("lora", {}),
    "LoRA r64": ("lora", {"rank": 64}),
    "DoRA r8": ("lora", {"dora": True}),
    "IA3": ("ia3", {}),
    "norms": ("selective", {}),
    "bottleneck": ("bottleneck", {}),
    "prompt 20": ("prompt", {}),
    "prefix 20": ("prefix", {}),
    MASK: ("selective", {"train": "sparse", "mask": "magnitude"}),
}
RESULT = Path(__file__).parent / "results" / "swap.json"


def main() -> None:
    base = load_base("bundled", torch.float32, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: stored(base, name, Path(folder) / name) for name in WAYS}
        result = {
            "what": "milliseconds to put another adapter in force on SmolLM2-135M, fp32, one base",
            **swapped(base, folders),
            "load_tensors_into_lora_r8": reloaded(base, folders["LoRA r8"]),
            "peft_set_adapter": in_peft(base, folders["LoRA r8"]),
            **machine(),
        }
    text = json.dumps(result, indent=2)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


def stored(base: Base, way: str, folder: Path) -> Path:
    name, options = WAYS[way]
    attached = build_method(MethodSpec(name=name, **options)).attach(base.model)
    draw = torch.Generator().manual_seed(len(way))
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.01)
    save_adapter(folder, attached, base, "bundled", "", {})
    attached.detach()
    return folder


def swapped(base: Base, folders: dict[str, Path]) -> dict[str, Any]:
    """Time adding and switching, with the checks."""
    swap, names = Swap(base), list(folders)
    adding = {name: milliseconds(partial(swap.add, name, folders[name])) for name in names}
    expected: dict[str | None, torch.Tensor] = {n: logits(swap, n) for n in (None, *names)}
    assert len({tuple(e.flatten()[:64].tolist()) for e in expected.values()}) == len(expected)
    choosing: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            swap.use(None)
            choosing[name].append(milliseconds(partial(swap.use, name)))
    pairs = [milliseconds(lambda: (swap.use("LoRA r8"), swap.use("IA3"))) for _ in range(ROUNDS)]
    exact = all(
        torch.equal(logits(swap, name), expected[name]) for name in (*names, None, *reversed(names))
    )
    swap.remove(MASK)
    before = versions(base)
    for chosen in (*swap.names, None, *reversed(swap.names)):
        swap.use(chosen)
    written = sum(before[name] != version for name, version in versions(base).items())
    return {
        "add_ms": {name: round(ms, 1) for name, ms in adding.items()},
        "use_ms": {name: spread(times) for name, times in choosing.items()},
        "use_lora_then_ia3_ms": spread(pairs),
        "logits_identical_after_every_switch": exact,
        "base_parameters_written_by_all_but_the_mask": written,
        "mib_of_one_more_beside_its_tensors": round(of_a_view(swap, folders["prompt 20"]), 2),
    }


def versions(base: Base) -> dict[str, tuple[int, int]]:
    """Each base parameter's version counter, which every write increments, and its address."""
    return {n: (p._version, p.data_ptr()) for n, p in base.model.named_parameters()}


def of_a_view(swap: Swap, folder: Path) -> float:
    """Memory in MiB per tiny adapter held, nearly all of it for the modules around the base."""
    before = rss_mib()
    for i in range(VIEWS):
        swap.add(f"one more {i}", folder)
    return (rss_mib() - before) / VIEWS


def logits(swap: Swap, name: str | None) -> torch.Tensor:
    base = swap.use(name)
    ids = [*(swap.attached.prefix_ids if swap.attached else ()), *range(100, 116)]
    with torch.no_grad():
        found: torch.Tensor = base.model(input_ids=torch.tensor([ids])).logits
    return found


def reloaded(base: Base, folder: Path) -> dict[str, Any]:
    """The alternative to `Swap`: copying the other's tensors into the same modules."""
    adapter = open_adapter(folder)
    attached = adapter.method().attach(base.model)
    tensors = adapter.tensors()
    times = [milliseconds(lambda: attached.load(tensors)) for _ in range(ROUNDS)]
    from_disk = [milliseconds(lambda: attached.load(adapter.tensors())) for _ in range(5)]
    attached.detach()
    return {"from_memory_ms": spread(times), "from_disk_ms": spread(from_disk)}


def in_peft(base: Base, folder: Path) -> dict[str, Any] | str:
    """PEFT's `set_adapter`, which also sets every adapter parameter's `requires_grad`."""
    try:
        import peft
    except ImportError:
        return "PEFT is not installed"
    warnings.simplefilter("ignore")
    model = peft.PeftModel.from_pretrained(base.model, folder, adapter_name="a")
    model.load_adapter(folder, adapter_name="b")
    times = []
    for turn in range(ROUNDS):
        name = "ab"[turn % 2]
        times.append(milliseconds(partial(model.set_adapter, name)))
    return {"version": peft.__version__, "ms": spread(times)}


def milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)


def rss_mib() -> float:
    return float(psutil.Process().memory_info().rss / 2**20)


if __name__ == "__main__":
    main()
