"""What each of several processes does in test_several.py; started by torchrun, or else forked.

    several.py MODEL FOLDER CASE...      CASE: METHOD[:halt=STEP][:go=on][:decay=WEIGHT]
                                               [:model=NAME][:target=T]
                                               [:count=DOCUMENTS][:pass=DOCUMENTS]
                                               [:look=STEPS][:by=OPTIMIZER]
                                               [:prompts=WEIGHT][:refused=WORDS]
                                               [:sharded=yes]

NAME is a folder in MODEL instead of that, T what a LoRA is put on. A count is read once instead of
11 documents twice; a pass has two documents or as many as are given, a step four. After so many
steps the model is looked at, past the loss that training calls, and fails before that inside a
layer. Of a model that is refused, all processes say these words. Weights are sharded from such a
case on, as if the environment had said so.

A case trains in FOLDER/CASE, where the first process writes; the others are given a folder that
nobody may make. What each process read goes to FOLDER/CASE-RANK.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from brulee.data.encoded import with_prompts
from brulee.data.encoding import Encoded
from brulee.errors import InputError, StoppedError
from brulee.methods import build_method
from brulee.models.hollow import Together
from brulee.models.loading import load_base
from brulee.planning.shares import shares_of
from brulee.recipe import MethodSpec, TrainSpec
from brulee.training.documents import Document
from brulee.training.trainer import Glimpse, Trainer
from brulee.training.world import ALONE, SHARDS, World, joined

COUNT, EPOCHS = 11, 2
_LONGEST = 600  # seconds, after which a process that waits for another one is killed


def documents() -> list[Encoded]:
    """Of unequal length, so that a mean of means is something else than the mean."""
    draw = random.Random(5)
    sizes = [(draw.randrange(2, 20), draw.randrange(1, 20)) for _ in range(COUNT)]
    made = [(tuple(draw.randrange(5, 300) for _ in range(p + c)), c) for p, c in sizes]
    return [Encoded.ending(ids, learned) for ids, learned in made]


def train(case: str, model: Path, folder: Path, world: World = ALONE) -> list[int]:
    """Train a case; returns the documents that this process read, in order."""
    method, *rest = case.split(":")
    options = dict(option.split("=") for option in rest)
    name, cpu = str(model / options.get("model", "")), torch.device("cpu")
    together = Together(world.writes, world.same) if world.shards else None
    base = load_base(name, torch.float32, cpu, together=together)
    on = {"target": options["target"]} if "target" in options else {}
    decay, prompts = (float(options.get(key, 0)) for key in ("decay", "prompts"))
    count, most = int(options.get("count", COUNT)), int(options.get("pass", 2))
    spec = TrainSpec.model_validate(
        {"optimizer": options.get("by", "adamw")}
        | {
            "batch_size": most,
            "accumulation": 4 // most,
            "epochs": 1.0 if "count" in options else float(EPOCHS),
            "save_every": 2,
            "weight_decay": decay,
            "generate_every": int(options["look"]) if "look" in options else None,
        }
    )
    held, read = documents(), []

    def document(i: int) -> Document:
        read.append(i)
        if world.writes and i == 4 * int(options.get("halt", 99)) - 4:
            signal.raise_signal(signal.SIGTERM)
        return Document(f"row {i}", with_prompts(held[i % COUNT], prompts, 0))

    def look() -> Glimpse:
        ids = torch.tensor([held[0].ids])
        with torch.no_grad():
            fail_within(base.model, ids)
            logits = base.model(ids).logits
        return Glimpse({"spread": float(logits.std())}, [])

    attached = build_method(MethodSpec(name=method, **on)).attach(base.model)
    shares = shares_of(base.model, attached.replicated(), world.size)
    to_train = partial(
        Trainer,
        base,
        attached,
        document,
        count,
        spec,
        learning_rate=1e-3,
        folder=folder if world.writes or "go" in options else folder / "nobody" / "may",
        validation=held[:3],
        world=world,
        glimpse=look if "look" in options else None,
    )
    if "refused" in options:
        with pytest.raises(InputError, match=options["refused"]):
            to_train()
        return read
    trainer = to_train()
    if world.shards:
        own = {id(p) for p in attached.replicated()}
        assert all(isinstance(p, DTensor) != (id(p) in own) for p in base.model.parameters())
        here = [p.to_local() if isinstance(p, DTensor) else p for p in base.model.parameters()]
        here += attached.replicated()
        sizes = {tensor.data_ptr(): tensor.untyped_storage().nbytes() for tensor in here}
        assert sum(sizes.values()) == shares.held
        apart = sum(4 * p.numel() for p in attached.replicated())
        assert shares.held - apart < 0.6 * (shares.whole - apart)
    try:
        trainer.train()
    except StoppedError:
        assert "halt" in options
    return read


def fail_within(model: PreTrainedModel, ids: torch.Tensor) -> None:
    """Run a model and have it fail inside a layer, as it may in a trial of padding."""

    def refuses(*_: object) -> None:
        raise ValueError("no padding")

    layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
    hook = next(layers[1].children()).register_forward_pre_hook(refuses)
    with contextlib.suppress(ValueError):
        model(ids)
    hook.remove()


def become(count: int, patient: bool = False) -> None:
    """Go on as each of so many processes, named as torchrun names them.

    They share what was imported, which takes longer than what they do. If one fails, the others
    are killed, unless it is `patient`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    os.environ |= {**place, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    started = []
    for rank in range(count):
        process = os.fork()
        if process == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            signal.alarm(_LONGEST)
            return
        started.append(process)
    while started:
        process, status = os.wait()
        started.remove(process)
        if status and not patient:
            for other in started:
                os.kill(other, signal.SIGKILL)
            sys.exit(f"a process ended with {status}")
    sys.exit(0)


def main() -> None:
    if "WORLD_SIZE" not in os.environ:
        become(2)
    torch.set_num_threads(1)
    model, root = Path(sys.argv[1]), Path(sys.argv[2])
    for case in sys.argv[3:]:
        sharded = ":sharded=yes" in case
        if sharded:
            os.environ[SHARDS] = "true"
        with joined("cpu") as world:  # as each training does for itself
            assert world.shards or not sharded
            folder = root / case.split(":go")[0]
            if world.writes:
                folder.mkdir(exist_ok=True)
            world.wait()
            read = train(case, model, folder, world)
            (root / f"{case}-{world.rank}.json").write_text(json.dumps(read))


if __name__ == "__main__":
    main()
