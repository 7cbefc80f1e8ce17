"""C kernels, compiled at first use if there is a C compiler.

Compiling needs gcc and takes a few seconds, once; the library is kept in the cache.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

from brulee.models.bundled import cache_folder

COMPILER: Final = "gcc"
SOURCE = Path(__file__).parent / "formats.c"
_FLAGS = [
    "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros",
    "-fopenmp", "-fPIC", "-c",
]  # fmt: skip
_MAPPED = Path("/proc/self/maps")
_RUNTIME = re.compile(r"lib[gi]?omp\d*\b.*\.so")
_FORMATS = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
# Argument types for ctypes: pointers, sizes, scalars. The number of threads is added as the last.
_P, _L, _F = ctypes.c_void_p, ctypes.c_long, ctypes.c_float
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "norm_forward": (_P, _P, _P, _P, _L, _L, _F),
    "norm_backward": (_P, _P, _P, _P, _P, _L, _L),
    "norm_gain": (_P, _P, _P, _P, _L, _L, _L),
    "swiglu_forward": (_P, _P, _P, _L),
    "swiglu_backward": (_P, _P, _P, _P, _P, _L),
    "geglu_forward": (_P, _P, _P, _L),
    "geglu_backward": (_P, _P, _P, _P, _P, _L),
    "drop": (_P, _P, _L, _L, _L, _L, _F),
    "rotate": (_P, _P, _P, _P, _L, _L, _L, _F),
    "softmax_forward": (_P, _L, _L, _L, _L, _L, _L, _F),
    "softmax_backward": (_P, _P, _L, _L, _L, _L, _L, _L, _F),
    "cross_entropy": (_P, _P, _P, _L, _L, _L),
    "linear": (_P, _P, _P, _P, _L, _L, _L, _L, _L),
    "attend_rows": (_P,) * 8 + (_L,) * 6 + (_F,),
    "attend_forward": (_P,) * 6 + (_L,) * 6 + (_F,),
    "attend_backward": (_P,) * 12 + (_L,) * 7 + (_F,),
}
_ALLOCATE = ("attend_rows", "attend_forward", "attend_backward")  # and say whether they could


@functools.cache
def loop(name: str, x: torch.dtype, y: torch.dtype) -> Callable[..., None] | None:
    """The kernel for inputs in dtype `x` and products in `y`; None if there is none.

    Raises MemoryError when called, if it finds no memory for its intermediate values.
    """
    library = _library()
    if library is None or x not in _FORMATS or y not in _FORMATS:
        return None
    found = getattr(library, f"{name}_{_FORMATS[x]}_{_FORMATS[y]}", None)
    if found is None:
        return None
    found.argtypes = *_SIGNATURES[name], ctypes.c_int
    found.restype = ctypes.c_int if name in _ALLOCATE else None

    def call(*arguments: Any) -> None:
        plain = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
        if found(*plain, torch.get_num_threads()):
            raise MemoryError(f"out of memory in {name}, a kernel in C")

    return call


@functools.cache
def _library() -> ctypes.CDLL | None:
    compiler = shutil.which(COMPILER)
    if compiler is None:
        return None
    try:
        return _opened(_built(compiler))
    except (subprocess.CalledProcessError, OSError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        first = next(iter(reason.strip().splitlines()), "")
        warnings.warn(
            f"PyTorch's own operations are used instead, somewhat slower: the loops in "
            f"{SOURCE.name} could not be compiled: {first}",
            stacklevel=2,
        )
        return None


def _opened(library: Path) -> ctypes.CDLL:
    """The library, with the OpenMP runtime that PyTorch has loaded."""
    try:
        return ctypes.CDLL(str(library))
    except OSError:
        # PyTorch's wheels for ARM load their runtime without showing its names to other libraries.
        for runtime in _openmp_runtimes():
            ctypes.CDLL(runtime, mode=ctypes.RTLD_GLOBAL)
        return ctypes.CDLL(str(library))


def _openmp_runtimes() -> list[str]:
    """The files of the OpenMP runtimes that this process has loaded, PyTorch's own first.

    Empty outside Linux.
    """
    if not _MAPPED.exists():
        return []
    mapped = (line.split(maxsplit=5) for line in _MAPPED.read_text().splitlines())
    files = dict.fromkeys(parts[5] for parts in mapped if len(parts) == 6)
    found = [file for file in files if _RUNTIME.match(Path(file).name)]
    own = Path(torch.__file__).parent
    return sorted(found, key=lambda file: own not in Path(file).parents)


def _built(compiler: str) -> Path:
    """The compiled library, cached by source, compiler and processor."""
    folder = cache_folder() / "kernels"
    target = folder / f"{_identity(compiler)}.so"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        compiled, linked = Path(scratch) / "kernels.o", Path(scratch) / "kernels.so"
        _run([compiler, *_FLAGS, str(SOURCE), "-o", str(compiled)])
        # Linked without -fopenmp, to use the OpenMP runtime and threads that PyTorch has loaded.
        _run([compiler, "-shared", str(compiled), "-o", str(linked), "-lm"])
        linked.replace(target)
    return target


def _identity(compiler: str) -> str:
    """A digest of everything the library depends on, including what -march=native stands for."""
    said = [
        _run([compiler, *options])
        for options in (["--version"], ["-march=native", "-Q", "--help=target"])
    ]
    parts = [file.read_text(encoding="utf-8") for file in sorted(SOURCE.parent.glob("*.c"))]
    return hashlib.sha256("\0".join([*parts, *_FLAGS, *said]).encode()).hexdigest()[:32]


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
