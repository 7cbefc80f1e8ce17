"""A file's bytes before they are read as rows, with the rows that come of it."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from brulee.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Piece:
    """The rows of one file; `lines` is None where rows are counted (arrays, parquet, Arrow)."""

    table: pa.Table
    lines: list[int] | None


@dataclass(frozen=True)
class Raw:
    """What a file holds once unpacked, under the name that messages call it by."""

    label: str
    data: bytes

    def fail(self, problem: str, line: int | None = None) -> NoReturn:
        """Raise an InputError that names the file, with the line where it is known."""
        raise InputError(f"{self.label}{f', line {line}' if line else ''}: {problem}")

    def text(self) -> str:
        """The whole file as text; a byte that is not UTF-8 is an InputError naming its line."""
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            self.fail(not_utf8(self.data, error.start), line)


def not_utf8(data: bytes, at: int) -> str:
    """What to say of a byte that is not UTF-8 text, with the likely encoding of the file."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    likely = "UTF-16" if wide else "WINDOWS-1252"
    return (
        f"byte {data[at]:#04x} is not UTF-8 text; save the file as UTF-8 "
        f"(iconv -f {likely} -t UTF-8, if that is what it is)."
    )


def repeated_key(pairs: Sequence[tuple[str, Any]]) -> str | None:
    """The first key that a JSON object gives again, whose earlier value Python would drop."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    return None


def no_number(constant: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python would read. Raises ValueError."""
    raise ValueError(f"{constant} is no JSON number")
