"""The input of both sides of versus_trl.py: a model, documents as token ids, training options.

    python benchmarks/versus_jobs.py dialogsum.dev.jsonl dialogsum.ids.json

writes the conversations of a JSONL as token ids of the bundled model's tokenizer, for a machine
without that model: `--data dialogsum.ids.json --model 135m` trains on them there.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shapes import PAIR_SHAPES, SHAPES

HERE = Path(__file__).parent
IDS = ".ids.json"
RATES = {"lora": 1e-3, "full": 1e-4}
ASK = "Summarize the following conversation.\n\n"
FIRST_ID = 8  # random ids begin above a tokenizer's special ones

Document = tuple[Sequence[int], int]  # ids, and how many of the last ones have loss


@dataclass(frozen=True)
class Pair:
    """A training that both sides run.

    `model` is `bundled` or a shape of shapes.py. Documents are conversations, or exactly `tokens`
    random ids, all with loss but the first. `micro_batch` is the maximum of tokens in one of our
    passes; `recompute` and `peer_checkpointing` turn on activation recomputation for us and for the
    peer. The peer's frozen weights are held as `peer_dtype`; the matrix products of a `bf16` pair
    are in bfloat16 on both sides. `graphs` is BRULEE_GRAPHS on our side; only pass sizes that recur
    are captured. `steps` are (all, warm-up) on a GPU. `dropout` is that of an encoder-decoder.
    """

    method: str = "lora"
    bf16: bool = True
    model: str = "bundled"
    batch_size: int = 8
    tokens: int | None = None
    quantise: str | None = None
    micro_batch: int | None = None
    recompute: bool = False
    graphs: str = ""
    steps: tuple[int, int] = (15, 5)
    peer_dtype: str = "float32"
    peer_checkpointing: bool = False
    dropout: float = 0.0


PAIRS = {
    "lora-bf16": Pair(),
    "lora-fp32": Pair(bf16=False),
    "full-bf16": Pair("full"),
    "full-fp32": Pair("full", bf16=False),
    # Encoder-decoders, against transformers' Seq2SeqTrainer (--against seq2seq).
    "t5-lora-bf16": Pair(model="t5"),
    "t5-lora-fp32": Pair(model="t5", bf16=False),
    "t5-full-bf16": Pair("full", model="t5"),
    "t5-lora-bf16-dropout": Pair(model="t5", dropout=0.1),
    "bart-lora-bf16": Pair(model="bart"),
    "bart-lora-fp32": Pair(model="bart", bf16=False),
    "bart-lora-fp32-dropout": Pair(model="bart", bf16=False, dropout=0.1),
    # On one GPU. SFTTrainer holds weights in float32 by default.
    "lora-16": Pair(batch_size=16),
    "lora-64": Pair(batch_size=64),
    "lora-16-graphs": Pair(batch_size=16, graphs="1", steps=(120, 90)),
    "lora-64-graphs": Pair(batch_size=64, graphs="auto", steps=(60, 45)),
    "t5-16": Pair(model="t5", batch_size=16),
    "lora-16-narrow": Pair(batch_size=16, peer_dtype="bfloat16"),
    "lora-1b": Pair(model="1b"),
    "lora-1b-packed": Pair(model="1b", tokens=1024),
    "lora-1b-packed-narrow": Pair(model="1b", tokens=1024, peer_dtype="bfloat16"),
    # Without checkpointing, the peer would keep an estimated 90 GB for 8,192 tokens.
    "qlora-7b-packed": Pair(
        model="7b",
        batch_size=4,
        tokens=2048,
        quantise="nf4",
        recompute=True,
        peer_dtype="bfloat16",
        peer_checkpointing=True,
    ),
}


def changed(pair: Pair, **changes: Any) -> Pair:
    """The same pair with the changes that are not None."""
    return replace(pair, **{name: value for name, value in changes.items() if value is not None})


def job_of(
    pair: Pair, *, steps: int, rank: int, device: str, data: str | None, models: Path, scratch: Path
) -> dict[str, Any]:
    """Everything that a side reads, ready for JSON; `models` is the folder of shapes."""
    count = pair.batch_size * steps
    documents = _conversations(data, count) if pair.tokens is None else _random(pair, count)
    if pair.model in PAIR_SHAPES:
        documents = [(_folded(ids, pair.model), learned) for ids, learned in documents]
    return {
        **asdict(pair),
        "model": str(_folder(pair.model, models, device)),
        "documents": documents,
        "steps": steps,
        "rank": rank,
        "learning_rate": RATES[pair.method],
        "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
        "device": device,
        "scratch": str(scratch),
        # The initial adapter of both sides, written by ours, which runs first.
        "adapter": str(scratch / "start") if pair.method == "lora" else None,
    }


def _folded(ids: Sequence[int], model: str) -> list[int]:
    """Map ids of the bundled tokenizer into a smaller vocabulary, avoiding special ids."""
    most = PAIR_SHAPES[model]["vocab_size"] - FIRST_ID
    return [FIRST_ID + token % most for token in ids]


def told(pair: Pair, data: str | None) -> str:
    """A description of a pair's documents, for the result file."""
    if pair.tokens is not None:
        return f"{pair.tokens} random ids each"
    return Path(data).name if data else "bundled/support-chats"


def random_documents(count: int, tokens: int, vocabulary: int) -> list[Document]:
    """`count` documents of exactly `tokens` ids, all with loss but the first; deterministic."""
    draw = random.Random(0)
    ids = range(FIRST_ID, vocabulary)
    return [(draw.choices(ids, k=tokens), tokens - 1) for _ in range(count)]


def _random(pair: Pair, count: int) -> list[Document]:
    if pair.model not in SHAPES:
        sys.exit(f"random ids are for a shape ({', '.join(SHAPES)}), not for {pair.model!r}")
    assert pair.tokens is not None
    return random_documents(count, pair.tokens, SHAPES[pair.model]["vocab_size"])


def _conversations(data: str | None, count: int) -> list[Document]:
    """Documents of the file's rows in order, repeated if there are too few."""
    if data and data.endswith(IDS):
        known = json.loads(Path(data).read_text())
        return [(ids, learned) for ids, learned in (known[i % len(known)] for i in range(count))]
    from transformers import AutoTokenizer

    from brulee.data.encoding import Encoder
    from brulee.data.sources import open_source
    from brulee.models.bundled import bundled_folder

    rows = open_source(data or "bundled/support-chats")
    encoder = Encoder(AutoTokenizer.from_pretrained(bundled_folder()))
    found = (rows[i % len(rows)] for i in range(count))
    encoded = (encoder.encode(ASK + row["dialogue"], row["summary"]) for row in found)
    return [(document.ids, document.learned) for document in encoded]


def write_ids(data: str, file: Path) -> None:
    """Write all conversations of a JSONL as token ids."""
    from brulee.data.sources import open_source

    if not file.name.endswith(IDS):
        sys.exit(f"{file}: the name has to end in {IDS}")
    file.write_text(json.dumps(_conversations(data, len(open_source(data)))))


def _folder(model: str, models: Path, device: str) -> Path:
    """The folder of a model; a shape is written first if it does not exist."""
    from brulee.models.bundled import bundled_folder

    if model == "bundled":
        return bundled_folder()
    folder = models / model
    # In a separate process, so that its GPU memory is freed.
    command = [sys.executable, str(HERE / "shapes.py"), model, str(folder), "--device", device]
    subprocess.run(command, check=True)
    return folder


if __name__ == "__main__":
    write_ids(sys.argv[1], Path(sys.argv[2]))
