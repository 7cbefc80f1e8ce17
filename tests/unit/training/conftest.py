"""A trainer over tiny documents of unequal length."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brulee.data.encoding import Encoded
from brulee.methods import Attached, build_method
from brulee.models.loading import Base
from brulee.recipe import MethodSpec, TrainSpec
from brulee.training.documents import Document
from brulee.training.recorder import OpenTrackers
from brulee.training.trainer import Glimpse, Trainer

COUNT = 10


@pytest.fixture(scope="session")
def documents() -> list[Encoded]:
    """Ten, of 3 to 40 tokens, of which 1 to 20 are learned."""
    draw = random.Random(5)
    shapes = [(draw.randrange(2, 20), draw.randrange(1, 20)) for _ in range(COUNT)]
    sizes = [(p + c, c) for p, c in shapes]
    return [Encoded.ending(tuple(draw.randrange(5, 300) for _ in range(n)), c) for n, c in sizes]


@pytest.fixture
def make_trainer(make_trainer_in: Callable[..., Trainer], tmp_path: Path) -> Callable[..., Trainer]:
    """`make_trainer("llama", method="lora", options={}, folder=..., **train)`: a fresh base, all
    of it always from the same values."""

    def make(*name: str, folder: Path = tmp_path, **more: Any) -> Trainer:
        return make_trainer_in(*name, folder=folder, **more)

    return make


@pytest.fixture(scope="session")
def make_trainer_in(
    make_base: Callable[..., Base], documents: list[Encoded]
) -> Callable[..., Trainer]:
    """The same where no test is running: the folder has to be given."""

    def make(
        name: str = "llama",
        *,
        folder: Path,
        method: str = "lora",
        options: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        document: Callable[[int], Document] | None = None,
        validation: tuple[Encoded, ...] = (),
        autocast: bool = False,
        rate: float = 1e-2,
        trackers: OpenTrackers | None = None,
        glimpse: Callable[[], Glimpse] | None = None,
        **train: Any,
    ) -> Trainer:
        base = make_base(name, **(config or {}))
        spec = TrainSpec(**{"batch_size": 2, "accumulation": 2, "epochs": 3.0, **train})
        attached: Attached = build_method(MethodSpec(name=method, **(options or {}))).attach(
            base.model, spec.seed
        )
        folder.mkdir(parents=True, exist_ok=True)
        return Trainer(
            base,
            attached,
            document or (lambda i: Document(f"chats.jsonl, line {i + 1}", documents[i % COUNT])),
            COUNT,
            spec,
            learning_rate=rate,
            folder=folder,
            validation=validation,
            autocast=autocast,
            trackers=trackers,
            glimpse=glimpse,
        )

    return make
