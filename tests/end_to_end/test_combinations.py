"""What a recipe can say, in combinations: each is trained, killed, gone on with, and read back.

What a plain pass of transformers gives of one document after another is what everything is held to.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

import brulee as from_python
from brulee import pipeline
from brulee.data.encoding import Encoded
from brulee.inference.session import open_session
from brulee.methods.accounting import count
from brulee.models.loading import load_base
from brulee.models.skeleton import load_skeleton
from brulee.recipe import load_recipe
from brulee.training.events import read_events
from brulee.training.recorder import Recorder
from brulee.training.trainer import Trainer

MADE: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("combinations.py")))
CHOICES = MADE["combinations"](seed=1, count=40)
_CLOCK = ("seconds", "tokens_per_s", "memory_bytes")


@pytest.fixture(scope="module")
def folder_of(
    make_base: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """`folder_of("llama, tied")`: the model in a folder, made once."""
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            kind, changes = MADE["MODELS"][name]
            base = make_base(kind, **changes)
            made[name] = tmp_path_factory.mktemp(kind)
            base.model.save_pretrained(made[name])
            base.tokenizer.save_pretrained(made[name])
        return made[name]

    return of


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the first trainer had: the trainer, and the plain loss of its first step."""
    from brulee.pipeline import tuning

    original, found = tuning.trainer_of, dict[str, Any]()

    def look(prepared: Any) -> Trainer:
        trainer = original(prepared)
        if not found:
            documents = [trainer.document(i).encoded for i in trainer.course.of(0)]
            how = (trainer.base.model.eval(), documents, trainer.spec.label_smoothing)
            found.update(trainer=trainer, loss=plain_loss(*how))
        return trainer

    monkeypatch.setattr(tuning, "trainer_of", look)
    return found


@torch.no_grad()
def plain_loss(
    model: PreTrainedModel, documents: Sequence[Encoded], smoothing: float = 0.0
) -> float:
    """The mean loss of the learned tokens, a document at a time through the model's own forward."""
    total = sum(_summed(model, document, smoothing) for document in documents)
    return total / sum(document.weight for document in documents)


def _summed(model: PreTrainedModel, document: Encoded, smoothing: float) -> float:
    if model.config.is_encoder_decoder:
        prompt, labels = torch.tensor([document.prompt]), torch.tensor([document.completion])
        logits_TV = model(input_ids=prompt, labels=labels).logits[0]
        found = F.cross_entropy(logits_TV, labels[0], reduction="sum", label_smoothing=smoothing)
        return float(found)
    ids_T = torch.tensor(document.ids)
    logits_TV = model(input_ids=ids_T[None]).logits[0, -len(ids_T) :]
    losses = [
        weight
        * F.cross_entropy(
            *(logits_TV[start - 1 : end - 1], ids_T[start:end]),
            reduction="sum",
            label_smoothing=smoothing,
        )
        for start, end, weight in document.weighted
    ]
    return float(torch.stack(losses).sum())


def told(run: Path) -> list[dict[str, Any]]:
    """The events without what a clock says."""
    events = read_events(run / "events.jsonl")
    return [{k: v for k, v in event.items() if k not in _CLOCK} for event in events]


def stored(run: Path) -> dict[str, bytes]:
    """The trained weights."""
    return {file.name: file.read_bytes() for file in run.glob("[am]*/*.safetensors")}


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: f"{c['method']} in {c['model']}")
def test_a_combination_does_what_each_of_its_parts_promises(
    choice: dict[str, Any],
    at: Any,
    brulee: Any,
    folder_of: Callable[[str], Path],
    first: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (at.folder / "chats.jsonl").write_text("".join(MADE["chat"](i) for i in range(15)))
    model = folder_of(choice["model"])
    at.recipe = MADE["recipe_of"](choice, str(model))
    recipe, run = at.write(), Path("runs/recipe")
    done = brulee("train", recipe)
    assert done.code == 0, done.err
    events, ended = told(run), json.loads((run / "trained.json").read_text())
    steps = [event for event in events if event["event"] == "step"]

    trainer: Trainer = first["trainer"]
    by_chance = choice["neftune_alpha"] or "dropout" in choice["method"]
    if not by_chance:
        assert steps[0]["loss"] == pytest.approx(first["loss"], abs=1e-4)
    for step in steps:
        documents = [trainer.document(i).encoded for i in trainer.course.of(step["step"] - 1)]
        assert step["tokens"] == sum(len(document.ids) for document in documents)
    assert ended["cost"]["train_tokens"] == sum(step["tokens"] for step in steps)
    assert ended["training"]["steps"] == len(steps)

    kept = ended["training"]["kept_step"]
    validated = {e["step"]: e["loss"] for e in events if e["event"] == "validation"}
    if choice["best"][0]:
        assert kept == min(validated, key=lambda step: validated[step])
    session = open_session(run)
    assert plain_loss(session.base.model, trainer.validation) == pytest.approx(
        validated[kept], abs=1e-4
    )
    options = {key: value for key, value in at.recipe["method"].items() if key != "name"}
    (counted,) = count(lambda: load_skeleton(str(model)), options, (at.recipe["method"]["name"],))
    assert counted.trainable == ended["cost"]["trainable_parameters"]

    _kill(recipe, monkeypatch, after=max(1, len(steps) // 2))
    done = brulee("resume", "killed")
    assert done.code == 0, done.err
    assert stored(Path("killed")) == stored(run)
    assert told(Path("killed")) == events

    if choice["method"] != "full":
        held = from_python.load_adapters({"one": run})
        asked = ["Sum up: Ana: a kettle, order 3", "Where is parcel 3?"]
        assert held.complete(asked, ["one"] * 2, 4) == session.complete(asked, 4)
        held.remove("one")
        was = load_base(str(model), torch.float32, torch.device("cpu")).model.state_dict()
        now = held.base.model.state_dict()
        assert now.keys() == was.keys()
        assert all(torch.equal(now[name], was[name]) for name in was)


def _kill(recipe: str, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Train the recipe in the folder "killed", until a step is written down and no further."""
    written = Recorder.step

    def cut(recorder: Recorder, step: int, **values: Any) -> None:
        written(recorder, step, **values)
        if step == after:
            raise SystemError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "step", cut)
        with pytest.raises(SystemError):
            pipeline.train(load_recipe(recipe), folder="killed")
