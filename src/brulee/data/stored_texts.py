"""Texts as numbers of words, kept in a temporary file and read back in chunks of whole rows.

In a file they take 4 bytes a word and no memory; the texts themselves would take more than the rows
they are from.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from brulee.data.ngrams import BOUNDARY, Texts
from brulee.progress import bar

CHUNK: Final = 1_000_000  # words; a pass over a chunk takes about 60 bytes for each
_WORTH_A_BAR: Final = 8  # chunks


class StoredTexts:
    """Chunks of texts, each a `Texts` of its own; of a single one nothing is written to disk.

    `words` is the number of words, without boundaries.
    """

    def __init__(self, chunks: Iterable[Texts]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with this object)
        weakref.finalize(self, self._file.close)
        self._sizes: list[tuple[int, int]] = []
        self._only: Texts | None = None
        self.words = 0
        for chunk in chunks:
            if self._only is not None:
                self._write(self._only)
            if self._sizes:
                self._write(chunk)
            self._only = None if self._sizes else chunk
            self._sizes.append((len(chunk.words), len(chunk.starts)))
            self.words += int(np.count_nonzero(chunk.words != BOUNDARY))

    def __len__(self) -> int:
        return len(self._sizes)

    def read(self, said: str) -> Iterator[Texts]:
        """Yield every chunk; a bar shows `said`, if there are many."""
        with bar(said, len(self), "parts", _WORTH_A_BAR) as progress:
            self._file.seek(0)
            for size, texts in self._sizes:
                yield self._only or Texts(
                    np.fromfile(self._file, np.uint32, size),
                    np.fromfile(self._file, np.int64, texts),
                    np.fromfile(self._file, np.int64, texts),
                )
                progress.advance()

    def changed(self, change: Callable[[Texts], Texts], said: str) -> StoredTexts:
        """The same texts, each chunk changed."""
        return StoredTexts(map(change, self.read(said)))

    def _write(self, chunk: Texts) -> None:
        for array in (chunk.words, chunk.starts, chunk.owners):
            array.tofile(self._file)
