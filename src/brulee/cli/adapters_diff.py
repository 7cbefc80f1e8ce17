"""`brulee adapters diff`: compare two adapters part by part."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brulee.cli import options
from brulee.cli.output import print_json, print_table

if TYPE_CHECKING:
    from brulee.methods.checkpoint import Adapter
    from brulee.methods.differences import Difference

_SHOWN = 20


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A run or an adapter's folder.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    everything: Annotated[
        bool, typer.Option("--all", help=f"Show every part, not only the {_SHOWN} most different.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Compare two adapters, part by part.

    Shows |a - b| / |a| and the cosine. For LoRA the products B A are compared, because different
    factors can give the same product.
    """
    from brulee.methods.checkpoint import open_adapter
    from brulee.methods.differences import compare
    from brulee.methods.shelf import locate_adapter

    first, second = (open_adapter(locate_adapter(target)) for target in (a, b))
    found = compare(first, second)
    same_base = None if None in (first.digest, second.digest) else first.digest == second.digest
    if as_json:
        print_json(_plain(first, second, same_base, found))
    else:
        _print(first, second, same_base, found, everything)


def _plain(a: Adapter, b: Adapter, same_base: bool | None, found: Difference) -> dict[str, Any]:
    named = {
        key: {"folder": str(x.folder), "label": x.label(), "base_digest": x.digest}
        for key, x in (("a", a), ("b", b))
    }
    return {**named, "same_base": same_base, **asdict(found)}


def _print(
    a: Adapter, b: Adapter, same_base: bool | None, found: Difference, everything: bool
) -> None:
    print(f"a  {a.label()}  {a.folder}")
    print(f"b  {b.label()}  {b.folder}")
    if same_base is not True:
        print("They have different bases." if same_base is False else _UNKNOWN_BASE)
    differ = [part for part in found.parts if not part.same]
    if not differ and not found.only_a and not found.only_b:
        print(f"identical: all {len(found.parts)} parts, bit for bit.")
        return
    print(
        f"{len(differ)} of {len(found.parts)} parts differ; over all parts, |a - b| / |a| is "
        f"{_number(found.relative)} and the cosine {_number(found.cosine)}."
    )
    from brulee.methods.peft_config import PREFIX

    shown = differ if everything else differ[:_SHOWN]
    rows = [
        (
            p.name.removeprefix(PREFIX),
            f"{p.norm_a:.4g}",
            f"{p.norm_b:.4g}",
            _number(p.relative),
            _number(p.cosine),
        )
        for p in shown
    ]
    print()
    print_table(["part", "|a|", "|b|", "|a - b| / |a|", "cosine"], rows)
    if len(shown) < len(differ):
        print(f"... and {len(differ) - len(shown)} more; --all shows them.")
    for who, names in (("a", found.only_a), ("b", found.only_b)):
        if names:
            print(f"only in {who}: {names[0]} ({len(names)} in all)")


_UNKNOWN_BASE = "It is not recorded whether they share a base."


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
