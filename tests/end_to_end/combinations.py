"""Recipes that together hold many pairs of what a recipe can say, for test_combinations.py.

Tiny models of several families; each recipe trains for a few steps.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

Choice = dict[str, Any]
LORA: dict[str, Any] = {"name": "lora", "rank": 3}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"name": "full"},
    "bias": {"name": "selective", "train": "bias"},
    "norms": {"name": "selective", "train": "norms"},
    "embeddings": {"name": "selective", "train": "embeddings"},
    "last layer": {"name": "selective", "train": "layers", "layers": {"last": 1}},
    "parameters": {"name": "selective", "train": "parameters", "parameters": ["*.1.*"]},
    "magnitude": {"name": "selective", "train": "sparse", "mask": "magnitude", "density": 0.02},
    "fisher": {"name": "selective", "train": "sparse", "density": 0.02, "documents": 3},
    "lora": LORA,
    "lora, dropout": {**LORA, "dropout": 0.2},
    "rslora": {**LORA, "rslora": True},
    "dora": {**LORA, "dora": True, "plus_ratio": 8},
    "pissa": {**LORA, "init": "pissa", "rslora": True},
    "lora of attention": {**LORA, "target": "attention", "layers": [0]},
    "lora of embeddings": {**LORA, "target": ["embeddings", "all-linear"], "plus_ratio": 4},
    "lora of ranks": {**LORA, "ranks": {r".*\.1\..*": 5}, "alphas": {r".*\.0\..*": 3}},
    "houlsby": {"name": "bottleneck", "kind": "houlsby"},
    "pfeiffer": {"name": "bottleneck", "activation": "gelu", "width": 4},
    "parallel": {"name": "bottleneck", "kind": "parallel", "scaling": 2.0},
    "ia3": {"name": "ia3"},
    "prompt": {"name": "prompt", "tokens": 4},
    "prompt from a text": {"name": "prompt", "tokens": 5, "init_text": "Say it short"},
    "prefix": {"name": "prefix", "tokens": 4, "init": "random"},
    "prefix, projected": {"name": "prefix", "tokens": 3, "projection": True, "hidden": 5},
}
# What conftest.py makes, and what differs from its defaults.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {}),
    "gemma": ("gemma", {}),
    "mistral": ("mistral", {}),
    "phi": ("phi", {}),
    "phi3": ("phi3", {}),
    "gpt2": ("gpt2", {}),
    "gpt-neox": ("gpt-neox", {}),
    "t5": ("t5", {}),
    "bart": ("bart", {"max_position_embeddings": 512}),
}
SEQ2SEQ = ("t5", "bart")
FACTORS: dict[str, list[Any]] = {
    "method": list(METHODS),
    "model": list(MODELS),
    "micro_batch": ["auto", 1, 150],
    "batch": [(4, 1), (2, 2), (1, 3), (16, 1)],
    "schedule": [("cosine", 0.05, 0.0), ("linear", 2, 0.1), ("constant", 0, 0.0)],
    "weight_decay": [0.0, 0.1],
    "max_grad_norm": [1.0, None, 0.01],
    "neftune_alpha": [None, None, 5],
    "prompt_loss_weight": [0.0, 0.0, 0.1, 1.0],
    "label_smoothing": [0.0, 0.0, 0.1],
    "length": [{"epochs": 1.5}, {"epochs": 0.4}, {"epochs": 50, "max_steps": 5}],
    "validate_every": [None, 1, 2],
    "best": [(False, None), (True, None), (True, 1)],
    "generate_every": [None, 2],
    "save_every": [None, 1, 2],
    "data": ["rows", "chats", "last answers", "mixture", "shots"],
    "max_length": [256, 100],
    "framing": ["auto", "none"],
    "seed": [0, 7],
    "shuffle": [True, True, False],
}
ROWS = {
    "source": "rows.jsonl",
    "templates": {"prompt": "Sum up: {{ dialogue }}", "completion": "{{ summary }}"},
    "split": {"test": 0.2, "validation": 0.2},
}


def combinations(seed: int, count: int) -> list[Choice]:
    """So many choices, each the one of many draws that holds the most pairs not yet seen."""
    draw, seen, found = random.Random(seed), set[Any](), list[Choice]()
    for _ in range(count):
        drawn = [{key: draw.choice(values) for key, values in FACTORS.items()} for _ in range(60)]
        best = max(filter(_goes_together, drawn), key=lambda c: len(set(_pairs(c)) - seen))
        seen |= set(_pairs(best))
        found.append(best)
    return found


def _pairs(choice: Choice) -> Iterator[Any]:
    return itertools.combinations([(key, repr(value)) for key, value in choice.items()], 2)


def _goes_together(choice: Choice) -> bool:
    """Whether nothing of it is known to be refused."""
    if choice["method"] == "bias" and choice["model"] not in ("phi", "gpt2", "gpt-neox", "bart"):
        return False
    by_prompts = choice["neftune_alpha"] or choice["prompt_loss_weight"]
    return not (by_prompts and choice["model"] in SEQ2SEQ)


def recipe_of(choice: Choice, model: str) -> dict[str, Any]:
    """The recipe of a choice on the model in a folder."""
    schedule, warmup, min_rate = choice["schedule"]
    (batch_size, accumulation), (keep_best, patience) = choice["batch"], choice["best"]
    as_they_are = ("micro_batch", "weight_decay", "max_grad_norm", "neftune_alpha", "seed",
                   "prompt_loss_weight", "label_smoothing", "shuffle")  # fmt: skip
    often = ("validate_every", "generate_every", "save_every", "max_length")
    return {
        "model": {"name": model, "chat_template": choice["framing"]},
        "data": _data(choice),
        "method": METHODS[choice["method"]],
        "train": {
            **{key: choice[key] for key in (*as_they_are, *often)},
            **choice["length"],
            "batch_size": batch_size,
            "accumulation": accumulation,
            "schedule": schedule,
            "warmup": warmup,
            "min_rate": min_rate,
            "keep_best": keep_best,
            "patience": patience,
            "generate_rows": 2,
            "precision": "float32",
        },
        "evaluate": {"metrics": ["rouge"], "generation": {"max_new_tokens": 3}},
    }


def _data(choice: Choice) -> Any:
    turns = "last" if choice["model"] in SEQ2SEQ or choice["data"] == "last answers" else "every"
    chats = {"source": "chats.jsonl", "split": ROWS["split"], "turns": turns}
    mixed = {
        "tasks": [{**ROWS, "name": "a", "weight": 3}, {**chats, "name": "b", "weight": 1}],
        "mix": {"kind": "weights"},
    }
    shots = {**ROWS, "shots": {"count": 2, "share": 0.5}}
    by_name = {"rows": ROWS, "mixture": mixed, "shots": shots}
    return by_name.get(choice["data"], chats)


def chat(i: int) -> str:
    """A line of chats.jsonl."""
    turns = [f"Where is parcel {i}?", f"On its way, number {i}.", "And when?", f"On day {i}."]
    roles = ("user", "assistant") * 2
    said = [{"role": r, "content": t} for r, t in zip(roles, turns, strict=True)]
    return json.dumps({"messages": said}) + "\n"
