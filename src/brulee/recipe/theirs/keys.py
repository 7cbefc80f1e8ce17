"""The recipe's counterparts of other tools' keys, one line per key.

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
    layers,
    muon,
    names,
    norm,
    not_prompts,
    number,
    optimizer,
    patterns,
    pissa,
    precision,
    prompts,
    rope,
    rows,
    same,
    schedule,
    start,
    steps,
    switch,
    targets,
    trackers,
)


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


def _nowhere(note: str) -> Key:
    return Key("", note)


def _lost(note: str) -> Key:
    return Key("", note, matters=True)


MERGED: Final = "merge the adapter first: brulee adapters merge; the result is named as the model"
_STEP = "documents of a step: per device, times devices, times what is accumulated"
_CHECKPOINTING = _nowhere("layers are recomputed automatically when memory runs out")
_PACKING = _nowhere("passes are packed without padding, and a document sees only itself")
_LOADING = _nowhere("how data are loaded cannot be set")
_LOG = _nowhere("every step is in events.jsonl")
_FILES = _nowhere("a run's folder is kept; --fresh moves it aside")
_KERNELS = _nowhere("attention and kernels are chosen automatically")
_SHARDS = _nowhere(
    "not in a recipe: torchrun, or accelerate launch --use_fsdp, around brulee train"
)
_HUB = _nowhere("not in a recipe: brulee adapters push")
_PROMPTS = "train.prompt_loss_weight"
_ANSWERS = _nowhere("only answers are learned unless train.prompt_loss_weight is set")
_LOSS = _lost("the loss is the cross-entropy of the learned tokens")
_SOLVER = _lost("no train.optimizer has such settings")
_CUT = _nowhere(
    "of a document longer than train.max_length the source text is cut, never the answer"
)
_TEMPLATE = Key("model.chat_template", "auto is the tokenizer's own, none is plain text; or a file")

# For a mistyped or foreign key of a recipe, and for `brulee init --from`.
KEYS: Final[dict[str, Key]] = {
    # the model
    **dict.fromkeys(("model_name_or_path", "base_model", "model_name"), Key("model")),
    "model_revision": Key("model.revision"),
    "load_in_4bit": Key("model.quantise", "in four bits", four_bits),
    "quantization_bit": Key("model.quantise", "four bits only", four_bits),
    "load_in_8bit": _lost("the base is held in full or in four bits (model.quantise: nf4)"),
    "bnb_4bit_quant_type": _nowhere("four bits are NF4"),
    "use_bnb_nested_quant": _nowhere("the scales of four bits are quantised again"),
    "double_quantization": _nowhere("the scales of four bits are quantised again"),
    "quantization_method": _nowhere("four bits are bitsandbytes'"),
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
    "resize_vocab": _nowhere("the tables get rows for the tokens of model.add_tokens"),
    "peft_trainable_token_indices": Key("method.train_tokens", "tokens or their ids", rows),
    **dict.fromkeys(
        ("eos_token", "pad_token"), _lost("the tokenizer's own end and padding tokens are used")
    ),
    **dict.fromkeys(
        ("trust_remote_code", "tokenizer_type", "model_type", "strict", "tokenizer_use_fast"),
        _nowhere("models are loaded by transformers' own classes"),
    ),
    **dict.fromkeys(("torch_dtype", "dtype"), Key("train.precision", "", precision)),
    # the method
    **dict.fromkeys(("lora_r", "lora_rank", "r"), Key("method.rank", "", count)),
    "lora_alpha": Key("method.alpha", "", number),
    "lora_dropout": Key("method.dropout", "", number),
    **dict.fromkeys(
        ("lora_target_modules", "lora_target", "target_modules"), Key("method.target", "", targets)
    ),
    "lora_target_linear": Key("method.target", "all-linear", targets),
    **dict.fromkeys(("use_rslora", "peft_use_rslora"), Key("method.rslora", "", switch)),
    **dict.fromkeys(("use_dora", "peft_use_dora"), Key("method.dora", "", switch)),
    "loraplus_lr_ratio": Key("method.plus_ratio", "", number),
    "loraplus_lr_embedding": _nowhere("LoRA+ has no separate rate for embeddings"),
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
    "unfrozen_parameters": _lost("method.name: selective tunes parameters of the model itself"),
    **dict.fromkeys(
        ("freeze_extra_modules", "freeze_trainable_modules"),
        Key("", "method.name: selective tunes parameters of the model itself", matters=True),
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
    "lora_target_parameters": Key("method.target", "experts, router or parameter:NAME"),
    "create_new_adapter": _lost(MERGED),
    "use_loftq": _lost("LoRA begins as in its paper, or with method.init: pissa"),
    **dict.fromkeys(
        ("neftune_noise_alpha", "noisy_embedding_alpha"),
        Key("train.neftune_alpha", "L is a document's own length, not a padded row's", above_zero),
    ),
    # the training
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
    **dict.fromkeys(
        ("bf16_full_eval", "fp16_full_eval", "bfloat16", "float16"),
        _nowhere("train.precision sets the number format of computation"),
    ),
    **dict.fromkeys(("label_smoothing_factor", "use_dft_loss", "use_asft_loss"), _LOSS),
    **dict.fromkeys(
        ("use_eaft", "use_eaft_loss", "moe_aux_loss_coef", "router_aux_loss_coef"), _LOSS
    ),
    **dict.fromkeys(
        ("embedding_lr", "embedding_lr_scale", "lr_groups"),
        _lost("one rate for everything that is trained; method.plus_ratio is LoRA+'s"),
    ),
    **dict.fromkeys(("use_galore", "use_apollo", "use_badam", "use_adam_mini"), _SOLVER),
    **dict.fromkeys(("optim_args", "optim_target_modules"), _SOLVER),
    "use_muon": Key("train.optimizer", "", muon),
    "adam_beta3": _SOLVER,
    "adam_epsilon2": _SOLVER,
    **dict.fromkeys(
        ("rope_scaling", "rope_parameters"),
        Key("model.rope_scaling", "yarn, linear, dynamic or llama3; or {rope_type, factor}", rope),
    ),
    "overrides_of_model_config": _lost("of a model's configuration only model.rope_scaling"),
    "shift_attn": _lost("a token sees the whole of its document"),
    **dict.fromkeys(
        ("disable_shuffling", "curriculum_sampling", "sample_packing_sequentially"),
        _lost("the order of rows is drawn again for each epoch from train.seed"),
    ),
    **dict.fromkeys(
        ("shuffle_dataset", "shuffle_merged_datasets", "train_sampling_strategy"),
        _nowhere("the order of rows is drawn again for each epoch from train.seed"),
    ),
    **dict.fromkeys(("excess_length_strategy", "truncation_mode", "max_packed_sequence_len"), _CUT),
    "pure_bf16": _lost("trained values are held in float32"),
    "tf32": _KERNELS,
    **dict.fromkeys(("seed", "random_seed"), Key("train.seed", "", count)),
    "data_seed": _nowhere("train.seed also sets the order of rows"),
    "max_steps": Key("train.max_steps", "", count),
    **dict.fromkeys(
        ("early_stopping_patience", "early_stopping_steps"),
        Key("train.patience", "validations", count),
    ),
    **dict.fromkeys(
        ("metric_for_best_model", "greater_is_better"),
        _nowhere("the best weights are those of the lowest validation loss"),
    ),
    "load_best_model_at_end": Key("train.keep_best", "", boolean),
    "save_total_limit": Key("train.keep_checkpoints", "", steps),
    "save_steps": Key("train.save_every", "steps; once an epoch without it", steps),
    "eval_steps": Key("train.validate_every", "steps; once an epoch without it", steps),
    "report_to": Key("train.trackers", "", trackers),
    "wandb_project": Key("train.trackers", "[wandb]"),
    **dict.fromkeys(
        ("use_wandb", "enable_wandb", "enable_tensorboard", "use_tensorboard", "use_mlflow"),
        Key("train.trackers", "[wandb], [tensorboard] or [mlflow]"),
    ),
    "use_swanlab": _nowhere("the trackers are tensorboard, wandb and mlflow"),
    # the data
    **dict.fromkeys(
        ("datasets", "dataset_name", "local_dataset", "path", "data_files"),
        Key("data.source", "a file, a folder or a Hub id; several are a list under data"),
    ),
    "dataset": Key("data.source", "or DATASET_INFO.json:NAME for an entry of LLaMA-Factory's"),
    **dict.fromkeys(
        ("val_set_size", "val_size", "validation_split"),
        Key("data.split.validation", "a share of the rows, or their number", number),
    ),
    "max_samples": Key("data.limit", "the first rows", count),
    **dict.fromkeys(("default_system", "default_system_message"), Key("data.system")),
    "mask_history": Key("data.turns", "last"),
    **dict.fromkeys(("field_messages", "field_instruction", "field_output"), Key("data.columns")),
    **dict.fromkeys(("train_on_inputs", "train_on_prompt"), Key(_PROMPTS, "", prompts)),
    "completion_only_loss": Key(_PROMPTS, "", not_prompts),
    **dict.fromkeys(("assistant_only_loss", "train_on_completions"), _ANSWERS),
    **dict.fromkeys(
        ("dataset_text_field", "text_column"),
        _lost(
            "rows with text alone are plain text; a column of another name is given by "
            "data.templates: plain-text with data.columns: {text: COLUMN}"
        ),
    ),
    **dict.fromkeys(
        ("eot_tokens", "efficient_eos", "train_on_eos", "train_on_eot"),
        _nowhere("the end of every learned answer is learned, as the chat template writes it"),
    ),
    **dict.fromkeys(
        ("type", "format_type", "formatting"),
        _nowhere("the columns show what rows are, or data.templates sets it"),
    ),
    **dict.fromkeys(
        ("eval_dataset", "test_datasets", "dataset_test_split"),
        _lost("a source's own splits are kept, or data.split holds rows out"),
    ),
    "output_dir": Key("name", "the run's folder under `runs`, or --folder"),
    "run_name": _nowhere("a run has the name of its folder"),
    # what a recipe need not set
    **dict.fromkeys(("gradient_checkpointing", "activation_offloading"), _CHECKPOINTING),
    **dict.fromkeys(("gradient_checkpointing_kwargs", "use_reentrant"), _CHECKPOINTING),
    **dict.fromkeys(
        ("packing", "neat_packing", "sample_packing", "eval_sample_packing", "padding_free"),
        _PACKING,
    ),
    **dict.fromkeys(
        ("pad_to_sequence_len", "pad_to_multiple_of", "group_by_length", "eval_packing"), _PACKING
    ),
    **dict.fromkeys(("preprocessing_num_workers", "dataloader_num_workers"), _LOADING),
    **dict.fromkeys(("overwrite_cache", "dataset_prepared_path", "dataset_num_proc"), _LOADING),
    **dict.fromkeys(
        ("dataset_processes", "remove_unused_columns", "dataset_exact_dedup"), _LOADING
    ),
    **dict.fromkeys(("logging_steps", "logging_dir", "logging_first_step", "wandb_name"), _LOG),
    **dict.fromkeys(("logging_strategy", "include_tokens_per_second", "plot_loss"), _LOG),
    **dict.fromkeys(("wandb_entity", "wandb_watch", "wandb_run_id", "wandb_log_model"), _LOG),
    "tensorboard_dir": _LOG,
    **dict.fromkeys(
        ("do_train", "do_eval", "do_predict", "predict_with_generate"),
        _nowhere("brulee run trains and scores, brulee train trains alone"),
    ),
    **dict.fromkeys(("overwrite_output_dir", "save_only_model", "save_safetensors"), _FILES),
    "resume_from_checkpoint": _nowhere("brulee resume RUN goes on where a run was"),
    **dict.fromkeys(("flash_attention", "flash_attn", "attn_implementation"), _KERNELS),
    **dict.fromkeys(("xformers_attention", "sdp_attention", "enable_liger_kernel"), _KERNELS),
    **dict.fromkeys(("use_liger_kernel", "torch_compile", "lora_mlp_kernel"), _KERNELS),
    **dict.fromkeys(("lora_qkv_kernel", "lora_o_kernel", "lora_fan_in_fan_out"), _KERNELS),
    **dict.fromkeys(("use_unsloth", "use_unsloth_gc", "plugins"), _KERNELS),
    **dict.fromkeys(
        ("flex_attention", "sage_attention", "eager_attention", "s2_attention"), _KERNELS
    ),
    **dict.fromkeys(
        ("torch_compile_backend", "torch_compile_mode", "liger_kernel_config"), _KERNELS
    ),
    **dict.fromkeys(("cut_cross_entropy", "chunked_cross_entropy", "fused_attn_kernel"), _KERNELS),
    **dict.fromkeys(
        ("disable_gradient_checkpointing", "use_reentrant_gc", "layer_offloading"), _CHECKPOINTING
    ),
    **dict.fromkeys(("packing_strategy", "batch_flattening", "block_diag_attn"), _PACKING),
    **dict.fromkeys(("sample_packing_bin_size", "sample_packing_group_size"), _PACKING),
    **dict.fromkeys(("streaming", "dataset_streaming", "buffer_size", "tokenized_path"), _LOADING),
    **dict.fromkeys(("dataloader_pin_memory", "dataloader_prefetch_factor"), _LOADING),
    **dict.fromkeys(("dataloader_persistent_workers", "dataset_exact_deduplication"), _LOADING),
    **dict.fromkeys(("preprocessing_batch_size", "cache_dir", "low_cpu_mem_usage"), _LOADING),
    "dataloader_drop_last": _nowhere("every row is learned, the last ones of an epoch too"),
    **dict.fromkeys(
        ("use_cpu", "device_map", "device"),
        _nowhere("a GPU is taken where there is one; CUDA_VISIBLE_DEVICES hides it"),
    ),
    **dict.fromkeys(("ddp_find_unused_parameters", "ddp_backend", "ddp_bucket_cap_mb"), _SHARDS),
    **dict.fromkeys(("ddp_broadcast_buffers", "fsdp_version", "deepcompile"), _SHARDS),
    **dict.fromkeys(("context_parallel_size", "tensor_parallel_size", "dp_shard_size"), _SHARDS),
    "auto_find_batch_size": _nowhere("passes are cut by the memory there is"),
    "auto_resume_from_checkpoints": _nowhere("brulee resume RUN goes on where a run was"),
    **dict.fromkeys(("deepspeed", "fsdp", "fsdp_config", "ddp_timeout"), _SHARDS),
    **dict.fromkeys(("hub_model_id", "push_to_hub", "hub_strategy", "hf_use_auth_token"), _HUB),
    **dict.fromkeys(
        ("hf_token", "hub_token", "wandb_token", "wandb_api_key"), _nowhere("never in a recipe")
    ),
    **dict.fromkeys(
        ("loss_watchdog_threshold", "loss_watchdog_patience"),
        _nowhere("a loss that jumps is told, and train.max_skips ends what is not finite"),
    ),
    **dict.fromkeys(
        ("per_device_eval_batch_size", "eval_batch_size", "evals_per_epoch", "saves_per_epoch"),
        _nowhere("validated and saved once an epoch, or by train.validate_every and save_every"),
    ),
    **dict.fromkeys(
        ("eval_strategy", "evaluation_strategy", "save_strategy"),
        _nowhere("validated and saved once an epoch, or by train.validate_every and save_every"),
    ),
    **dict.fromkeys(
        ("vision_all_linear", "finetune_vision_layers", "finetune_language_layers"),
        _nowhere("of models with images, which are not trained here"),
    ),
    **dict.fromkeys(
        ("finetune_attention_modules", "finetune_mlp_modules"),
        _nowhere("method.target says which modules: all-linear, attention, mlp or their names"),
    ),
}


def said_here(key: str, given: Any) -> str | None:
    """The part of a sentence on the counterpart of another tool's key; None for any other key."""
    found = KEYS.get(key)
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
