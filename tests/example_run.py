"""A synthetic run folder that looks like a real one, for tests of the report."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

from brulee.reporting import results as r
from brulee.reporting.verdict import with_verdict

TASK = "support-chats/test"
_TOPICS = (
    ("a parcel that never arrived", "sent a new one by express", "the tracking page"),
    ("a double charge on the March invoice", "refunded 24.90 euros", "the bank statement"),
    ("a login code that is not accepted", "reset the second factor", "an old phone number"),
    ("a broken coffee grinder", "offered a repair or a replacement", "the warranty card"),
    ("a subscription that could not be cancelled", "cancelled it on the spot", "the app"),
)


def make(folder: Path) -> Path:
    """Write the whole folder and return it."""
    chance = random.Random(7)
    (folder / "eval").mkdir(parents=True)
    r.write(results(), folder)
    _write_lines(folder / "events.jsonl", _events(chance))
    items = [_item(i, chance) for i in range(30)]
    for who in ("base", "tuned"):
        _write_lines(folder / "eval" / who / "support-chats/test.jsonl", [i[who] for i in items])
    (folder / "recipe.yaml").write_text(
        "name: support-lora\nmodel: {name: bundled}\nmethod: {name: lora, rank: 8}\n"
    )
    (folder / "manifest.json").write_text(json.dumps({"seed": 0, "data": "sha256:12ab"}, indent=2))
    return folder


def results() -> r.Results:
    """Numbers of a run that gained on its task, kept one guard, lost some of another."""
    rows = (
        ("rouge1", 0.312, 0.451, 0.139, 0.098, 0.180, 0.0001, 24, 4, 2),
        ("rouge2", 0.094, 0.207, 0.113, 0.071, 0.156, 0.0001, 22, 5, 3),
        ("rougeL", 0.231, 0.362, 0.131, 0.088, 0.174, 0.0001, 23, 5, 2),
        ("bleu", 0.041, 0.060, 0.019, -0.006, 0.045, 0.142, 15, 11, 4),
    )
    scores, comparisons = [], []
    for metric, base, tuned, difference, low, high, p, wins, losses, ties in rows:
        for who, value in (("base", base), ("tuned", tuned)):
            scores.append(
                r.Score(
                    who="base" if who == "base" else "tuned", task=TASK, metric=metric,
                    value=value, low=value * 0.86, high=value * 1.13, n=30,
                )
            )  # fmt: skip
        comparisons.append(
            r.Comparison(
                task=TASK, metric=metric, base=base, tuned=tuned, difference=difference, low=low,
                high=high, p=p, wins=wins, losses=losses, ties=ties, minimum_detectable=0.058,
            )
        )  # fmt: skip
    return with_verdict(
        r.Results(
            run="support-lora-r8",
            base=r.Base(name="SmolLM2-135M-Instruct", digest="sha256:4c1f"),
            method=r.Method.model_validate(
                {"name": "lora", "label": "LoRA r8", "rank": 8, "alpha": 16}
            ),
            scores=tuple(scores),
            comparisons=tuple(comparisons),
            forgetting=(
                _guard("common-knowledge", "accuracy", 0.540, -0.012, -0.052, 0.028),
                _guard("arithmetic", "exact_match", 0.420, -0.095, -0.151, -0.040),
                _guard("world-capitals", "accuracy", 0.810, 0.003, -0.013, 0.018),
            ),
            cost=r.Cost.model_validate(
                {
                    "trainable_parameters": 2_442_240, "total_parameters": 136_957_248,
                    "adapter_bytes": 9_786_512, "peak_memory_bytes": 2_143_289_344,
                    "train_seconds": 250.3, "train_tokens": 418_220, "tokens_per_second": 1671.0,
                    "evaluation_seconds": 96.4, "steps": 120,
                }
            ),
            training=r.Training(
                steps=120, planned_steps=150, kept_step=90, stopped_early=True, best_step=90,
                best_validation_loss=1.2753, loss_spikes=1,
            ),
            lengths=(
                r.Lengths(who="base", task=TASK, mean_words=61.2, ratio_to_reference=2.31),
                r.Lengths(who="tuned", task=TASK, mean_words=27.8, ratio_to_reference=1.05),
            ),
            signatures={"bleu": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.5.1"},
            environment=r.Environment(
                versions={"brulee": "0.1.0", "torch": "2.13.0"}, machine={"cpu": "2 cores"}
            ),
        )
    )  # fmt: skip


def _guard(
    task: str, metric: str, base: float, difference: float, low: float, high: float
) -> r.Forgetting:
    p = 0.01 if high < 0 else 0.5
    return r.Forgetting(
        task=task, metric=metric, base=base, tuned=base + difference, difference=difference,
        low=low, high=high, p=p, kept=r.outcome(low, high, p),
    )  # fmt: skip


def _events(chance: random.Random) -> list[dict[str, object]]:
    events: list[dict[str, object]] = []
    for step in range(1, 121):
        loss = 1.15 + 1.6 * math.exp(-step / 22) + chance.gauss(0, 0.11)
        events.append(
            {
                "event": "step", "step": step, "loss": loss, "grad_norm": 0.8, "lr": 1e-3,
                "tokens": 3485, "tokens_per_s": 1671.0, "memory_bytes": 2_143_289_344,
                "seconds": 2.1,
            }
        )  # fmt: skip
        if step % 30 == 0:
            value = 1.24 + 1.5 * math.exp(-step / 24)
            events.append({"event": "validation", "step": step, "loss": value})
        if step % 10 == 0:
            events.append(_completions(step, chance))
    return events


def _completions(step: int, chance: random.Random) -> dict[str, object]:
    samples = [
        {"prompt": item["base"]["prompt"], "output": f"{item['tuned']['output']} ({step})",
         "reference": f"The customer reported {_TOPICS[i][0]}."}
        for i, item in enumerate(_item(i, chance) for i in range(2))
    ]  # fmt: skip
    scores = {"rouge1": 0.2 + step / 500, "bleu": step / 3000}
    return {"event": "completions", "step": step, "scores": scores, "samples": samples}


def _item(i: int, chance: random.Random) -> dict[str, dict[str, object]]:
    problem, remedy, place = _TOPICS[i % len(_TOPICS)]
    chat = [
        f"Customer: Hello, I am writing about {problem}.",
        "Agent: I am sorry to hear that. Could you give me your order number?",
        f"Customer: It is 20{i:02d}-77. I already looked at {place}, it says nothing useful.",
    ] + ["Agent: Thank you, one moment please.", "Customer: Sure."] * (1 + 3 * (i % 3))
    prompt = "\n".join(["Summarise this support chat in one or two sentences.", "", *chat])
    reference = f"The customer reported {problem}. The agent {remedy}."
    before = (
        f"The conversation is between a customer and a support agent. The customer writes about "
        f"{problem} and mentions {place}. The agent asks for the order number and says that they "
        "are sorry. In summary, the customer needs help and the agent is helping the customer."
    )
    after = f"The customer wrote about {problem}; the agent {remedy} after checking {place}."
    base = 0.30 + chance.gauss(0, 0.05)
    tuned = base + chance.gauss(0.13, 0.12)
    common = {"id": f"chat-{i:04d}", "task": TASK, "prompt": prompt, "references": [reference]}
    return {
        "base": {**common, "output": before, "scores": {"rouge1": base}, "tokens": 71},
        "tuned": {**common, "output": after, "scores": {"rouge1": tuned}, "tokens": 33},
    }


def _write_lines(file: Path, lines: list[dict[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def phrasings() -> r.Phrasings:
    """ROUGE-1 under twelve phrasings that lie apart before and close together after."""
    chance = random.Random(3)
    before, after = (
        tuple(centre + chance.gauss(0, apart) for _ in range(12))
        for centre, apart in ((0.312, 0.07), (0.451, 0.012))
    )
    return r.Phrasings(
        task=TASK, metric="rouge1", names=tuple(f"wording-{i}" for i in range(12)),
        base=r.Spread(scores=before, deviation=0.067, spread=0.06),
        tuned=r.Spread(scores=after, deviation=0.011, spread=0.004),
        difference=-0.056, low=-0.083, high=-0.031, p=0.0005,
    )  # fmt: skip
