"""The recipe's counterparts of other tools' keys, one line per key; `without` has all others.

LLaMA-Factory's hparams/, axolotl's utils/schemas/, TRL's SFTConfig and ModelConfig on top of
transformers' TrainingArguments, and Unsloth's unsloth_cli/config.py, as of November 2026.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from brulee.recipe.theirs.values import (
    UNSET,
    Unlike,
    above_zero,
    boolean,
    control,
    count,
    four_bits,
    in_order,
    interval,
    layers,
    muon,
    names,
    norm,
    not_prompts,
    number,
    optimizer,
    patterns,
    per_epoch,
    pissa,
    precision,
    prompts,
    rope,
    rows,
    same,
    sampling,
    schedule,
    start,
    steps,
    switch,
    targets,
    trackers,
)
from brulee.recipe.theirs.without import LOST, UNNEEDED


@dataclass(frozen=True)
class Key:
    """A key's counterpart `to` in a recipe; if it is empty, there is none, and `note` says why.

    `value` converts the tool's value, and raises Unlike for one without a counterpart. `matters`:
    training differs without the key.
    """

    to: str
    note: str = ""
    value: Callable[[Any], Any] = same
    matters: bool = False


MERGED: Final = "merge the adapter first: brulee adapters merge; the result is named as the model"
_STEP = "documents of a step: per device, times devices, times what is accumulated"
_SHUFFLE = "train.shuffle"
_PROMPTS = "train.prompt_loss_weight"
_TEMPLATE = Key("model.chat_template", "auto is the tokenizer's own, none is plain text; or a file")
_ANSWERS = Key("", "only answers are learned unless train.prompt_loss_weight is set")
_SELECTIVE = "method.name: selective tunes parameters of the model itself"
_SPLITS = "a source's own splits are kept, or data.split holds rows out"
_ANSWERED = ("max_new_tokens", "temperature", "top_p", "top_k", "repetition_penalty")

# For a mistyped or foreign key of a recipe, and for `brulee init --from`.
_COUNTERPARTS: Final[dict[str, Key]] = {
    **dict.fromkeys(
        ("model_name_or_path", "base_model", "model_name", "base_model_name_or_path"), Key("model")
    ),
    **dict.fromkeys(("model_revision", "revision"), Key("model.revision")),
    "load_in_4bit": Key("model.quantise", "in four bits", four_bits),
    "quantization_bit": Key("model.quantise", "four bits only", four_bits),
    **dict.fromkeys(
        ("chat_template", "chat_template_path", "chat_template_jinja", "template"), _TEMPLATE
    ),
    "chat_template_kwargs": Key("model.chat_template_kwargs"),
    "enable_thinking": Key("model.chat_template_kwargs", "{enable_thinking: false}"),
    **dict.fromkeys(
        ("adapter_name_or_path", "lora_model_dir"),
        Key("method.start", "rank, alpha and the like are then the adapter's"),
    ),
    **dict.fromkeys(
        ("tokens", "add_tokens"),
        Key("model.add_tokens", "their rows alone are trained beside an adapter", names),
    ),
    **dict.fromkeys(
        ("special_tokens", "add_special_tokens"),
        Key("model.add_special_tokens", "tokens that only the chat template writes", control),
    ),
    **dict.fromkeys(
        ("peft_trainable_token_indices", "trainable_token_indices"),
        Key("method.train_tokens", "tokens or their ids", rows),
    ),
    **dict.fromkeys(("torch_dtype", "dtype"), Key("train.precision", "", precision)),
    **dict.fromkeys(("lora_r", "lora_rank", "r"), Key("method.rank", "", count)),
    "lora_alpha": Key("method.alpha", "", number),
    "lora_dropout": Key("method.dropout", "", number),
    **dict.fromkeys(
        ("lora_target_modules", "lora_target", "target_modules"), Key("method.target", "", targets)
    ),
    "lora_target_linear": Key("method.target", "all-linear", targets),
    **dict.fromkeys(("use_rslora", "peft_use_rslora"), Key("method.rslora", "", switch)),
    **dict.fromkeys(("use_dora", "peft_use_dora"), Key("method.dora", "", switch)),
    **dict.fromkeys(
        ("embedding_lr", "loraplus_lr_embedding"), Key("train.embedding_learning_rate", "", number)
    ),
    "embedding_lr_scale": Key("train.embedding_learning_rate", "times train.learning_rate"),
    "loraplus_lr_ratio": Key("method.plus_ratio", "", number),
    "pissa_init": Key("method.init", "", pissa),
    **dict.fromkeys(
        ("adapter", "finetuning_type", "training_type", "use_peft"),
        Key("method.name", "lora, full or another of `brulee methods list`"),
    ),
    **dict.fromkeys(
        ("layers_to_transform", "peft_layers_to_transform", "lora_layers_to_transform"),
        Key("method.layers", "numbers from 0", layers),
    ),
    "freeze_trainable_layers": Key("method.layers", "of method.name: selective"),
    **dict.fromkeys(
        ("lora_modules_to_save", "modules_to_save", "additional_target"),
        Key("method.train_whole", "a head tied to the embedding is then trained apart", names),
    ),
    **dict.fromkeys(
        ("freeze_extra_modules", "freeze_trainable_modules"),
        Key("", _SELECTIVE, matters=True),
    ),
    **dict.fromkeys(
        ("lora_rank_pattern", "rank_pattern"), Key("method.ranks", "by pattern", patterns)
    ),
    **dict.fromkeys(
        ("lora_alpha_pattern", "alpha_pattern"), Key("method.alphas", "by pattern", patterns)
    ),
    **dict.fromkeys(
        ("peft_init_lora_weights", "init_lora_weights"),
        Key("method.init", "default or pissa", start),
    ),
    **dict.fromkeys(
        ("lora_target_parameters", "target_parameters"),
        Key("method.target", "experts, router or parameter:NAME"),
    ),
    **dict.fromkeys(
        ("neftune_noise_alpha", "noisy_embedding_alpha"),
        Key("train.neftune_alpha", "L is a document's own length, not a padded row's", above_zero),
    ),
    "label_smoothing_factor": Key("train.label_smoothing", "", above_zero),
    **dict.fromkeys(
        ("cutoff_len", "sequence_len", "max_seq_length", "max_length"),
        Key("train.max_length", "tokens; of a longer document the source text is cut", count),
    ),
    **dict.fromkeys(("num_train_epochs", "num_epochs"), Key("train.epochs", "", number)),
    **dict.fromkeys(
        ("per_device_train_batch_size", "micro_batch_size"), Key("train.batch_size", _STEP, count)
    ),
    "gradient_accumulation_steps": Key("train.accumulation", "times train.batch_size", count),
    **dict.fromkeys(("learning_rate", "lr"), Key("train.learning_rate", "", number)),
    **dict.fromkeys(("lr_scheduler_type", "lr_scheduler"), Key("train.schedule", "", schedule)),
    "warmup_ratio": Key("train.warmup", "a share of the steps", number),
    "warmup_steps": Key("train.warmup", "from 1 on a number of steps", number),
    "cosine_min_lr_ratio": Key("train.min_rate", "", number),
    "weight_decay": Key("train.weight_decay", "", number),
    "max_grad_norm": Key("train.max_grad_norm", "", norm),
    **dict.fromkeys(("optim", "optimizer"), Key("train.optimizer", "", optimizer)),
    "adam_beta1": Key("train.beta1", "", number),
    "adam_beta2": Key("train.beta2", "", number),
    "adam_epsilon": Key("train.epsilon", "", number),
    "bf16": Key("train.precision", "", precision),
    "fp16": Key("train.precision", "fp16 is not supported: auto, float32 or bfloat16"),
    "use_muon": Key("train.optimizer", "", muon),
    **dict.fromkeys(
        ("rope_scaling", "rope_parameters"),
        Key("model.rope_scaling", "yarn, linear, dynamic or llama3; or {rope_type, factor}", rope),
    ),
    **dict.fromkeys(("seed", "random_seed"), Key("train.seed", "", count)),
    **dict.fromkeys(("disable_shuffling", "curriculum_sampling"), Key(_SHUFFLE, "", in_order)),
    "train_sampling_strategy": Key(_SHUFFLE, "", sampling),
    "shuffle_merged_datasets": Key("", "train.shuffle: false keeps the order of rows"),
    "max_steps": Key("train.max_steps", "", count),
    **dict.fromkeys(
        ("early_stopping_patience", "early_stopping_steps"),
        Key("train.patience", "validations", count),
    ),
    "load_best_model_at_end": Key("train.keep_best", "", boolean),
    "save_total_limit": Key("train.keep_checkpoints", "", steps),
    "save_steps": Key("train.save_every", "steps; once an epoch without it", interval),
    "eval_steps": Key("train.validate_every", "steps; once an epoch without it", interval),
    "saves_per_epoch": Key("train.save_every", "a share of an epoch", per_epoch),
    "evals_per_epoch": Key("train.validate_every", "a share of an epoch", per_epoch),
    "report_to": Key("train.trackers", "", trackers),
    "wandb_project": Key("train.trackers", "[wandb]"),
    **dict.fromkeys(
        ("use_wandb", "enable_wandb", "enable_tensorboard", "use_tensorboard", "use_mlflow"),
        Key("train.trackers", "[wandb], [tensorboard] or [mlflow]"),
    ),
    **dict.fromkeys(
        ("datasets", "dataset_name", "local_dataset", "path", "data_files"),
        Key("data.source", "a file, a folder or a Hub id; several are a list under data"),
    ),
    "dataset": Key("data.source", "or DATASET_INFO.json:NAME for an entry of LLaMA-Factory's"),
    **dict.fromkeys(
        ("val_set_size", "val_size", "validation_split", "test_split_size"),
        Key("data.split.validation", "a share of the rows, or their number", number),
    ),
    "max_samples": Key("data.limit", "the first rows", count),
    **dict.fromkeys(("default_system", "default_system_message"), Key("data.system")),
    "mask_history": Key("data.turns", "last"),
    **dict.fromkeys(("field_messages", "field_instruction", "field_output"), Key("data.columns")),
    **dict.fromkeys(("train_on_inputs", "train_on_prompt"), Key(_PROMPTS, "", prompts)),
    "completion_only_loss": Key(_PROMPTS, "", not_prompts),
    "output_dir": Key("name", "the run's folder under `runs`, or --folder"),
    **{key: Key(f"evaluate.generation.{key}") for key in (*_ANSWERED, "length_penalty")},
    "num_beams": Key("evaluate.generation.beams"),
    **dict.fromkeys(("assistant_only_loss", "train_on_completions"), _ANSWERS),
    "create_new_adapter": Key("", MERGED, matters=True),
    "unfrozen_parameters": Key("method.parameters", "of method.name: selective"),
    **dict.fromkeys(
        ("eval_dataset", "test_datasets"), Key("data.source", "{train: ..., validation: ...}")
    ),
    "dataset_test_split": Key("", _SPLITS, matters=True),
}
KEYS: Final[dict[str, Key]] = {
    **{key: Key("", note) for note, keys in UNNEEDED.items() for key in keys},
    **{key: Key("", note, matters=True) for note, keys in LOST.items() for key in keys},
    **_COUNTERPARTS,
}
# Those of keys that only begin alike, the longest beginning first.
_BEGINNINGS: Final = sorted((k[:-1] for k in KEYS if k.endswith("*")), key=len, reverse=True)


def key_of(name: str) -> Key | None:
    """What is known of another tool's key."""
    if name in KEYS:
        return KEYS[name]
    begins = next((begin for begin in _BEGINNINGS if name.startswith(begin)), None)
    return None if begins is None else KEYS[f"{begins}*"]


def said_here(key: str, given: Any) -> str | None:
    """The part of a sentence on the counterpart of another tool's key; None for any other key."""
    found = key_of(key)
    if found is None:
        return None
    if not found.to:
        return f"it has no counterpart here: {found.note}."
    note = f" ({found.note})" if found.note else ""
    try:
        value = found.value(given) if found.value is not same else None
    except Unlike as unlike:
        return f"here it is {found.to!r}, but {unlike}."
    shown = "" if value is None or value is UNSET else f": {json.dumps(value, ensure_ascii=False)}"
    return f"here it is {found.to + shown!r}{note}."
