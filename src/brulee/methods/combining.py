"""Adapters of one base, or models fully tuned from it, combined into one of the same kind.

    LoRA         sums of products B A                 combining_lora.py
    IA3          scales, as offsets from one          combining_values.py
    selective    tuned values minus the base's        combining_values.py
    full         the same over a whole model          combining_values.py

The methods of combining are in ways.py. The result is stored like a trained adapter or model, with
a record of its parts; how much it retains of each part is measured on the stored values.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from brulee.errors import InputError
from brulee.methods.adapter_files import CARD, read_record
from brulee.methods.checkpoint import open_adapter
from brulee.methods.combining_lora import combine_lora
from brulee.methods.combining_parts import (
    AdapterPart,
    Made,
    Plan,
    Standing,
    check_same_method,
    check_weights_of,
    framing,
    open_part,
    standing,
)
from brulee.methods.combining_values import combine_full, combine_ia3, combine_selective
from brulee.methods.kept import Kept, Tally
from brulee.methods.shelf import made_by
from brulee.methods.storing import write_adapter
from brulee.methods.ways import WAYS, Way, way_of
from brulee.methods.whole import save_as_recorded, write_model_record
from brulee.models.disk import check_new_folder, disk_errors, new_folder
from brulee.models.hub_names import hub_name

_ADAPTERS: dict[str, Callable[[Sequence[AdapterPart], Plan, Standing], Made]] = {
    "lora": combine_lora,
    "ia3": combine_ia3,
    "selective": combine_selective,
}


@dataclass(frozen=True)
class Share:
    """One part of a combination, and how much of it was retained (see `kept.Kept`)."""

    name: str
    folder: str
    label: str
    weight: float
    share: float | None
    cosine: float | None
    relative: float | None


@dataclass(frozen=True)
class Combined:
    """The written result: its label, base, size in bytes, and its relation to the parts.

    `from_sum` is the distance from the exact weighted sum, relative to that sum's norm; `by_rank`
    the relative error of reducing the result to a rank, None if nothing was reduced.
    """

    folder: Path
    label: str
    base: str
    size: int
    how: str
    density: float | None
    seed: int | None
    parts: tuple[Share, ...]
    from_sum: float | None
    by_rank: float | None
    notes: tuple[str, ...]


def combine(
    targets: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    how: str = "sum",
    weights: Sequence[float] | None = None,
    *,
    rank: int | None = None,
    factors: bool = False,
    density: float | None = None,
    seed: int = 0,
    base: str | None = None,
) -> Combined:
    """Combine runs, adapters or whole models of one base, and store the result in a new folder.

    `weights`: one per part, negative ones subtract; by default all are equal: 1 / N, or 1 for ways
    that average by themselves. `rank` and `factors` apply to LoRA, `density` to ways that drop
    values, `seed` to those that drop at random. `base` is loaded instead of the one that the parts
    name; it must be the same model. Raises InputError for parts of different methods or bases, a
    method that cannot be combined, an option that has no effect, an output folder that is not
    empty, and a result that is all zeros or has values that its dtype cannot represent.
    """
    out = Path(out).expanduser().resolve()
    way = way_of(how)
    check_new_folder(out, "the folder of the result")
    if not targets or isinstance(targets, str):
        raise InputError("combine wants a list: adapters, runs or models of one base.")
    parts = [open_part(os.fspath(target)) for target in targets]
    check_same_method(parts)
    _check_combinable(parts[0])
    _check_options(parts[0].method, how, way, rank, factors, density)
    even = (1.0 if way.averages else 1 / len(parts),) * len(parts)
    weighed = even if weights is None else tuple(weights)
    check_weights_of(weighed, parts)
    kept = way.density if density is None else density
    plan = Plan(how, way, weighed, 1.0 if kept is None else kept, seed, rank, factors)
    on, (frame, note) = standing(parts, base), framing(parts)
    store = _store_model if parts[0].method == "full" else _store_adapter
    stored = store(parts, plan, on, out, {**frame, "combined": _record(parts, plan)})
    return Combined(
        folder=out,
        label=stored.label,
        base=on.source,
        size=stored.size,
        how=how,
        density=kept,
        seed=seed if way.draws else None,
        parts=tuple(_shares(parts, weighed, stored.tally.kept())),
        from_sum=stored.tally.from_sum(weighed),
        by_rank=stored.tally.by_rank(),
        notes=tuple(each for each in (note, _apart(parts[0].method, stored.shared)) if each),
    )


@dataclass(frozen=True)
class _Stored:
    label: str
    size: int
    tally: Tally
    shared: tuple[int, int] | None = None


def _check_options(
    method: str, how: str, way: Way, rank: int | None, factors: bool, density: float | None
) -> None:
    """Refuse an option that has no effect, or that is out of range."""
    for option, given in (("--rank", rank is not None), ("--factors", factors)):
        if given and method != "lora":
            raise InputError(f"{option}: only a LoRA has one, and these are of method {method}.")
    if rank is not None and factors:
        raise InputError(
            "--rank: with --factors the result keeps the rank of the adapters; leave --rank out."
        )
    if rank is not None and rank < 1:
        raise InputError(f"--rank: {rank} is not valid; valid: 1 or more.")
    if density is None:
        return
    if way.density is None:
        having = ", ".join(name for name, one in WAYS.items() if one.density is not None)
        raise InputError(f"--density: {how} keeps every value; those that do not: {having}.")
    if not 0 < density <= 1:
        raise InputError(f"--density: {density:g} is not valid; valid: above 0, to 1.")


def _check_combinable(part: AdapterPart) -> None:
    if part.method != "full" and part.method not in _ADAPTERS:
        raise InputError(
            f"{part.folder}: {part.label} cannot be combined: nothing here combines adapters of "
            f"method {part.method}. Merge each into its base (brulee adapters merge) and combine "
            "the models."
        )


def _record(parts: Sequence[AdapterPart], plan: Plan) -> dict[str, Any]:
    """What brulee.json records about a combination's parts; names are not paths."""
    way, found = plan.way, {"how": plan.how}
    options = {
        "density": plan.density if way.density is not None else None,
        "seed": plan.seed if way.draws else None,
        "rank": plan.rank,
        "factors": plan.factors or None,
    }
    of = [
        {"name": part.name, "label": part.label, "weight": weight, "tensors_digest": part.digest()}
        for part, weight in zip(parts, plan.weights, strict=True)
    ]
    return {**found, **{k: v for k, v in options.items() if v is not None}, "of": of}


def _store_adapter(
    parts: Sequence[AdapterPart], plan: Plan, base: Standing, out: Path, record: Mapping[str, Any]
) -> _Stored:
    """Combine adapters and write their folder."""
    made = _ADAPTERS[parts[0].method](parts, plan, base)
    _check_result(made.tally)
    method = {"name": parts[0].method, **made.options}
    config = {**base.config, **made.config}
    with new_folder(out) as aside, disk_errors(out):
        extra = {**record, "method": method}
        size = write_adapter(aside, config, made.tensors, base.record, "", extra)
        label = open_adapter(aside).label()
        (aside / CARD).write_text(_card(out.name, label, "peft", base, record), encoding="utf-8")
    return _Stored(label, size, made.tally, made.shared)


def _store_model(
    parts: Sequence[AdapterPart], plan: Plan, base: Standing, out: Path, record: Mapping[str, Any]
) -> _Stored:
    """Combine whole models and write their folder."""
    loaded, tally = combine_full(parts, plan, base)
    _check_result(tally)
    with new_folder(out) as aside:
        with disk_errors(out):
            save_as_recorded(loaded, aside, record)
        write_model_record(aside, loaded, base.source, {**record, "method": {"name": "full"}})
        label = made_by(read_record(aside))
        (aside / CARD).write_text(
            _card(out.name, label, "transformers", base, record), encoding="utf-8"
        )
    return _Stored(label, sum(file.stat().st_size for file in out.glob("*.safetensors")), tally)


def _check_result(tally: Tally) -> None:
    if tally.empty:
        raise InputError(
            "nothing is left: the result changes no value of the base; use other weights, or a "
            "higher --density."
        )


def _shares(
    parts: Sequence[AdapterPart], weights: Sequence[float], kept: Sequence[Kept]
) -> list[Share]:
    return [
        Share(part.name, str(part.folder), part.label, weight, **asdict(one))
        for part, weight, one in zip(parts, weights, kept, strict=True)
    ]


def _apart(method: str, shared: tuple[int, int] | None) -> str | None:
    """A sentence for the user if not all parts change the same places."""
    if shared is None or shared[0] == shared[1]:
        return None
    what = "parameters" if method == "selective" else "modules"
    return f"of {shared[1]} {what} that any of them changes, all change {shared[0]}."


def _card(name: str, label: str, library: str, base: Standing, record: Mapping[str, Any]) -> str:
    """The model card: the parts and how they were combined; nothing was measured."""
    public, combined = hub_name(base.source, Path), record["combined"]
    head = {
        **({"base_model": public} if public else {}),
        "library_name": library,
        "tags": ["brulee"],
    }
    options = {k: v for k, v in combined.items() if k not in ("how", "of")}
    said = "".join(f", {key} {value}" for key, value in options.items())
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False).strip(),
        "---",
        "",
        f"# {name}",
        "",
        f"{label}{said}, on the base with digest `{base.record['digest']}`, of:",
        "",
        *(
            f"- {one['weight']:g} times {one['name']}, {one['label']}, "
            f"digest `{one['tensors_digest']}`"
            for one in combined["of"]
        ),
        "",
        "## Scores",
        "",
        "Not measured yet.",
    ]
    return "\n".join(lines) + "\n"
