"""Equality of JSON values, and the leaf fields of a value.

Objects are equal in any key order, lists only in the same order (optionally in any), numbers by
value: 1, 1.0 and 1e0 are one number; 1, "1" and true are three values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from decimal import Decimal
from typing import Any, TypeAlias
from unicodedata import normalize

Path: TypeAlias = tuple[str, ...]
Leaf: TypeAlias = tuple[Path, Hashable]
Reads: TypeAlias = Callable[[str], str]


def nfc(text: str) -> str:
    """A text in Unicode's composed form."""
    return normalize("NFC", text)


def same(value: Any, unordered: bool = False, reads: Reads = nfc) -> Hashable:
    """A canonical form, equal for two values if and only if they are the same.

    `unordered` treats lists as multisets; `reads` normalises texts before comparison. Values must
    not be nested beyond Python's recursion limit.
    """
    if isinstance(value, dict):
        held = ((nfc(key), same(item, unordered, reads)) for key, item in value.items())
        return "object", frozenset(held)
    if isinstance(value, list):
        items = [same(item, unordered, reads) for item in value]
        return "list", frozenset(Counter(items).items()) if unordered else tuple(items)
    return _plain(value, reads)


def leaves(value: Any) -> Iterator[Leaf]:
    """Every text, number, true and false in a value, with the keys that lead to it.

    List indices are not part of the path, so that an extra item does not make later ones wrong;
    null, {} and [] have no leaves. Donut's evaluation flattens values the same way (Kim et al.
    2022, "OCR-free Document Understanding Transformer").
    """
    left: list[tuple[Path, Any]] = [((), value)]
    while left:
        path, item = left.pop()
        if isinstance(item, dict):
            left += [((*path, nfc(key)), inside) for key, inside in item.items()]
        elif isinstance(item, list):
            left += [(path, inside) for inside in item]
        elif item is not None:
            yield path, _plain(item, nfc)


def _plain(value: Any, reads: Reads) -> Hashable:
    if isinstance(value, str):
        return "text", reads(value)
    if value is None or isinstance(value, bool):
        return str(value)
    return "number", _digits(Decimal(repr(value)) if isinstance(value, float) else Decimal(value))


def _digits(number: Decimal) -> str:
    """A canonical text for a number; text, because hashes of numbers can be made to collide."""
    sign, digits, exponent = number.as_tuple()
    written = "".join(map(str, digits))
    bare = written.rstrip("0")
    return f"{'-' * sign}{bare}e{int(exponent) + len(written) - len(bare)}" if bare else "0"
