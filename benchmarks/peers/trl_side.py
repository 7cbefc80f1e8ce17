"""TRL's side of versus_trl.py: SFTTrainer, with PEFT where an adapter is given, on token ids."""

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
if job["adapter"]:
    model = peft.PeftModel.from_pretrained(model, job["adapter"], is_trainable=True)
rows = [
    {"input_ids": ids, "labels": [-100] * (len(ids) - learned) + ids[len(ids) - learned :]}
    for ids, learned in job["documents"]
]
cuda = torch.cuda.is_available()
arguments = trl.SFTConfig(
    output_dir=job["scratch"],
    per_device_train_batch_size=job["batch_size"],
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
    use_cpu=not cuda,
    disable_tqdm=True,
    train_sampling_strategy="sequential",
)
times: list[float] = []


class Clock(transformers.TrainerCallback):
    def on_step_begin(self, *_: object, **__: object) -> None:
        times.append(-time.perf_counter())

    def on_step_end(self, *_: object, **__: object) -> None:
        if cuda:
            torch.cuda.synchronize()
        times[-1] += time.perf_counter()


def peak_bytes() -> int:
    if cuda:
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


trainer = trl.SFTTrainer(
    model=model,
    args=arguments,
    train_dataset=Dataset.from_list(rows),
    processing_class=tokenizer,
    callbacks=[Clock()],
)
if not cuda:
    Path("/proc/self/clear_refs").write_text("5")
trainer.train()
history = [entry for entry in trainer.state.log_history if "loss" in entry]
size = job["batch_size"]
lengths = [len(ids) for ids, _ in job["documents"][: size * job["steps"]]]
print(
    json.dumps(
        {
            "seconds": times,
            "losses": [entry["loss"] for entry in history],
            "grad_norms": [float(entry["grad_norm"]) for entry in history],
            "tokens": [sum(lengths[at : at + size]) for at in range(0, len(lengths), size)],
            "peak_memory_bytes": peak_bytes(),
            "versions": {
                "trl": trl.__version__,
                "peft": peft.__version__,
                "transformers": transformers.__version__,
                "torch": torch.__version__,
            },
        }
    )
)
