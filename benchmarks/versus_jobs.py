"""What both sides of versus_trl.py are given: a model, documents as token ids, how to train.

    python benchmarks/versus_jobs.py dialogsum.dev.jsonl dialogsum.ids.json

writes the conversations of a JSONL as token ids, for a machine without the bundled model, whose
tokenizer makes them: `--data dialogsum.ids.json --model 135m` trains on them there.
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
FIRST_ID = 8  # random ids begin above those that a tokenizer keeps for itself

Document = tuple[Sequence[int], int]  # its ids, and how many of them, at its end, are learned


@dataclass(frozen=True)
class Pair:
    """A training that both sides run.

    `model` is `bundled` or a shape of shapes.py. Documents are conversations, or of exactly
    `tokens` random ids, all of them learned but the first. `micro_batch` is the most tokens of one
    of our passes; `recompute` and `peer_checkpointing` have us and the peer compute activations
    again. The peer's frozen weights are held as `peer_dtype`; the products of a `bf16` pair are in
    bfloat16 on both sides. `graphs` is what BRULEE_GRAPHS says on our side; sizes of passes have to
    come again to be recorded. `steps` are how many on a GPU, and how many of them warm up.
    `dropout` is that of an encoder-decoder.
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
    # Encoder-decoders, beside transformers' Seq2SeqTrainer (--against seq2seq).
    "t5-lora-bf16": Pair(model="t5"),
    "t5-lora-fp32": Pair(model="t5", bf16=False),
    "t5-full-bf16": Pair("full", model="t5"),
    "t5-lora-bf16-dropout": Pair(model="t5", dropout=0.1),
    "bart-lora-bf16": Pair(model="bart"),
    "bart-lora-fp32": Pair(model="bart", bf16=False),
    "bart-lora-fp32-dropout": Pair(model="bart", bf16=False, dropout=0.1),
    # On one GPU. SFTTrainer holds weights in float32 unless it is told otherwise.
    "lora-16": Pair(batch_size=16),
    "lora-64": Pair(batch_size=64),
    "lora-16-graphs": Pair(batch_size=16, graphs="1", steps=(120, 90)),
    "lora-64-graphs": Pair(batch_size=64, graphs="auto", steps=(60, 45)),
    "t5-16": Pair(model="t5", batch_size=16),
    "lora-16-narrow": Pair(batch_size=16, peer_dtype="bfloat16"),
    "lora-1b": Pair(model="1b"),
    "lora-1b-packed": Pair(model="1b", tokens=1024),
    "lora-1b-packed-narrow": Pair(model="1b", tokens=1024, peer_dtype="bfloat16"),
    # By count the peer would keep some 90 GB of 8,192 tokens without checkpointing.
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
    """The same pair but for what is given and not None."""
    return replace(pair, **{name: value for name, value in changes.items() if value is not None})


def job_of(
    pair: Pair, *, steps: int, rank: int, device: str, data: str | None, models: Path, scratch: Path
) -> dict[str, Any]:
    """Everything that a side reads, for JSON; `models` is where shapes are kept."""
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
        # Written by our side, which is the first to run: both begin with it.
        "adapter": str(scratch / "start") if pair.method == "lora" else None,
    }


def _folded(ids: Sequence[int], model: str) -> list[int]:
    """Ids of the bundled tokenizer within a smaller vocabulary, none of them a special one."""
    most = PAIR_SHAPES[model]["vocab_size"] - FIRST_ID
    return [FIRST_ID + token % most for token in ids]


def told(pair: Pair, data: str | None) -> str:
    """What the documents of a pair are, for the result file."""
    if pair.tokens is not None:
        return f"{pair.tokens} random ids each"
    return Path(data).name if data else "bundled/support-chats"


def random_documents(count: int, tokens: int, vocabulary: int) -> list[Document]:
    """So many documents of exactly so many ids, all learned but the first; always the same."""
    draw = random.Random(0)
    ids = range(FIRST_ID, vocabulary)
    return [(draw.choices(ids, k=tokens), tokens - 1) for _ in range(count)]


def _random(pair: Pair, count: int) -> list[Document]:
    if pair.model not in SHAPES:
        sys.exit(f"random ids are for a shape ({', '.join(SHAPES)}), not for {pair.model!r}")
    assert pair.tokens is not None
    return random_documents(count, pair.tokens, SHAPES[pair.model]["vocab_size"])


def _conversations(data: str | None, count: int) -> list[Document]:
    """Documents of the file's rows in its order, begun again where there are too few."""
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
    """All conversations of a JSONL as token ids."""
    from brulee.data.sources import open_source

    if not file.name.endswith(IDS):
        sys.exit(f"{file}: the name has to end in {IDS}")
    file.write_text(json.dumps(_conversations(data, len(open_source(data)))))


def _folder(model: str, models: Path, device: str) -> Path:
    """The folder of a model, a shape's written where it is not there yet."""
    from brulee.models.bundled import bundled_folder

    if model == "bundled":
        return bundled_folder()
    folder = models / model
    # In a process of its own, whose memory on a GPU is given back.
    command = [sys.executable, str(HERE / "shapes.py"), model, str(folder), "--device", device]
    subprocess.run(command, check=True)
    return folder


if __name__ == "__main__":
    write_ids(sys.argv[1], Path(sys.argv[2]))
