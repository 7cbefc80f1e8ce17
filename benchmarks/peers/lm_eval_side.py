"""lm-evaluation-harness's side of versus_lm_eval.py: its own HF backend on the given strings."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

job = json.loads(Path(sys.argv[1]).read_text())
torch.set_num_threads(job["threads"])
model = HFLM(
    pretrained=job["model"], device="cpu", dtype="float32", batch_size=job["batch_size"],
    max_length=job["max_length"],
)  # fmt: skip
found: list[object]
if job["kind"] == "loglikelihood":
    pairs = [(item["context"], choice) for item in job["items"] for choice in item["choices"]]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    found = [p for p, _ in model.loglikelihood(requests, disable_tqdm=True)]
else:
    how = {"until": job["stop"], "max_gen_toks": job["max_new_tokens"], "do_sample": False}
    requests = [
        Instance("generate_until", {}, (item["context"], dict(how)), i)
        for i, item in enumerate(job["items"])
    ]
    found = list(model.generate_until(requests, disable_tqdm=True))
print(json.dumps({"found": found, "versions": {n: version(n) for n in ("lm_eval", "torch")}}))
