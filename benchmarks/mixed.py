"""Sixteen requests to K adapters over one base: mixed, one adapter after another, and in PEFT.

    python benchmarks/mixed.py

Prints JSON and writes it to benchmarks/results/mixed.json. The bundled model in fp32; LoRA r8 with
random values on all linear layers; sixteen chats of bundled/support-chats, 32 new tokens each,
decoded greedily without end-of-text tokens. K = 0 is the base alone. Each round runs every way with
every K. Equal work is asserted: our texts are the same mixed as alone; PEFT's texts
(`generate(adapter_names=...)`, left-padded) may differ by rounding, and the result says how many
are equal.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mixture import machine

from brulee.data.sources import open_source
from brulee.inference.engine import Engine
from brulee.inference.mixed import MixedEngine, Request
from brulee.inference.sampling import Sampling
from brulee.methods import build_method
from brulee.methods.storing import save_adapter
from brulee.methods.swapping import Swap
from brulee.models.loading import Base, load_base
from brulee.recipe import MethodSpec

ROWS, NEW, ROUNDS, COUNTS = 16, 32, 3, (0, 1, 4, 16)
NAMES = [f"adapter{i}" for i in range(max(COUNTS))]
SAMPLING = Sampling(NEW)
RESULT = Path(__file__).parent / "results" / "mixed.json"
Texts = list[list[int]]


def main() -> None:
    base = load_base("bundled", torch.float32, torch.device("cpu"))
    prompts = read(base)
    with tempfile.TemporaryDirectory() as place:
        folders = {name: stored(base, i, Path(place) / name) for i, name in enumerate(NAMES)}
        # PEFT puts its modules into the given model, so it gets its own.
        version, in_peft = peft(load_base("bundled", torch.float32, base.device), folders, prompts)
        texts, seconds = timed({**held(base, folders, prompts), "peft": in_peft})
    assert all(texts["mixed", k] == texts["one after another", k] for k in COUNTS)
    alike = {
        str(k): sum(a == b for a, b in zip(texts["mixed", k], texts["peft", k], strict=True))
        for k in COUNTS
    }
    result = {
        "what": f"{ROWS} requests for K LoRA r8 over SmolLM2-135M in fp32, {NEW} new tokens each",
        "command": "python benchmarks/mixed.py",
        "prompt_tokens": sum(map(len, prompts)),
        "new_tokens_per_second": speeds(seconds),
        "texts_as_in_peft": alike,
        "peft": version,
        **machine(),
    }
    text = json.dumps(result, indent=2)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


def read(base: Base) -> list[list[int]]:
    """Chats as prompts in the chat template, of different lengths."""
    rows = open_source("bundled/support-chats")
    asked = [f"Summarise this chat.\n\n{rows[i]['dialogue']}" for i in range(ROWS)]
    return [
        list(
            base.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
            )
        )
        for text in asked
    ]


def stored(base: Base, number: int, folder: Path) -> Path:
    attached = build_method(MethodSpec(name="lora")).attach(base.model)
    draw = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.01)
    save_adapter(folder, attached, base, "bundled", "", {})
    attached.detach()
    return folder


def owners(count: int) -> list[str | None]:
    """The adapter of each request, in rotation; None is the base."""
    return [NAMES[i % count] if count else None for i in range(ROWS)]


def held(
    base: Base, folders: dict[str, Path], prompts: Sequence[Sequence[int]]
) -> dict[str, Callable[[int], Texts]]:
    """Our two ways: mixed, and one adapter after another."""
    swap = Swap(base)
    engines: dict[str | None, Engine] = {None: Engine(base.model, (), 0, decode=str)}
    mixed = MixedEngine(swap, engines[None])
    for name, folder in folders.items():
        swap.add(name, folder)
        view, attached = swap.view(name)
        assert attached is not None, "a name is an adapter's"
        engines[name] = Engine(view.model, (), 0, decode=str)
        mixed.add(name, engines[name], mixed.learn(view.model, attached))
    assert not mixed.apart

    def together(count: int) -> Texts:
        asked = [Request(name, p) for name, p in zip(owners(count), prompts, strict=True)]
        return [list(found.ids) for found in mixed.complete(asked, SAMPLING)]

    def after_another(count: int) -> Texts:
        found: dict[int, list[int]] = {}
        for name in dict.fromkeys(owners(count)):
            own = [i for i, owner in enumerate(owners(count)) if owner == name]
            written = engines[name].generate([prompts[i] for i in own], SAMPLING)
            found.update(zip(own, written, strict=True))
        return [found[i] for i in range(ROWS)]

    return {"mixed": together, "one after another": after_another}


def peft(
    base: Base, folders: dict[str, Path], prompts: Sequence[Sequence[int]]
) -> tuple[str, Callable[[int], Texts]]:
    import peft as library

    warnings.simplefilter("ignore")
    model = library.PeftModel.from_pretrained(base.model, folders[NAMES[0]], adapter_name=NAMES[0])
    for name in NAMES[1:]:
        model.load_adapter(folders[name], adapter_name=name)
    model.eval()
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])

    def generate(count: int) -> Texts:
        names = [name or "__base__" for name in owners(count)]
        with torch.no_grad():
            found = model.generate(
                input_ids=ids,
                attention_mask=mask,
                adapter_names=names,
                max_new_tokens=NEW,
                min_new_tokens=NEW,
                do_sample=False,
                pad_token_id=0,
            )
        texts: Texts = found[:, longest:].tolist()
        return texts

    return library.__version__, generate


def timed(
    ways: dict[str, Callable[[int], Texts]],
) -> tuple[dict[tuple[str, int], Texts], dict[tuple[str, int], list[float]]]:
    texts: dict[tuple[str, int], Texts] = {}
    seconds: dict[tuple[str, int], list[float]] = {}
    for count in COUNTS:
        for name, way in ways.items():  # untimed warm-up
            texts[name, count] = way(count)
    for _ in range(ROUNDS):
        for count in COUNTS:
            for name, way in ways.items():
                started = time.perf_counter()
                assert way(count) == texts[name, count]
                seconds.setdefault((name, count), []).append(time.perf_counter() - started)
    return texts, seconds


def speeds(seconds: dict[tuple[str, int], list[float]]) -> dict[str, dict[str, Any]]:
    """Median tokens per second by way and K, with the slowest and the fastest round."""
    found: dict[str, dict[str, Any]] = {}
    for (name, count), times in seconds.items():
        rates = [
            round(ROWS * NEW / s, 1) for s in (statistics.median(times), max(times), min(times))
        ]
        found.setdefault(name, {})[f"K={count}"] = rates
    return found


if __name__ == "__main__":
    main()
