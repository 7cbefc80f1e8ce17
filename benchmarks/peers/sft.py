"""Shared by the peers of versus_trl.py: trl's SFTTrainer on the job's token ids, timed per step.

Unsloth patches trl on import, so its side must import Unsloth before this file.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from usage import usage


def job() -> dict[str, Any]:
    """The job in the file named on the command line; exits if its device is not available."""
    found = json.loads(Path(sys.argv[1]).read_text())
    assert found["device"] == "cpu" or torch.cuda.is_available(), "no GPU here"
    torch.set_num_threads(found["threads"])
    return found


class Clock(transformers.TrainerCallback):
    """Records the seconds of every step, synchronised with the device."""

    def __init__(self, cuda: bool) -> None:
        self.cuda, self.times = cuda, []

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.times.append(-time.perf_counter())

    def on_step_end(self, *_: object, **__: object) -> None:
        if self.cuda:
            torch.cuda.synchronize()
        self.times[-1] += time.perf_counter()


def train(model: Any, tokenizer: Any, job: dict[str, Any], *packages: str) -> None:
    """Run the job's training and write its report, with the versions of these packages."""
    cuda = job["device"] == "cuda"
    clock = Clock(cuda)
    trainer = trl.SFTTrainer(
        model=model,
        args=arguments(job),
        train_dataset=Dataset.from_list([row(*document) for document in job["documents"]]),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    reset_peak(cuda)
    before = usage()
    trainer.train()
    finish(trainer, clock, job, usage(before), (*packages, "trl"))


def finish(
    trainer: Any, clock: Clock, job: dict[str, Any], used: dict[str, Any], packages: tuple[str, ...]
) -> None:
    """Write the report of a finished training."""
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    size = job["batch_size"]
    lengths = [len(ids) for ids, _ in job["documents"][: size * job["steps"]]]
    found = {
        "seconds": clock.times,
        "losses": [entry["loss"] for entry in history],
        "grad_norms": [float(entry["grad_norm"]) for entry in history],
        "tokens": [sum(lengths[at : at + size]) for at in range(0, len(lengths), size)],
        **peaks(clock.cuda),
        "usage": used,
        "versions": {name: version(name) for name in (*packages, "transformers", "torch")},
    }
    Path(job["report"]).write_text(json.dumps(found))


def row(ids: list[int], learned: int) -> dict[str, list[int]]:
    """A document in the trainer's format: with a mask, from which it builds the labels itself.

    Given labels, Unsloth's trainer would replace its own collator by one that pads.
    """
    return {"input_ids": ids, "completion_mask": [0] * (len(ids) - learned) + [1] * learned}


def arguments(job: dict[str, Any]) -> trl.SFTConfig:
    return trl.SFTConfig(
        **settings(job),
        max_length=max(len(ids) for ids, _ in job["documents"]),
        completion_only_loss=True,
    )


def settings(job: dict[str, Any]) -> dict[str, Any]:
    """The arguments common to all transformers trainers."""
    return {
        "output_dir": job["scratch"],
        "per_device_train_batch_size": job["batch_size"],
        "gradient_accumulation_steps": 1,
        "max_steps": job["steps"],
        "learning_rate": job["learning_rate"],
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "optim": "adamw_torch_fused",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "gradient_checkpointing": job["peer_checkpointing"],
        "bf16": job["bf16"],
        "use_cpu": job["device"] == "cpu",
        "disable_tqdm": True,
        "train_sampling_strategy": "sequential",
    }


def reset_peak(cuda: bool) -> None:
    """Exclude the memory of loading from the peak, as on our side."""
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peaks(cuda: bool) -> dict[str, int]:
    if cuda:
        return {
            "peak_memory_bytes": torch.cuda.max_memory_allocated(),
            "peak_reserved_bytes": torch.cuda.max_memory_reserved(),
        }
    lines = Path("/proc/self/status").read_text().splitlines()
    held = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return {"peak_memory_bytes": held}
