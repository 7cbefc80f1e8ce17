"""TRL's side of versus_trl.py: SFTTrainer with PEFT on the documents given, one step an epoch."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import peft
import torch
import transformers
import trl
from datasets import Dataset

job = json.loads(Path(sys.argv[1]).read_text())
torch.set_num_threads(job["threads"])
tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"])
model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
rows = [
    {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }
    for prompt, completion in job["documents"]
]
arguments = trl.SFTConfig(
    output_dir=job["scratch"],
    per_device_train_batch_size=len(rows),
    max_steps=job["steps"],
    learning_rate=job["learning_rate"],
    lr_scheduler_type="constant",
    warmup_steps=0,
    weight_decay=0.0,
    max_grad_norm=1.0,
    logging_steps=1,
    save_strategy="no",
    report_to=[],
    max_length=1024,
    gradient_checkpointing=False,
    bf16=job["bf16"],
    use_cpu=True,
    disable_tqdm=True,
)
lora = peft.LoraConfig(
    r=job["rank"], lora_alpha=job["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
)
times: list[float] = []


class Clock(transformers.TrainerCallback):
    def on_step_begin(self, *_: object, **__: object) -> None:
        times.append(-time.perf_counter())

    def on_step_end(self, *_: object, **__: object) -> None:
        times[-1] += time.perf_counter()


trainer = trl.SFTTrainer(
    model=model,
    args=arguments,
    train_dataset=Dataset.from_list(rows),
    processing_class=tokenizer,
    peft_config=lora,
    callbacks=[Clock()],
)
Path("/proc/self/clear_refs").write_text("5")
trainer.train()
peak = next(
    int(line.split()[1]) * 1024
    for line in Path("/proc/self/status").read_text().splitlines()
    if line.startswith("VmHWM:")
)
history = [entry for entry in trainer.state.log_history if "loss" in entry]
print(
    json.dumps(
        {
            "seconds": times,
            "losses": [entry["loss"] for entry in history],
            "grad_norms": [entry["grad_norm"] for entry in history],
            "tokens": sum(len(row["input_ids"]) for row in trainer.train_dataset),
            "peak_memory_bytes": peak,
            "versions": {
                "trl": trl.__version__,
                "peft": peft.__version__,
                "transformers": transformers.__version__,
                "torch": torch.__version__,
            },
        }
    )
)
