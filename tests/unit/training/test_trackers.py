"""A training tells its trackers what happens, and is never lost for one of them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from brulee import progress
from brulee.data.encoding import Encoded
from brulee.errors import InputError, StoppedError
from brulee.recipe.theirs.values import TRACKERS as THEIRS
from brulee.training import trackers
from brulee.training.documents import Document
from brulee.training.events import read_events
from brulee.training.recorder import OpenTrackers
from brulee.training.trackers.base import Opening, Outcome
from brulee.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
STEPS = 8  # ceil(3 epochs * 10 documents / 4)


class Told:
    """A tracker that remembers; it fails at the step `fails`, or when it is closed."""

    def __init__(self, name: str = "told", fails: int = 0, closes: bool = True) -> None:
        self.name, self.id, self.fails, self.closes = name, "1", fails, closes
        self.steps: list[int] = []
        self.outcomes: list[Outcome] = []

    def log(self, values: Mapping[str, float], step: int) -> None:
        if step == self.fails:
            raise ConnectionError("nobody\nanswers.")
        if "train/loss" in values:
            self.steps.append(step)

    def finish(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if not self.closes:
            raise ConnectionError("nobody answers")


def opens(*found: Told, at: list[int] | None = None) -> OpenTrackers:
    def opened(step: int) -> Iterator[Told]:
        if at is not None:
            at.append(step)
        yield from found

    return opened


def stopping(documents: list[Encoded], step: int, act: Callable[[], None]) -> Any:
    """Documents that do something while step `step` (1-based) reads its last one."""

    def document(i: int) -> Document:
        if i == 4 * step - 1:
            act()
        return Document(f"row {i}", documents[i % len(documents)])

    return document


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def power_cut() -> None:
    raise SystemError("power cut")


@pytest.fixture
def aloud() -> Iterator[None]:
    progress.enable()
    yield
    progress.enable(False)


def test_trackers_are_told_how_it_ended(
    make_trainer: MakeTrainer, documents: list[Encoded], tmp_path: Path
) -> None:
    cases = {"stopped": (ctrl_c, StoppedError), "failed": (power_cut, SystemError)}
    for outcome, (act, error) in cases.items():
        told = Told()
        document = stopping(documents, 3, act)
        with pytest.raises(error):
            make_trainer(folder=tmp_path / outcome, document=document, trackers=opens(told)).train()
        assert told.outcomes == [outcome]
    told = Told()
    make_trainer(trackers=opens(told)).train()
    assert (told.steps, told.outcomes) == ([*range(1, STEPS + 1)], ["finished"])


def test_a_resumed_training_opens_them_at_its_checkpoint_and_tells_all_of_it(
    make_trainer: MakeTrainer, documents: list[Encoded]
) -> None:
    at: list[int] = []
    with pytest.raises(SystemError):
        make_trainer(
            document=stopping(documents, 6, power_cut), trackers=opens(Told(), at=at), save_every=3
        ).train()
    again = Told()
    make_trainer(trackers=opens(again, at=at), save_every=3).train()
    assert at == [0, 3]
    assert again.steps == [*range(1, STEPS + 1)]


def test_a_finished_training_opens_none(make_trainer: MakeTrainer) -> None:
    make_trainer().train()
    at: list[int] = []
    make_trainer(trackers=opens(Told(), at=at)).train()
    assert at == []


def test_a_tracker_that_fails_is_left_out_and_told_once(
    make_trainer: MakeTrainer, tmp_path: Path, aloud: None, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, other = Told("mlflow", fails=3), Told("wandb")
    totals = make_trainer(trackers=opens(lost, other)).train()
    assert totals.steps == STEPS
    assert (lost.steps, lost.outcomes) == ([1, 2], [])
    assert (len(other.steps), other.outcomes) == (STEPS, ["finished"])
    said = "step 3: the tracker 'mlflow' failed and is left out from here on: nobody answers"
    assert capsys.readouterr().err.count(said) == 1
    found = [e for e in read_events(tmp_path / "events.jsonl") if e["event"] == "tracker_lost"]
    assert found == [{"event": "tracker_lost", "step": 3, "reason": said}]


def test_a_tracker_that_cannot_be_closed_costs_nothing(
    make_trainer: MakeTrainer, aloud: None, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Told()
    assert make_trainer(trackers=opens(other, Told("wandb", closes=False))).train().steps == STEPS
    assert other.outcomes == ["finished"]
    assert "the tracker 'wandb' failed as it was closed: nobody answers" in capsys.readouterr().err


def test_one_that_cannot_be_opened_is_named_and_the_others_are_let_go(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(at: Opening) -> Told:
        raise ConnectionError("no API key.\n Log in.")

    first = Told()
    monkeypatch.setattr(trackers, "TRACKERS", {"mlflow": lambda _: first, "wandb": refuses})

    def opened(step: int) -> Any:
        return trackers.open_trackers(["mlflow", "wandb"], tmp_path, {}, "r.yaml, line 4", step)

    with pytest.raises(InputError) as refused:
        make_trainer(trackers=opened).train()
    assert str(refused.value) == (
        "r.yaml, line 4: the tracker 'wandb' could not be opened: no API key. Log in. Fix that, "
        "or continue without it: run the recipe again with --set 'train.trackers=[mlflow]'."
    )
    assert first.outcomes == ["failed"]


def test_ids_are_kept_and_given_again_under_the_first_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Opening] = []
    makes = {"wandb": lambda at: (seen.append(at), Told())[1]}
    monkeypatch.setattr(trackers, "TRACKERS", makes)
    recipe = {"method": {"rank": 2}, "train": {"trackers": ["wandb"]}}
    for step, name in enumerate(("begun", "renamed")):
        folder = tmp_path / name
        if step:
            (tmp_path / "begun").rename(folder)
        folder.mkdir(exist_ok=True)
        list(trackers.open_trackers(["wandb"], folder, recipe, "", step))
    values = {"method.rank": 2, "train.trackers": "['wandb']"}
    first, second = seen
    assert first == Opening("begun", tmp_path / "begun/trackers", values, 0, None)
    assert second == Opening("begun", tmp_path / "renamed/trackers", values, 1, "1")


@pytest.mark.parametrize("text", ["{", "[]", '{"run": "x"}', '{"run": "x", "ids": 3}'])
def test_ids_that_cannot_be_read_are_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "trackers" / "ids.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(InputError, match=r"ids\.json: not the run and ids that brulee writes"):
        list(trackers.open_trackers(["wandb"], tmp_path, {}, "", 0))


def test_without_trackers_no_folder_is_made(tmp_path: Path) -> None:
    assert not list(trackers.open_trackers([], tmp_path, {}, "", 0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensorbord", "unknown tracker 'tensorbord'; did you mean 'tensorboard'?"),
        ("comet", "unknown tracker 'comet'; none is close."),
    ],
)
def test_a_name_that_is_no_tracker_is_refused(name: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        trackers.check_trackers(["tensorboard", name], "r.yaml, line 4")
    valid = ", ".join(sorted(trackers.TRACKERS))
    assert str(refused.value) == f"r.yaml, line 4: {said} Valid: {valid}."


def test_one_that_is_added_needs_a_package_of_another_name_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mine(Told):
        package: str | None = None

        def __init__(self, at: Opening) -> None:
            super().__init__("mine")

    monkeypatch.setitem(trackers.TRACKERS, "mine", Mine)
    trackers.check_trackers(["mine"], "r.yaml, line 4")
    (opened,) = trackers.open_trackers(["mine"], tmp_path, {}, "", 0)
    assert isinstance(opened, Mine)
    monkeypatch.setattr(Mine, "package", "not_there_at_all")
    with pytest.raises(InputError, match="tracker 'mine' needs the package 'not_there_at_all'"):
        trackers.check_trackers(["mine"], "r.yaml, line 4")


def test_what_other_tools_call_a_tracker_is_one_here() -> None:
    assert set(THEIRS) <= set(trackers.TRACKERS)
