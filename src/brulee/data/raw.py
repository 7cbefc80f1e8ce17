"""The bytes of a file before they are parsed as rows, and the result of parsing them."""

from __future__ import annotations

import codecs
import functools
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from brulee.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_BOM = b"\xef\xbb\xbf"
_CHUNK = 65_536


@dataclass(frozen=True)
class Piece:
    """The rows of one file; `lines` is None if rows have no lines (JSON arrays, Parquet, Arrow)."""

    table: pa.Table
    lines: list[int] | None


@dataclass(frozen=True)
class Raw:
    """The decompressed content of a file, with its name in messages.

    A large file can be read line by line with `opened`, or whole as `data`.
    """

    label: str
    path: Path
    unpack: Callable[[str, bytes], bytes] | None = None

    @functools.cached_property
    def data(self) -> bytes:
        """The whole content. Raises InputError if the file cannot be read or decompressed."""
        with self._file() as file:
            data = file.read()
        return (self.unpack(self.label, data) if self.unpack and data else data).removeprefix(_BOM)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The content as a binary file, without any BOM. Raises InputError like `data`."""
        if self.unpack:
            yield io.BytesIO(self.data)
            return
        with self._file() as file:
            file.seek(len(_BOM) if file.read(len(_BOM)) == _BOM else 0)
            yield file

    @property
    def blank(self) -> bool:
        """Whether the content is only white space. Raises InputError like `data`."""
        with self.opened() as file:
            return all(map(bytes.isspace, iter(lambda: file.read(_CHUNK), b"")))

    @property
    def megabytes(self) -> float:
        """The number of megabytes to read."""
        return (len(self.data) if self.unpack else self.path.stat().st_size) / 1e6

    def _file(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except PermissionError:
            self.fail("no permission to read the file.")

    def fail(self, problem: str, line: int | None = None) -> NoReturn:
        """Raise an InputError that names the file, and the line if it is known."""
        raise InputError(f"{self.label}{f', line {line}' if line else ''}: {problem}")

    def text(self) -> str:
        """The whole file as text; InputError naming the line of a byte that is not UTF-8."""
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            self.fail(not_utf8(self.data, error.start), line)


def not_utf8(data: bytes, at: int) -> str:
    """The error message for a byte that is not UTF-8, with the likely encoding of the file."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    likely = "UTF-16" if wide else "WINDOWS-1252"
    return (
        f"byte {data[at]:#04x} is not UTF-8 text; save the file as UTF-8 "
        f"(iconv -f {likely} -t UTF-8, if that is what it is)."
    )


def repeated_key(pairs: Sequence[tuple[str, Any]]) -> str | None:
    """The first duplicate key of a JSON object, of which Python would drop the earlier value."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    return None


def no_number(constant: str) -> NoReturn:
    """Reject NaN and the infinities, which Python would accept. Raises ValueError."""
    raise ValueError(f"{constant} is no JSON number")
