"""What brulee stores of every model type of transformers, loaded by transformers and PEFT alone.

    .venv/bin/python benchmarks/every_stored.py [--only llama,bart] [--jobs 2] [--skip full]

The tiny models of `every_model.py`; each type has a process of its own. A LoRA on all linear layers
is trained by `brulee.run`, and every parameter by `brulee.train`. The logits that the model has in
memory when its training ends are compared with those of what was stored: loaded by brulee; the
adapter by PEFT; merged, and the fully tuned model, by transformers. Both trainings are halted by a
signal and resumed, and must store the same bytes. Then further methods are attached, moved at
random, stored, and compared in the same way. Prints a table; writes every-stored.json, with a row
for each type:

    outcome   ok; refused, as a base; not built: transformers made no such model; said: something of
              it is refused, by brulee or by PEFT, in one sentence; wrong: logits, names or bytes
              differ; traceback; too slow

Exits 1 if a type is wrong, has a traceback or is too slow. With --only, prints the rows alone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import every_model
import peft
import tiny_models
import torch
import transformers
from every_model import CLOSE, FAILURES, HERE, Plain, Row, short
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedModel

import brulee
from brulee.errors import BruleeError, InputError, StoppedError
from brulee.methods import METHODS, Attached
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.merging import merge
from brulee.methods.storing import save_adapter
from brulee.methods.targets import head_module
from brulee.models.bundled import sha256
from brulee.models.experts import expert_modules
from brulee.models.loading import Base, load_base
from brulee.pipeline import tuning
from brulee.pipeline.origin import machine
from brulee.pipeline.storing import store
from brulee.training.trainer import Trainer

SECONDS: Final = 300
STEPS: Final = 2
LORA: Final = {"name": "lora", "rank": 2}
HEAD: Final = "the head"  # as a target
# Attached and moved at random; in families with experts, also `EXPERTS`.
OTHERS: Final[dict[str, dict[str, Any]]] = {
    "dora": {"name": "lora", "rank": 2, "dora": True},
    "embeddings": {"name": "lora", "rank": 2, "target": "embeddings"},
    "head": {"name": "lora", "rank": 2, "target": HEAD},
    "ia3": {"name": "ia3"},
    "bottleneck": {"name": "bottleneck"},
    "norms": {"name": "selective", "train": "norms"},
}
EXPERTS: Final = {"name": "lora", "rank": 2, "target": ["experts", "router"]}
OURS: Final = ("bottleneck", "norms")  # PEFT has no such method
ROWS: Final = [
    {"a": " ".join(str(9 + (7 * i + 5 * k) % 250) for k in range(9)), "b": f"{20 + i} {40 + i % 5}"}
    for i in range(12)
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="model types, with commas between them")
    parser.add_argument("--skip", default="", help="parts to leave out: lora, full, a method")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder to write to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in arguments.only.split(",") if name] or tiny_models.keys()
    find = partial(row_of, skip=arguments.skip.split(","))
    rows = []
    for row in every_model.each(names, arguments.jobs, SECONDS, find):
        rows.append(row)
        print(line(row), flush=True)
    counts = Counter(row["outcome"] for row in rows)
    print("\n" + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    if not (arguments.only or arguments.skip):
        write(arguments.results / "every-stored.json", rows)
    sys.exit(any(counts[outcome] for outcome in FAILURES))


def write(target: Path, rows: Sequence[Row]) -> None:
    """Store the rows with what made them."""
    packages = ("brulee", "torch", "transformers", "peft")
    taken = [row for row in rows if row["outcome"] in ("ok", "said")]
    farthest = {
        name: max(row["differences"].get(name, 0.0) for row in taken)
        for name in dict.fromkeys(name for row in taken for name in row["differences"])
    }
    result = {
        "what": "a tiny random model of every type of transformers that writes text, in fp32: "
        "logits of stored adapters, merged and fully tuned models in PEFT and transformers alone, "
        "relative to the largest; whether halted trainings store the same bytes",
        "date": datetime.now(UTC).date().isoformat(),
        "command": "python benchmarks/every_stored.py",
        "machine": machine(),
        "versions": {name: version(name) for name in packages},
        "outcomes": dict(Counter(row["outcome"] for row in rows).most_common()),
        "refused parts": dict(
            Counter(part for row in taken for part in row.get("refused", ())).most_common()
        ),
        "largest differences": farthest,
        "models": rows,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n")


def line(row: Row) -> str:
    """A row of the table."""
    said = row.get("why") or "; ".join(f"{p}: {w}" for p, w in row.get("refused", {}).items())
    return f"{row['model']:28} {row['outcome']:10} {said}"


def row_of(name: str, folder: Path, skip: Sequence[str] = ()) -> Row:
    """Store what can be tuned of a model of the type, and compare what others load."""
    row: Row = {"model": name}
    folder = folder.resolve()
    os.chdir(folder)
    try:
        row["class"] = type(every_model.build(name, folder / "base")).__name__
    except Exception as failure:  # whatever transformers raises is the answer
        return row | {"outcome": "not built", "why": short(failure)}
    Path("rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in ROWS))
    try:
        base = _base(folder)
    except InputError as refusal:
        return row | {"outcome": "refused", "why": _sentence(refusal, folder)}
    others = OTHERS | ({"experts": EXPERTS} if expert_modules(base.model) else {})
    del base
    row |= {"differences": {}, "moved": {}, "resumed": {}, "refused": {}}
    wrong = []
    parts = {"lora": _lora, "full": _full}
    parts |= {part: partial(_other, part=part, method=method) for part, method in others.items()}
    for part, find in parts.items():
        if part in skip:
            continue
        try:
            find(row, folder)
        except InputError as refusal:
            row["refused"][part] = _sentence(refusal, folder)
        except Exception as failure:
            wrong.append(f"{part}: {short(failure)}")
    if wrong:
        return row | {"outcome": "traceback", "why": "; ".join([*wrong, *differing(row)])}
    if why := "; ".join(differing(row)):
        return row | {"outcome": "wrong", "why": why}
    return row | {"outcome": "said" if row["refused"] else "ok"}


def differing(row: Row) -> Iterator[str]:
    """What of a row is not as it has to be."""
    for name, by in row["differences"].items():
        if not by <= CLOSE:  # nor NaN
            yield f"{name} by {by:.1g}"
    for name, by in row["moved"].items():
        if not by > CLOSE:
            yield f"{name} moved the logits by {by:.1g}"
    yield from (f"{name}, resumed, has other bytes" for name, b in row["resumed"].items() if not b)


def _lora(row: Row, folder: Path) -> None:
    held = trained(folder, "lora", LORA, brulee.run)
    row["moved"]["lora"] = _apart(held, logits(_base(folder).model))
    _compare(row, folder, "lora", folder / "lora" / "adapter", held)
    row["resumed"]["lora"] = halted(folder, "lora", LORA)


def _full(row: Row, folder: Path) -> None:
    held = trained(folder, "full", {"name": "full"}, brulee.train)
    row["moved"]["full"] = _apart(held, logits(_base(folder).model))
    own = brulee.load(folder / "full")
    row["differences"]["full, stored"] = _apart(logits(own.model), held)
    row["differences"]["full, alone"] = _apart(_alone(folder / "full" / "model"), held)
    _check_files(folder / "base", folder / "full" / "model")
    row["resumed"]["full"] = halted(folder, "full", {"name": "full"})


def _other(row: Row, folder: Path, part: str, method: dict[str, Any]) -> None:
    """A method that is moved at random instead of trained."""
    base = _base(folder)
    kind = METHODS[method["name"]]
    if method.get("target") == HEAD:
        if not (heads := [*head_module(base.model)]):
            return  # FSMT's is a function of the embeddings
        method = method | {"target": heads}
    options = kind.Options.model_validate({k: v for k, v in method.items() if k != "name"})
    attached = kind(options).attach(base.model)  # type: ignore[call-arg]
    before = logits(base.model)
    _move(attached, base.model)
    held = logits(base.model)
    row["moved"][part] = _apart(held, before)
    adapter = folder / part
    save_adapter(adapter, attached, base, str(folder / "base"), "", {"method": method})
    _compare(row, folder, part, adapter, held)


def _move(attached: Attached, model: PreTrainedModel) -> None:
    """Move what training would: not what is never called, as a map that is read as a weight."""
    document = every_model.some_documents()[2]
    Plain(model).loss(document).backward()  # type: ignore[no-untyped-call]
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in attached.parameters():
            if parameter.grad is not None:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
    model.zero_grad()


def _compare(row: Row, folder: Path, part: str, adapter: Path, held: torch.Tensor) -> None:
    """Compare an adapter's logits in memory with those of its file, in brulee, PEFT and merged."""
    base = _base(folder)
    attach_adapter(open_adapter(adapter), base)
    row["differences"][f"{part}, stored"] = _apart(logits(base.model), held)
    if part not in OURS:
        plain = type(base.model).from_pretrained(folder / "base", dtype=torch.float32)
        try:
            by_peft = peft.PeftModel.from_pretrained(plain, str(adapter)).eval()
        except ValueError as refusal:
            row["refused"][f"{part}, PEFT"] = _sentence(refusal, folder)
        else:
            by = _apart(logits(by_peft.get_base_model()), held)
            if by > CLOSE and _misreads(folder / "base", adapter, type(base.model)):
                said = f"PEFT does not read its own adapter on these layers either; by {by:.1g}"
                row["refused"][f"{part}, PEFT"] = said
            else:
                row["differences"][f"{part}, PEFT"] = by
    if part == "bottleneck":
        return  # it is not linear
    merged = folder / f"{part}-merged"
    try:
        merge(adapter, merged, "float32")
    except BruleeError as refusal:
        row["refused"][f"{part}, merged"] = _sentence(refusal, folder)
        return
    row["differences"][f"{part}, merged"] = _apart(_alone(merged), held)
    _check_files(folder / "base", merged)


def _misreads(base: Path, adapter: Path, kind: Any) -> bool:
    """Whether an adapter that PEFT makes and stores on the same layers is another when loaded."""
    config = peft.PeftConfig.from_pretrained(str(adapter))
    config.init_lora_weights, config.inference_mode = False, False
    made = peft.get_peft_model(kind.from_pretrained(base, dtype=torch.float32), config).eval()
    made.save_pretrained(str(adapter.with_name("of-peft")))
    plain = kind.from_pretrained(base, dtype=torch.float32)
    read = peft.PeftModel.from_pretrained(plain, str(adapter.with_name("of-peft"))).eval()
    return _apart(logits(read.get_base_model()), logits(made.get_base_model())) > CLOSE


def _check_files(base: Path, stored: Path) -> None:
    """Refuse weights by other names than the base's, by which other tools would look for them."""
    if _kind(base) is not _kind(stored):
        return  # a model for text of one of several parts, which does not work whole (Llama 4)
    # There may be more: a head of its own, where it was tied.
    if lost := _names(base) - _names(stored):
        raise AssertionError(f"{stored.name} lacks {sorted(lost)[:3]}")


def _names(folder: Path) -> set[str]:
    found: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            found |= {*opened.keys()}
    return found


def trained(folder: Path, name: str, method: dict[str, Any], train: Any) -> torch.Tensor:
    """Train to the end; the logits in memory when the result is stored."""
    seen = []

    def stored(prepared: Any, *arguments: Any) -> int:
        seen.append(logits(prepared.base.model))
        return store(prepared, *arguments)

    with patch.object(tuning, "store", stored):
        train(_recipe(name, method), folder=folder / name)
    (held,) = seen
    return held


def halted(folder: Path, name: str, method: dict[str, Any]) -> bool:
    """Whether a training that is halted after a step and resumed stores the same bytes."""
    again = folder / f"{name}-halted"
    with _halting():
        try:
            brulee.train(_recipe(name, method), folder=again)
        except StoppedError:
            pass
        else:
            raise AssertionError("the signal did not halt it")
    brulee.resume(again)
    return _digests(again) == _digests(folder / name) != []


@contextmanager
def _halting() -> Iterator[None]:
    """Interrupt whatever trains when its second step begins."""
    step = Trainer._one_step

    def interrupted(trainer: Trainer, *arguments: Any) -> bool:
        if trainer.step == 1:
            signal.raise_signal(signal.SIGINT)
        return step(trainer, *arguments)

    with patch.object(Trainer, "_one_step", interrupted):
        yield


def _digests(run: Path) -> list[str]:
    return [sha256(f) for part in ("adapter", "model") for f in (run / part).glob("*.safetensors")]


def _recipe(name: str, method: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "model": "base",
        "data": {
            "source": "rows.jsonl",
            "templates": {"prompt": "{{a}}", "completion": "{{b}}"},
            "split": {"test": 0.25},
        },
        "method": method,
        "train": {
            "max_steps": STEPS,
            "batch_size": 4,
            "learning_rate": 2e-2 if method["name"] == "lora" else 1e-3,
            "save_every": 1,
            "precision": "float32",
            "device": "cpu",
        },
        "evaluate": {"metrics": ["exact_match"], "generation": {"max_new_tokens": 3}},
    }


def _base(folder: Path) -> Base:
    return load_base(str(folder / "base"), torch.float32, torch.device("cpu"))


def _alone(folder: Path) -> torch.Tensor:
    """The logits of a folder's model in transformers, by the class that its configuration names."""
    model, info = _kind(folder).from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    for said in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[said]:
            raise AssertionError(f"{folder.name}: {said} {sorted(map(str, info[said]))[:3]}")
    transformers.AutoTokenizer.from_pretrained(folder)
    return logits(model)


def _kind(folder: Path) -> Any:
    return getattr(transformers, AutoConfig.from_pretrained(folder).architectures[0])


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    """Logits (all tokens of all answers, V) of the documents."""
    training = model.training
    plain = Plain(model.eval())
    found = [plain.logits(d.prompt, d.ids[-d.learned : -1]) for d in every_model.some_documents()]
    model.train(training)
    return torch.cat(found)


def _apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


def _sentence(refusal: Exception, folder: Path) -> str:
    said = " ".join(str(refusal).split())[:300]
    return said.replace(str(folder / "base"), "the base").replace(f"{folder}/", "")


if __name__ == "__main__":
    main()
