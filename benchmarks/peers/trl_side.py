"""TRL's side of versus_trl.py: SFTTrainer on token ids, with PEFT if an adapter is given."""

from __future__ import annotations

from typing import Any

import peft
import torch
import transformers
from sft import job, train


def load(job: dict[str, Any]) -> Any:
    """The job's model with its adapter; four-bit weights are quantised as in the QLoRA paper."""
    dtype, more = getattr(torch, job["peer_dtype"]), {}
    if job["quantise"]:
        more["device_map"] = {"": job["device"]}
        more["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=job["quantise"],
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype, **more)
    if job["adapter"]:
        model = peft.PeftModel.from_pretrained(model, job["adapter"], is_trainable=True)
    return model


def main() -> None:
    given = job()
    tokenizer = transformers.AutoTokenizer.from_pretrained(given["model"])
    packages = ("peft", "bitsandbytes") if given["quantise"] else ("peft",)
    train(load(given), tokenizer, given, *packages)


if __name__ == "__main__":
    main()
