"""Write a transformers model as one GGUF file, for llama.cpp and tools built on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from brulee.models.gguf_names import architecture_of, as_held, namer, sizes
from brulee.models.gguf_tokenizer import add_tokenizer
from brulee.models.loading import Base

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

DTYPES = ("float32", "bfloat16", "float16", "q8_0")
_BLOCK = 32  # values per scale


@dataclass(frozen=True)
class Written:
    """A file's size in bytes, and the number of matrices in fp16 because q8_0 does not fit."""

    size: int
    halved: int


def write_model(base: Base, out: Path, dtype: str) -> Written:
    """Write a loaded model with its tokenizer.

    Matrices are stored in `dtype` (q8_0: 8 bits, a scale per 32 values), vectors in fp32, as
    llama.cpp needs them. Raises InputError for a model or tokenizer that cannot be written.
    """
    from gguf import GGML_QUANT_VERSION, GGUFWriter

    config = base.model.config
    writer = GGUFWriter(None, architecture_of(config).name)
    writer.add_type("model")
    writer.add_name(f"{base.name}, {dtype}")
    add_sizes(writer, sizes(config), architecture_of(config).name)
    writer.add_file_type(_file_type(dtype))
    writer.add_quantization_version(GGML_QUANT_VERSION)
    rows = base.model.get_input_embeddings().weight.shape[0]
    add_tokenizer(writer, base.tokenizer, rows)
    name_of = namer(config)
    halved = 0
    for parameter, tensor in base.model.named_parameters():  # yields tied tensors once
        name = name_of(parameter)
        halved += add_matrix(writer, name, as_held(name, tensor.detach(), config), dtype)
    return Written(finish(writer, out), halved)


def add_sizes(writer: GGUFWriter, values: dict[str, int | float], name: str) -> None:
    """Write numbers under an architecture's name."""
    for key, value in values.items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"{name}.{key}", value)


def add_matrix(writer: GGUFWriter, name: str, tensor: torch.Tensor, dtype: str) -> bool:
    """Write one tensor, vectors in fp32; returns whether fp16 was used instead of q8_0.

    In q8_0, 32 values share a scale, so row lengths have to be a multiple of 32.
    """
    from gguf import quantize

    values = tensor.float().cpu().contiguous().numpy()
    halved = dtype == "q8_0" and tensor.ndim > 1 and bool(tensor.shape[-1] % _BLOCK)
    kind = _kind("float32" if tensor.ndim == 1 else "float16" if halved else dtype)
    writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
    return halved


def finish(writer: GGUFWriter, out: Path) -> int:
    """Write the file under a temporary name, then rename it; returns its size in bytes."""
    from brulee.models.disk import disk_errors

    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.tmp")
    try:
        with disk_errors(out):
            writer.write_header_to_file(path=aside)
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
        aside.rename(out)
    finally:
        aside.unlink(missing_ok=True)
    return out.stat().st_size


def _kind(dtype: str) -> GGMLQuantizationType:
    from gguf import GGMLQuantizationType

    named = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "q8_0": "Q8_0"}
    return GGMLQuantizationType[named[dtype]]


def _file_type(dtype: str) -> int:
    from gguf import LlamaFileType

    named = {
        "float32": LlamaFileType.ALL_F32,
        "bfloat16": LlamaFileType.MOSTLY_BF16,
        "float16": LlamaFileType.MOSTLY_F16,
        "q8_0": LlamaFileType.MOSTLY_Q8_0,
    }
    return int(named[dtype])
