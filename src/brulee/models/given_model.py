"""Save a model passed from Python as a folder that a recipe can name.

The folder is loaded again and compared with the original: the class, every module, every tensor to
the bit, the logits of a few tokens, the tokenizer. If anything differs, the folder is deleted and
the model refused.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from brulee.errors import InputError
from brulee.models.bundled import cache_folder, sha256
from brulee.models.disk import as_umask_says, disk_errors
from brulee.models.loading import load_base, no_bars
from brulee.progress import note, waiting

_TOKENS = 12  # on which the logits of both models are compared
_TEXTS = ("A first line.\n\nAnother: 12.5 € (ça va)?", "  two spaces", "你好")


@waiting("Writing the model")
def keep_model(model: Any, tokenizer: Any) -> Path:
    """Write a model and its tokenizer to the cache; returns the folder, for a recipe's `model`.

    The folder is named by the digest of its content, so that the same model is stored once and a
    changed one is a different base. Raises InputError if the folder would not load as the same
    model.
    """
    _check(model, tokenizer)
    root = cache_folder() / "models" / "given"
    root.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".given-", dir=root))
    try:
        _save(model, tokenizer, aside)
        _compare(aside, model, tokenizer)
        aside.chmod(0o755)
        final = root / f"{model.config.model_type}-{_digest(aside)}"
        if final.is_dir() and _digest(final) != final.name.rpartition("-")[2]:
            shutil.rmtree(final)
        if final.is_dir():
            os.utime(final)  # `brulee cache clear` needs the time of last use
        else:
            aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    note(f"model: the model in memory was saved to {final}, which the run uses as its base.")
    return final


def _check(model: Any, tokenizer: Any) -> None:
    kind = type(model).__name__
    if hasattr(model, "merge_and_unload") or getattr(model, "_hf_peft_config_loaded", False):
        raise InputError(
            f"model: a {kind} with an adapter of PEFT in it; fold that in with merge_and_unload(), "
            "and give what comes back."
        )
    if not isinstance(model, PreTrainedModel):
        raise InputError(f"model: an object of type {kind}; it must be a model of transformers.")
    if model.get_output_embeddings() is None:
        raise InputError(
            f"model: a {kind} writes no tokens, as it has no head; give it as the class for causal "
            "or sequence-to-sequence models."
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(
            f"model: its tokenizer is an object of type {type(tokenizer).__name__}; it must be a "
            "tokenizer of transformers."
        )
    if getattr(model, "hf_quantizer", None) is not None:
        raise InputError(
            "model: its weights are quantised; name the folder or the Hub id that they came from, "
            "with model.quantise."
        )
    for name, tensor in model.state_dict().items():
        if tensor.is_meta or tensor.dtype == torch.float64:
            what = "not in memory" if tensor.is_meta else "in float64, which brulee does not hold"
            raise InputError(f"model: its tensor {name!r} is {what}.")


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    try:
        with disk_errors(folder), no_bars():
            model.save_pretrained(folder)
            _at_rest(tokenizer).save_pretrained(folder)
    except (ValueError, RuntimeError, NotImplementedError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"model: transformers cannot save it: {reason}") from None
    as_umask_says(folder)


def _at_rest(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer without the padding and truncation of its last call."""
    rested = copy.deepcopy(tokenizer)
    backend = getattr(rested, "backend_tokenizer", None)
    if backend is not None:
        backend.no_padding()
        backend.no_truncation()
    return rested


def _compare(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    try:
        found = load_base(str(folder), model.dtype, torch.device("cpu"))
    except InputError as error:
        said = str(error).removeprefix(f"{folder}: ")
        raise InputError(f"model: the saved model cannot be loaded again: {said}") from None
    if type(found.model) is not type(model):
        raise _other(
            f"a {type(found.model).__name__} and not a {type(model).__name__}; give one of those"
        )
    modules = [{n: type(m) for n, m in each.named_modules()} for each in (model, found.model)]
    for name in {*modules[0], *modules[1]}:
        given, kept = modules[0].get(name), modules[1].get(name)
        if given is not kept:
            raise _other(f"for the module {name!r} {_called(kept)} and not {_called(given)}")
    tensors = found.model.state_dict()
    for name, tensor in model.state_dict().items():
        if name not in tensors:
            raise _other(f"no {name!r}, of which the configuration says nothing")
        if not torch.equal(tensor.cpu().to(tensors[name].dtype), tensors[name]):
            raise _other(f"other values for {name!r}")
    _take_rounded(model, found.model)
    if not _same_logits(model, found.model):
        raise _other(
            "other logits, so that something was changed in memory that no file says (a function, "
            "a buffer, a value of the configuration)"
        )
    if _read(tokenizer) != _read(found.tokenizer):
        raise InputError("model: the saved tokenizer encodes texts differently.")


def _take_rounded(given: PreTrainedModel, kept: PreTrainedModel) -> None:
    """Compare the buffers, and copy those of `given`, as rounded by a cast, to `kept`.

    `model.bfloat16()` also casts the rotary frequencies, which are not saved; loading the folder
    recomputes them in fp32, which is better. Copying makes the logits comparable.
    """
    held = dict(kept.named_buffers())
    for name, buffer in given.named_buffers():
        if name not in held:
            raise _other(f"no buffer {name!r}, which no file holds")
        where, _, leaf = name.rpartition(".")
        own, theirs = held[name], buffer.cpu()
        if not torch.equal(own.to(theirs.dtype), theirs):
            raise _other(f"other values for {name!r}, which no file holds")
        kept.get_submodule(where).register_buffer(leaf, theirs.clone(), persistent=False)


def _other(what: str) -> InputError:
    return InputError(f"model: the saved model gives {what}.")


def _called(kind: type | None) -> str:
    return "nothing" if kind is None else f"a {kind.__name__}"


def _same_logits(given: PreTrainedModel, kept: PreTrainedModel) -> bool:
    ids = torch.arange(_TOKENS)[None] % given.get_input_embeddings().weight.shape[0]
    a, b = _logits(given, ids), _logits(kept, ids)
    exact = given.device.type == "cpu" and given.dtype == torch.float32
    # Another device or attention implementation, or a narrower dtype, may round differently.
    return bool((a - b).abs().max() <= (1e-4 if exact else 0.05) * b.abs().max())


def _logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    ids = ids.to(model.device)
    inputs = {"input_ids": ids, "decoder_input_ids": ids}
    if not model.config.is_encoder_decoder:
        del inputs["decoder_input_ids"]
    with torch.no_grad(), _evaluating(model):
        return model(**inputs, use_cache=False).logits.float().cpu()  # type: ignore[no-any-return]


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _read(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """What has to be equal for two tokenizers to count as the same."""
    ids = [list(tokenizer(text)["input_ids"]) for text in _TEXTS]
    return [ids, len(tokenizer), tokenizer.special_tokens_map, tokenizer.chat_template]


def _digest(folder: Path) -> str:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    held = "".join(f"{file.relative_to(folder)} {sha256(file)}\n" for file in files)
    return hashlib.sha256(held.encode()).hexdigest()[:16]
