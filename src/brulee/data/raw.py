"""The bytes of a file before they are parsed as rows, and the result of parsing them."""

from __future__ import annotations

import bz2
import codecs
import functools
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn

from brulee.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_BOM = b"\xef\xbb\xbf"
_CHUNK = 262_144


class NoRowsError(InputError):
    """A data file without rows, which is an error only if no other file has some."""


@dataclass(frozen=True)
class Piece:
    """The rows of one file; `lines` is None if rows have no lines (JSON arrays, Parquet, Arrow)."""

    table: pa.Table
    lines: Sequence[int] | None


class Meter:
    """Says how many megabytes of a file were read, of which some may be read more than once."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        self._advance, self._furthest = advance, 0

    def reach(self, position: int) -> None:
        """Take note of how far a file was read, in bytes."""
        if position > self._furthest:
            self._advance((position - self._furthest) / 1e6)
            self._furthest = position


@dataclass(frozen=True)
class Raw:
    """The decompressed content of a file, with its name in messages.

    A large file can be read line by line with `opened`, or whole as `data`. A suffix in `PACKED`
    says how it is compressed; `meter` is told of what is read of the file itself.
    """

    label: str
    path: Path
    meter: Meter | None = None

    @functools.cached_property
    def data(self) -> bytes:
        """The whole content. Raises InputError if the file cannot be read or decompressed."""
        with self.opened() as file:
            return file.read()

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The content as a binary file, without any BOM. Raises InputError like `data`."""
        with self._file() as packed:
            metered = io.BufferedReader(_Metered(packed, self.meter), _CHUNK)
            if self.path.suffix.lower() not in PACKED:
                yield _without_bom(metered)
                return
            kind, unpack = PACKED[self.path.suffix.lower()]
            try:
                yield _without_bom(io.BufferedReader(unpack(metered), _CHUNK))
            except (EOFError, OSError, lzma.LZMAError, zlib.error):
                self.fail(f"not a whole {kind} file.")

    @property
    def blank(self) -> bool:
        """Whether the content is only white space. Raises InputError like `data`."""
        with self.opened() as file:
            return all(map(bytes.isspace, iter(lambda: file.read(_CHUNK), b"")))

    def reach(self, share: float) -> None:
        """Take note that this share of the file was read by other means than `opened`."""
        if self.meter is not None:
            self.meter.reach(int(share * self.path.stat().st_size))

    def _file(self) -> io.FileIO:
        try:
            return io.FileIO(self.path)
        except PermissionError:
            self.fail("no permission to read the file.")

    def fail(self, problem: str, line: int | None = None) -> NoReturn:
        """Raise an InputError that names the file, and the line if it is known."""
        raise InputError(f"{self.label}{f', line {line}' if line else ''}: {problem}")

    def fail_empty(self, problem: str) -> NoReturn:
        """Raise a NoRowsError that names the file."""
        raise NoRowsError(f"{self.label}: {problem}")

    def text(self) -> str:
        """The whole file as text; InputError naming the line of a byte that is not UTF-8."""
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            self.fail(not_utf8(self.data, error.start), line)


class _Metered(io.RawIOBase):
    def __init__(self, file: io.FileIO, meter: Meter | None) -> None:
        self._file, self._meter = file, meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        if self._meter is not None:
            self._meter.reach(self._file.tell())
        return count


def _unzstd(file: BinaryIO) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")


# How the content of a compressed text file is read, by its suffix.
PACKED: Final[dict[str, tuple[str, Callable[[BinaryIO], Any]]]] = {
    ".gz": ("gzip", lambda file: gzip.GzipFile(fileobj=file)),
    ".zst": ("zstd", _unzstd),
    ".xz": ("xz", lzma.LZMAFile),
    ".bz2": ("bzip2", bz2.BZ2File),
}


def _without_bom(file: io.BufferedReader[Any]) -> BinaryIO:
    if file.peek(len(_BOM))[: len(_BOM)] == _BOM:
        file.read(len(_BOM))
    return file


def not_utf8(data: bytes, at: int) -> str:
    """The error message for a byte that is not UTF-8, with the likely encoding of the file."""
    marks = {codecs.BOM_UTF32_LE: 32, codecs.BOM_UTF16_LE: 16, codecs.BOM_UTF16_BE: 16}
    wide = next((f"UTF-{bits}" for mark, bits in marks.items() if data.startswith(mark)), None)
    likely = wide or "WINDOWS-1252"
    return (
        f"byte {data[at]:#04x} is not UTF-8 text; save the file as UTF-8 "
        f"(iconv -f {likely} -t UTF-8, if that is what it is)."
    )


HOLDS_NUL: Final = (
    "a NUL character; remove it, or save the file as UTF-8 (iconv -f UTF-16LE -t UTF-8, if that "
    "is what it is)."
)
