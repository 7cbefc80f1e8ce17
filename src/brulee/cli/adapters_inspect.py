"""`brulee adapters inspect`: show what an adapter or a fully tuned model contains."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brulee.cli import options
from brulee.cli.output import print_json, print_table

if TYPE_CHECKING:
    from brulee.methods.reading import Inspected

_SHOWN = 20


def inspect(
    target: options.Tuned,
    everything: Annotated[
        bool, typer.Option("--all", help=f"Show every tensor, not only the first {_SHOWN}.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show what made an adapter and what it holds.

    Its base and options, and the shape and norm of each tensor.
    """
    from brulee.methods.reading import inspect as read
    from brulee.methods.shelf import locate

    found = read(locate(target))
    if as_json:
        print_json(_plain(found))
    else:
        _print(found, everything)


def _plain(found: Inspected) -> dict[str, Any]:
    return {
        "kind": found.stored.kind,
        "folder": str(found.stored.folder),
        "label": found.label,
        "method": found.method,
        "base": found.base,
        "peft": found.peft,
        "sealed": found.sealed,
        "values": found.values,
        "bytes": sum(path.stat().st_size for path in found.stored.weights()),
        "config": found.config,
        "record": found.record,
        "tensors": [asdict(tensor) for tensor in found.tensors],
    }


def _print(found: Inspected, everything: bool) -> None:
    from brulee.methods.peft_config import PREFIX
    from brulee.reporting.wording import size

    bytes_ = sum(path.stat().st_size for path in found.stored.weights())
    count = len(found.tensors)
    tensors = f"{count:,} tensor{'' if count == 1 else 's'}"
    options_ = ", ".join(
        f"{k}={v}" for k, v in found.method.items() if k != "name" and v is not None
    )
    lines = {
        "method": f"{found.label}  ({options_})" if options_ else found.label,
        "base": found.base.get("source") or found.base.get("name") or "not recorded",
        "digest": found.base.get("digest", "not recorded: a wrong base would go unnoticed"),
        "stored": f"{found.values:,} values in {tensors}, {size(bytes_)}",
        "PEFT": _peft(found),
        "damage": _damage(found),
    }
    if of := _combined(found):
        lines["combined"] = of
    if start := found.record.get("start"):
        lines["start"] = f"{start.get('adapter')} (digest {str(start.get('digest'))[:12]}...)"
    for name, text in lines.items():
        print(f"{name:8} {text}")
    print()
    shown = found.tensors if everything else found.tensors[:_SHOWN]
    rows = [
        (
            t.name.removeprefix(PREFIX),
            "x".join(map(str, t.shape)),
            t.dtype,
            f"{t.norm:.4g}",
            f"{t.largest:.4g}",
        )
        for t in shown
    ]
    print_table(["tensor", "shape", "type", "norm", "largest"], rows)
    if len(shown) < len(found.tensors):
        print(f"... and {len(found.tensors) - len(shown)} more; --all shows them.")


def _peft(found: Inspected) -> str:
    if found.stored.kind == "model":
        return "a whole model: transformers loads it"
    if found.peft is None:
        return "has no such method; use brulee"
    return f"loads it, as {found.peft}"


def _combined(found: Inspected) -> str:
    """Each part of a combined adapter with its weight; "" if it was not combined."""
    of = found.record.get("combined", {}).get("of", [])
    parts = [part for part in of if isinstance(part, dict)] if isinstance(of, list) else []
    return ", ".join(f"{p.get('weight')} x {p.get('name')} ({p.get('label')})" for p in parts)


def _damage(found: Inspected) -> str:
    if found.sealed:
        return "none: every bit is as saved"
    if found.stored.kind == "model":
        return "none found; without a digest, only NaN and infinity are detected"
    return "none found; without a digest, only NaN and huge values are detected"
