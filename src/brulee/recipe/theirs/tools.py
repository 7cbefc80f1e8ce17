"""Detection of a configuration's tool, the tools' defaults, and unsupported kinds of training.

The defaults are those of LLaMA-Factory's hparams/ and transformers' TrainingArguments, of axolotl's
utils/schemas/ and core/builders/, of TRL's SFTConfig and ModelConfig, and of Unsloth's
unsloth_cli/config.py, as of August 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from brulee.errors import InputError
from brulee.shell import word


@dataclass(frozen=True)
class Tool:
    """A tool: its name, keys that only it has, and its defaults under the recipe's names.

    `per_device`, `accumulation` and `warmup_steps` are its defaults for documents per device,
    accumulated batches, and warm-up steps if it counts them.
    """

    name: str
    marks: frozenset[str]
    defaults: Mapping[str, Any]
    lora: Mapping[str, Any]
    per_device: int = 8
    accumulation: int = 1
    warmup_steps: int | None = None


_TRANSFORMERS = {"train.epochs": 3, "train.schedule": "linear", "train.warmup": 0.0}

TOOLS: Final = (
    Tool(
        "LLaMA-Factory",
        frozenset(
            (
                *("stage", "finetuning_type", "cutoff_len", "lora_rank", "lora_target", "template"),
                *("dataset_dir", "val_size", "max_samples", "quantization_bit", "mask_history"),
                *("train_on_prompt", "do_train", "preprocessing_num_workers", "dataset"),
            )
        ),
        _TRANSFORMERS | {"train.learning_rate": 5e-5, "train.max_length": 2048},
        {"method.rank": 8, "method.target": "all-linear"},
    ),
    Tool(
        "axolotl",
        frozenset(
            (
                *("base_model", "sequence_len", "micro_batch_size", "datasets", "val_set_size"),
                *("num_epochs", "lr_scheduler", "adapter", "lora_target_linear", "sample_packing"),
                *("train_on_inputs", "rl", "dataset_prepared_path", "optimizer", "special_tokens"),
                *("pretraining_dataset", "lora_r", "lora_target_modules"),
            )
        ),
        {
            "train.epochs": 1,
            "train.schedule": "cosine",
            "train.warmup": 0.03,
            "train.max_length": 512,
        },
        {},
        per_device=1,
    ),
    Tool(
        "TRL",
        frozenset(
            (
                *("model_name_or_path", "dataset_name", "use_peft", "max_length", "lora_r"),
                *("lora_target_modules", "dataset_config", "dataset_train_split", "eos_token"),
                *("dataset_test_split", "assistant_only_loss", "completion_only_loss", "datasets"),
                *("load_in_4bit", "num_train_epochs", "dtype", "torch_dtype"),
            )
        ),
        _TRANSFORMERS | {"train.learning_rate": 2e-5, "train.max_length": 1024},
        {"method.rank": 16, "method.alpha": 32, "method.dropout": 0.05},
    ),
    Tool(
        "Unsloth",
        frozenset(
            (
                *("training", "lora", "logging", "max_seq_length", "training_type", "num_epochs"),
                *("local_dataset", "format_type", "random_seed", "train_on_completions", "r"),
                *("use_loftq", "enable_wandb", "model_name", "model", "data"),
            )
        ),
        {
            "train.epochs": 3,
            "train.schedule": "linear",
            "train.learning_rate": 2e-4,
            "train.max_length": 2048,
            "train.weight_decay": 0.01,
        },
        {
            "method.rank": 64,
            "method.alpha": 16,
            "method.target": [
                *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
            ],
            "model.quantise": "nf4",
        },
        per_device=2,
        accumulation=4,
        warmup_steps=5,
    ),
)

# Keys of unsupported kinds of training, if they are set at all.
_OTHERS: Final = {
    **dict.fromkeys(
        ("reward_funcs", "num_generations", "reward_model", "reward_model_path", "ppo_epochs"),
        "learning from rewards",
    ),
    **dict.fromkeys(
        ("reward_model_name_or_path", "process_reward_model"),
        "reward models and learning from them",
    ),
    **dict.fromkeys(
        ("pref_beta", "pref_loss", "beta", "precompute_ref_log_probs", "desirable_weight"),
        "learning from preferences",
    ),
    "ref_model": "learning from preferences",
    "pretraining_dataset": "plain text that is read as a stream",
    **dict.fromkeys(
        ("processor_type", "image_max_pixels", "video_max_pixels", "image_size", "mm_plugin"),
        "images, videos or sound",
    ),
    **dict.fromkeys(
        ("freeze_vision_tower", "vision_all_linear", "image_dir", "media_dir"),
        "images, videos or sound",
    ),
}
_STAGES = {
    "rm": "reward models",
    "ppo": "learning from rewards (PPO)",
    "dpo": "learning from preferences (DPO)",
    "kto": "learning from preferences (KTO)",
}
_HERE = "brulee tunes on instructions with their answers, or on plain text"


def tool_of(values: Mapping[str, Any], flat: Mapping[str, Any], label: str) -> Tool:
    """The tool that has most of these keys, in sections or `flat`.

    Raises InputError if no tool has any, and for a recipe.
    """
    data = values.get("data")
    ours = isinstance(data, list) or (isinstance(data, dict) and {"source", "tasks"} & data.keys())
    if ours:
        how = f"brulee run {word(label)}"
        raise InputError(f"{label}: this is a recipe already; run it with {how}.")
    counts = [len(tool.marks & {*values, *flat}) for tool in TOOLS]
    if not any(counts):
        names = ", ".join(tool.name for tool in TOOLS[:-1])
        raise InputError(
            f"{label}: none of its keys is known of a configuration of {names} or {TOOLS[-1].name}."
        )
    return TOOLS[counts.index(max(counts))]


def refuse(values: Mapping[str, Any], at: Mapping[str, str]) -> None:
    """Raise InputError for unsupported kinds of training: preferences, rewards, images."""
    stage = values.get("stage")
    if stage not in (None, "sft", "pt"):
        what = _STAGES.get(str(stage), "another kind of training")
        raise InputError(f"{at['stage']}: stage: {stage} is {what}, and {_HERE} (sft, pt).")
    if kind := values.get("rl"):
        raise InputError(
            f"{at['rl']}: rl: {kind} is learning from preferences or rewards, and {_HERE}."
        )
    for key, what in _OTHERS.items():
        if values.get(key):
            raise InputError(f"{at[key]}: {key} is for {what}, and {_HERE}.")
