"""Many adapters over one base: a request is answered as by its adapter alone."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.errors import InputError
from brulee.inference import adapters, engine
from brulee.inference.adapters import Adapters, open_adapters
from brulee.inference.padded_decoder import PLAINEST, Way
from brulee.methods import METHODS, build_method
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base
from brulee.recipe import MethodSpec

MakeBase = Callable[..., Base]
SPARSE = {"train": "sparse", "mask": "magnitude", "density": 0.3}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name, method in METHODS.items() if not method.stores_model},
    "lora too": ("lora", {"rank": 3, "rslora": True}),
    "dora": ("lora", {"rank": 3, "dora": True, "target": "attention"}),
    "houlsby": ("bottleneck", {"kind": "houlsby"}),
    "sparse": ("selective", SPARSE),
}
DTYPES = {"auto": torch.bfloat16, "bfloat16": torch.bfloat16, "float32": torch.float32}
PROMPTS = ["Which of these reviews is the most positive?", "The customer asked", "a", "new one by"]


def _store(base: Base, way: str, folder: Path) -> None:
    name, options = WAYS[way]
    attached = build_method(MethodSpec(name=name, **options)).attach(base.model, 0)
    draw = torch.Generator().manual_seed(list(WAYS).index(way))
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.3)
    save_adapter(folder, attached, base, "tiny", "a card", {})
    attached.detach()


def _held(base: Base, tmp_path: Path, ways: list[str] | None = None) -> Adapters:
    for way in ways or WAYS:
        _store(base, way, tmp_path / way)
    held = Adapters(base)
    for way in ways or WAYS:
        held.add(way, tmp_path / way)
    return held


def test_what_the_base_was_tried_for_is_not_tried_again(
    make_base: MakeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten passes for every adapter that a server takes."""
    tried: list[object] = []

    def try_it(model: object, _: int) -> Way:
        tried.append(model)
        return PLAINEST

    monkeypatch.setattr(engine, "way_of", try_it)
    base = make_base("mamba")
    held = _held(base, tmp_path, ["lora", "lora too"])
    assert tried == [base.model]
    assert {held.session(name).engine.way for name in (None, "lora", "lora too")} == {PLAINEST}


def _asked(names: list[str | None]) -> list[tuple[str, str | None]]:
    pairs = [(prompt, name) for prompt in PROMPTS for name in names]
    random.Random(0).shuffle(pairs)
    return pairs


@pytest.fixture(
    scope="module", params=["llama", "qwen3", "gemma", "gpt2", "gpt-neox", "mistral", "t5", "bart"]
)
def held(
    make_base: MakeBase, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Adapters:
    """Every way on one base. Not to be changed."""
    return _held(make_base(request.param), tmp_path_factory.mktemp("adapters"))


# Of every family there is one in the fast tests that compares with each alone.
@pytest.mark.diagonal("held", "more", also=[("gemma", {}), ("mistral", {"beams": 2})])
@pytest.mark.parametrize("more", [{}, {"beams": 2}, {"temperature": 1.0, "seed": 3}])
def test_together_as_alone(held: Adapters, more: dict[str, Any]) -> None:
    asked = _asked([None, *WAYS])
    prompts, names = [p for p, _ in asked], [n for _, n in asked]
    together = held.complete(prompts, names, max_new_tokens=8, **more)
    # Where BART's bottleneck stands, a hook does more than to add a branch.
    apart = {"sparse", "bottleneck"} if held.base.name == "bart" else {"sparse"}
    assert set(held.apart) == apart
    if more.get("temperature"):
        again = held.complete(prompts, names, max_new_tokens=8, **more)
        assert together == again
        return
    own_prompt = dict(zip(WAYS, itertools.cycle(PROMPTS)))
    for (prompt, way), text in zip(asked, together, strict=True):
        # Of the others all are compared with a session below.
        if way in (None, "sparse") or prompt == own_prompt[way]:
            assert held.complete([prompt], [way], max_new_tokens=8, **more) == [text], way
    for way in [None, *WAYS]:
        if way == "sparse":
            continue
        own = [i for i, n in enumerate(names) if n == way]
        texts = held.session(way).complete([prompts[i] for i in own], max_new_tokens=8, **more)
        assert texts == [together[i] for i in own], way
    assert len(set(together)) > 6


def test_what_was_there_before_is_there_after(make_base: MakeBase, tmp_path: Path) -> None:
    base = make_base("llama")
    before = {n: p.detach().clone() for n, p in base.model.named_parameters()}
    held = _held(base, tmp_path, ["lora", "sparse", "ia3", "bottleneck"])
    asked = _asked([None, *held.names])
    first = held.complete([p for p, _ in asked], [n for _, n in asked], max_new_tokens=8)
    for name, parameter in base.model.named_parameters():
        assert torch.equal(parameter, before[name]), name
    held.remove("ia3")
    held.add("lora again", tmp_path / "lora")
    rest = [(p, n) for p, n in asked if n != "ia3"]
    second = held.complete([p for p, _ in rest], [n for _, n in rest], max_new_tokens=8)
    assert second == [text for text, (_, n) in zip(first, asked, strict=True) if n != "ia3"]
    assert held.names == ["lora", "sparse", "bottleneck", "lora again"]


def test_names_and_numbers_that_do_not_fit(make_base: MakeBase, tmp_path: Path) -> None:
    held = _held(make_base("llama"), tmp_path, ["lora", "sparse"])
    with pytest.raises(InputError, match="prompt 2: unknown adapter 'lorra'; did you mean 'lora'"):
        held.complete(["a", "b"], ["lora", "lorra"])
    with pytest.raises(InputError, match="2 prompts need as many names"):
        held.complete(["a", "b"], ["lora"])
    with pytest.raises(InputError, match="'lora' is already loaded"):
        held.add("lora", tmp_path / "lora")
    with pytest.raises(InputError, match="writes into its base's memory"):
        held.session("sparse")
    with pytest.raises(InputError, match="unknown adapter 'ia3'"):
        held.remove("ia3")


def test_adapters_of_bases_in_different_precision_are_not_held_together(
    make_base: MakeBase, tmp_path: Path
) -> None:
    base = make_base("llama")
    for name in ("whole", "bits"):
        _store(base, "lora", tmp_path / name)
    record = tmp_path / "bits" / "brulee.json"
    ours = json.loads(record.read_text())
    ours["base"]["quantised"] = "nf4"
    record.write_text(json.dumps(ours))
    targets = {name: tmp_path / name for name in ("whole", "bits")}
    with pytest.raises(InputError, match="'whole' on one in full and 'bits' on one in nf4"):
        open_adapters(targets)
    with pytest.raises(InputError, match="no adapter is named"):
        open_adapters({})


@pytest.mark.parametrize(
    ("runs", "asked", "held_in"),
    [
        ({"a": "float32", "b": "bfloat16"}, "auto", torch.float32),
        ({"a": "bfloat16", "b": "float32"}, "bfloat16", torch.bfloat16),
        ({"a": "bfloat16", "b": "bfloat16"}, "auto", torch.bfloat16),
    ],
)
def test_runs_in_float32_are_held_so_as_each_is_by_itself(
    make_base: MakeBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runs: dict[str, str],
    asked: str,
    held_in: torch.dtype,
) -> None:
    base = make_base("llama")
    for name, precision in runs.items():
        _store(base, "lora", tmp_path / name / "adapter")
        (tmp_path / name / "manifest.json").write_text(json.dumps({"precision": precision}))
    loaded = []

    def load_base(_: str, dtype: torch.dtype, *rest: Any, **more: Any) -> Base:
        loaded.append(dtype)
        return base

    monkeypatch.setattr(adapters, "load_base", load_base)
    monkeypatch.setattr(adapters, "pick_dtype", lambda precision, _: DTYPES[precision])
    targets = {name: tmp_path / name for name in runs}
    assert open_adapters(targets, str(tmp_path), precision=asked).names == [*runs]
    assert loaded == [held_in]


def test_an_adapter_comes_and_goes_while_another_thread_is_answered(
    make_base: MakeBase, tmp_path: Path
) -> None:
    held = _held(make_base("llama"), tmp_path, ["lora", "sparse"])
    asked = _asked([None, "lora"])
    prompts, names = [p for p, _ in asked], [n for _, n in asked]
    expected = held.complete(prompts, names, max_new_tokens=12)
    with ThreadPoolExecutor(1) as thread:
        answers = [
            thread.submit(held.complete, prompts, names, max_new_tokens=12) for _ in range(6)
        ]
        while not all(answer.done() for answer in answers):
            held.remove("sparse")
            held.add("sparse", tmp_path / "sparse")
    assert [answer.result() for answer in answers] == [expected] * 6
