"""Processes without a model's values have its modules, its ties and what it computes with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.errors import BruleeError
from brulee.models.added_tokens import NewToken
from brulee.models.allocator import untouched
from brulee.models.decoder_start import decoder_start
from brulee.models.generation_settings import own_stops
from brulee.models.hollow import Together, hollow, structure
from brulee.models.loading import Base, load_base
from brulee.models.text_part import auto_class

CPU = torch.device("cpu")
STATUS = Path("/proc/self/status")


def both(folder: Path, **more: Any) -> tuple[Base, Base]:
    """The base as the process loads it that holds the values, and as another does."""
    told: list[Any] = []

    def tell(value: Any) -> Any:
        told.append(value)
        return value

    name = str(folder)
    full = load_base(name, torch.float32, CPU, together=Together(True, tell), **more)
    hears = Together(False, lambda _: told.pop(0))
    empty = load_base(name, torch.float32, CPU, together=hears, **more)
    assert not told, "one waits for what the other never says"
    return full, empty


@pytest.mark.parametrize(
    "name",
    ["llama", "gpt2", "t5", "bart", "marian", "deepseek", "gemma3", "gemma4", "phi", "mamba"],
)
@pytest.mark.fast_cases(5)
def test_only_values_are_missing(name: str, make_base: Callable[..., Base], tmp_path: Path) -> None:
    made = make_base(name)
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    full, empty = both(tmp_path, tokens=[NewToken("<sum>")] if name == "llama" else [])
    assert (full.holds, empty.holds) == (True, False)
    assert (empty.digest, empty.kind, empty.added) == (full.digest, full.kind, full.added)
    assert structure(empty.model) == structure(full.model)
    tensors = dict(empty.model.named_parameters()) | dict(empty.model.named_buffers())
    assert all(not tensor.any() for tensor in tensors.values())
    given = dict(full.model.named_parameters()) | dict(full.model.named_buffers())
    ids = torch.tensor([[7, 9, 11]])
    more = {"decoder_input_ids": ids} if full.kind == "seq2seq" else {}
    with torch.no_grad():
        for path, tensor in tensors.items():
            tensor.copy_(given[path])
        found, expected = (b.model(input_ids=ids, **more).logits for b in (empty, full))
    assert torch.equal(found, expected)


def test_answers_begin_and_end_alike_in_all_processes(
    make_base: Callable[..., Base], tmp_path: Path
) -> None:
    """Else all but one would train a BART on answers that begin with another token."""
    made = make_base("bart")
    made.model.generation_config.update(forced_bos_token_id=9, eos_token_id=[2, 4])
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    for base in both(tmp_path):
        assert decoder_start(base.model) == (2, 9)
        assert own_stops(base.model) == [2, 4]


def test_other_modules_are_refused(make_base: Callable[..., Base]) -> None:
    model = make_base("llama").model
    shapes = structure(model)[1:]
    with pytest.raises(BruleeError, match=r"LlamaForCausalLM: .* \(at model.embed_tokens.weight\)"):
        hollow(auto_class(model.config), model.config, torch.float32, shapes)


@pytest.mark.skipif(not STATUS.exists(), reason="reads Linux's account of memory")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zeros_take_no_memory(dtype: torch.dtype) -> None:
    def here() -> int:
        line = next(x for x in STATUS.read_text().splitlines() if x.startswith("RssAnon"))
        return int(line.split()[1])

    before = here()
    zeros = untouched(torch.Size([64, 1 << 20]), dtype)
    assert not zeros[::7, ::1000].any()
    assert here() - before < 20_000  # kB, of 128 MB and more
