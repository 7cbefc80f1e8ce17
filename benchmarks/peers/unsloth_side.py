"""Unsloth's side of versus_trl.py: FastLanguageModel and its LoRA, trained by trl's SFTTrainer.

Unsloth puts its own kernels into the model and its own steps into the trainer, and omits padding if
`padding_free` is unset, as here. This file has not run on a GPU yet: it was written from the
sources of Unsloth 2026.10.9 and tried without one, where Unsloth falls back to transformers and
PEFT.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

# Unsloth's generated code goes next to the job, not into the working directory.
os.environ["UNSLOTH_COMPILE_LOCATION"] = str(Path(sys.argv[1]).parent / "unsloth")

import unsloth  # isort: skip  # patches transformers, PEFT and TRL, so it must come first

import peft
import torch
from safetensors.torch import load_file
from sft import job, train

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def load(job: dict[str, Any]) -> tuple[Any, Any]:
    """The job's model with Unsloth's LoRA on it, and the tokenizer."""
    assert job["method"] == "lora", "only LoRA is compared with Unsloth"
    assert job["bf16"], "Unsloth's kernels are for weights in 16 bits"
    checkpointing = "unsloth" if job["peer_checkpointing"] else False
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        model_name=job["model"],
        max_seq_length=max(len(ids) for ids, _ in job["documents"]),
        dtype=torch.bfloat16,
        load_in_4bit=job["quantise"] == "nf4",
        use_gradient_checkpointing=checkpointing,
        use_exact_model_name=True,
        offload_embedding=False,
        local_files_only=True,
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        r=job["rank"],
        lora_alpha=2 * job["rank"],
        target_modules=TARGETS,
        lora_dropout=0,
        bias="none",
        use_gradient_checkpointing=checkpointing,
    )
    begin_with(model, Path(job["adapter"]))
    return model, tokenizer


def begin_with(model: Any, folder: Path) -> None:
    """Load the adapter's weights, and check that they are exactly the model's."""
    given = load_file(folder / "adapter_model.safetensors")
    peft.set_peft_model_state_dict(model, given)
    own = peft.get_peft_model_state_dict(model)
    assert own.keys() == given.keys(), "another set of adapters"
    for key, tensor in given.items():
        assert torch.equal(own[key].cpu(), tensor.to(own[key].dtype)), key


def main() -> None:
    given = job()
    train(*load(given), given, "unsloth", "unsloth_zoo", "peft")


if __name__ == "__main__":
    main()
