"""What a user's own file adds to the tables before a run: one line for each thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

import brulee
from brulee.data.containers import CONTAINERS
from brulee.data.raw import Piece, Raw
from brulee.data.tables import to_table
from brulee.evaluation import METRICS, Array, MeanMetric
from brulee.evaluation.base import check_references
from brulee.evaluation.suites import SUITES
from brulee.methods import METHODS, Attached, Method, ParameterGroup
from brulee.methods.base import copy_checked
from brulee.methods.combining import combine
from brulee.methods.linear import sizes
from brulee.methods.targets import select
from brulee.methods.wrapping import Wrapper, Wrapping
from brulee.recipe import Strict
from brulee.training.trackers import TRACKERS
from brulee.training.trackers.base import Opening, Outcome


class Capitals(MeanMetric):
    """The share of letters that are capitals, as near to the reference's as can be."""

    keys = ("capitals",)
    summary = "how near the share of capitals is to the reference's"

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        check_references(references)
        share, wanted = (_capitals(text) for text in (prediction, references[0]))
        return {"capitals": np.array([1 - abs(share - wanted)])}


def _capitals(text: str) -> float:
    return sum(map(str.isupper, text)) / max(1, len(text))


class ShiftOptions(Strict):
    target: str = "attention"


class Shift(Method):
    name = "shift"
    peft_types = ("SHIFT",)
    summary = "a trained offset after every linear map of attention"
    learning_rate = 1e-2
    Options = ShiftOptions

    def __init__(self, options: ShiftOptions) -> None:
        self._options = options

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Shift:
        return cls(ShiftOptions(target=config["target"]))

    def options(self) -> dict[str, Any]:
        return self._options.model_dump()

    def attach(self, model: PreTrainedModel, seed: int = 0) -> Attached:
        chosen = select(model, self._options.target)
        return ShiftAttached(Wrapping(model, {n: Shifted(m) for n, m in chosen.items()}), self)


class Shifted(Wrapper):
    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        device = next(base_layer.parameters()).device
        self.shift = nn.Parameter(torch.zeros(sizes(base_layer)[0], device=device))

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        return out + self.shift.to(out.dtype)

    def merged(self) -> dict[str, torch.Tensor]:
        raise brulee.InputError("method shift: these maps have no bias to fold it into.")


class ShiftAttached(Attached):
    def __init__(self, wrapping: Wrapping[Shifted], method: Shift) -> None:
        self._wrapping, self._method = wrapping, method

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("shift", tuple(self._stored().values()), decay=False)]

    def tensors(self) -> dict[str, torch.Tensor]:
        return {name: p.detach().float().cpu() for name, p in self._stored().items()}

    def config(self) -> dict[str, Any]:
        return {"peft_type": "SHIFT", **self._method.options()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        copy_checked(self._stored(), tensors)

    def merge(self) -> None:
        self._wrapping.fold()

    def detach(self) -> None:
        self._wrapping.off()

    def disabled(self) -> AbstractContextManager[None]:
        return self._wrapping.disabled()

    def _stored(self) -> dict[str, nn.Parameter]:
        return {f"{name}.shift": layer.shift for name, layer in self._wrapping.layers.items()}


def test_an_option_that_a_file_would_take_for_something_else_is_refused() -> None:
    class Starting(ShiftOptions):
        start: float = 0.0

    with pytest.raises(TypeError, match="method shift: start cannot be an option's name"):
        type("Started", (Shift,), {"Options": Starting})


class Remembering:
    """A tracker that keeps what it is told."""

    package: str | None = None
    name, id = "remembering", "1"
    steps: list[int] = []  # noqa: RUF012 - of the class, to be read after the run
    outcomes: list[str] = []  # noqa: RUF012

    def __init__(self, at: Opening) -> None:
        assert at.recipe["train.trackers"] == "['remembering']"

    def log(self, values: Mapping[str, float], step: int) -> None:
        if "train/loss" in values:
            self.steps.append(step)

    def finish(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


def piped(source: Raw, limit: int | None) -> Piece:
    """Lines of "column=value|column=value"."""
    lines = source.text().splitlines()[:limit]
    rows = [dict(part.split("=", 1) for part in line.split("|")) for line in lines]
    return Piece(
        to_table(rows, lambda i: f"{source.label}, line {i + 1}"), [*range(1, len(rows) + 1)]
    )


def test_a_tracker_and_a_format_of_a_users_own_take_part(
    at: Any, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setitem(CONTAINERS, ".piped", piped)
    monkeypatch.setitem(TRACKERS, "remembering", Remembering)
    rows = [f"asked=How many are {i} and {i}?|answered={2 * i}" for i in range(40)]
    (at.folder / "sums.piped").write_text("\n".join(rows) + "\n")
    data = {
        "source": "sums.piped",
        "templates": {"prompt": "{{asked}}", "completion": "{{answered}}"},
        "split": {"test": 0.1},
    }
    train = {**at.recipe["train"], "trackers": "remembering"}
    run = brulee.train({**at.recipe, "name": "piped", "data": data, "train": train})
    steps = [event["step"] for event in run.events if event["event"] == "step"]
    assert Remembering.steps == steps != []
    assert Remembering.outcomes == ["finished"]


def test_what_a_user_adds_is_trained_stored_scored_and_asked(
    at: Any, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setitem(METRICS, "capitals", Capitals())
    monkeypatch.setitem(METHODS, "shift", Shift)
    evaluate = {**at.recipe["evaluate"], "metrics": ["capitals"]}
    made = {**at.recipe, "name": "own", "method": {"name": "shift"}, "evaluate": evaluate}
    run = brulee.run(made)
    assert [row["metric"] for row in run.scores] == ["capitals"]
    assert "capitals" in str(run)
    assert run.results.method.name == "shift"
    tuned = brulee.load(run)
    plain = brulee.load(at.model, precision="float32")
    ids = torch.arange(20, device=tuned.model.device)[None]
    with torch.no_grad():
        assert not torch.equal(tuned.model(ids).logits, plain.model(ids).logits)
    held = brulee.load_adapters({"own": run}, precision="float32")
    assert held.apart == {}
    further = brulee.train({**made, "name": "further", "method": {"start": run}})
    assert further.weights.is_dir()
    with pytest.raises(brulee.InputError, match="nothing here combines adapters of method shift"):
        combine([run.folder], "combined")
    asked = ["What did Ana say?"]
    assert held.complete(asked, ["own"], max_new_tokens=8) == tuned.complete(
        asked, max_new_tokens=8
    )
    monkeypatch.setitem(SUITES, "mine", SUITES["bundled"])
    assert {row["task"] for row in brulee.evaluate(run, "mine", limit=2).scores}
