"""The one schema of a run's numbers, stored as results.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from brulee.errors import BruleeError, InputError
from brulee.reporting.record_files import load, not_finite, store
from brulee.shell import word

SCHEMA = 1
FILE_NAME = "results.json"
GUARD_MARGIN = 0.02  # a guard that cannot have lost more than this counts as kept

Who = Literal["base", "tuned"]
Kept = Literal["kept", "forgot", "improved", "unclear"]


class Record(BaseModel):
    """Base class of every part: immutable, without unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class OpenRecord(Record):
    """A part that may have keys in addition to the named ones."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    @property
    def extra(self) -> dict[str, Any]:
        """The additional keys."""
        return dict(self.model_extra or {})


class Start(Record):
    """The adapter that training started from, as the recipe calls it, and its SHA-256."""

    adapter: str
    digest: str


class Base(OpenRecord):
    """The model before tuning; `digest` is the SHA-256 of its stored weights.

    `quantised` is the format in which they were loaded and measured, before and after;
    `rope_scaling` how rotary positions were scaled, and `languages` the source and target of a
    translation model, if not as in the checkpoint. With
    `start`, the model before tuning is the base with that adapter.
    """

    name: str
    digest: str
    quantised: str | None = None
    rope_scaling: dict[str, Any] | None = None
    languages: dict[str, str] | None = None
    start: Start | None = None

    @property
    def before(self) -> str:
        """What the scores before tuning are of: "bundled", or "bundled with runs/a"."""
        return self.name if self.start is None else f"{self.name} with {self.start.adapter}"


class Method(OpenRecord):
    """The tuning method's name and label; its options (rank, alpha ...) are additional keys."""

    name: str
    label: str = ""


class Score(Record):
    """One metric of one model on one task, with its 95% interval over `n` items."""

    who: Who
    task: str
    metric: str
    value: float
    low: float
    high: float
    n: int


class Paired(Record):
    """Tuned minus base on the same items, with the 95% interval of that difference.

    Neither a rise nor a fall of a `descriptive` score is better. `p_holm` is p corrected for the
    number of tasks, or of further scores of one task (Holm 1979); None if it is the only test.
    """

    task: str
    metric: str
    base: float
    tuned: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float | None = None
    higher_is_better: bool = True
    descriptive: bool = False

    @property
    def gain(self) -> tuple[float, float, float]:
        """Difference, low and high, with the sign such that positive is better."""
        if self.higher_is_better:
            return self.difference, self.low, self.high
        return -self.difference, -self.high, -self.low

    @property
    def corrected_p(self) -> float:
        """p, corrected where there were several tests."""
        return self.p if self.p_holm is None else self.p_holm

    @property
    def direction(self) -> int:
        """1 if better, -1 if worse, 0 if neither; no change is detected unless p agrees."""
        better = 0 if self.descriptive else 1 if self.higher_is_better else -1
        return better * self.moved

    @property
    def moved(self) -> int:
        """1 if the score rose, -1 if it fell, 0 if no change is detected."""
        return _sign(self.low, self.high, self.corrected_p)


class Comparison(Paired):
    """Base against tuned on a task that the run is meant to improve; wins, losses, ties are items.

    `trained` is False for a task held out of the training.
    """

    wins: int
    losses: int
    ties: int
    minimum_detectable: float | None = None
    trained: bool = True


class Forgetting(Paired):
    """Base against tuned on a guard; `kept` is `outcome` of its gain and corrected p."""

    kept: Kept


class Spread(Record):
    """One model's score under each phrasing, and their standard deviation.

    `spread` is the deviation without the part due to sampling of items.
    """

    scores: tuple[float, ...]
    deviation: float
    spread: float

    def at(self, share: float) -> float:
        """The quantile of the scores at `share`, linearly interpolated."""
        ordered = sorted(self.scores)
        place = share * (len(ordered) - 1)
        below = min(int(place), len(ordered) - 2)
        return ordered[below] + (place - below) * (ordered[below + 1] - ordered[below])


class Phrasings(Record):
    """One score of a task under two or more phrasings, base against tuned.

    `difference` is the change of the spread, with its 95% interval over items and its p. `p_holm`
    is corrected as in `Paired`, among changes of spreads. p is None if it was not tested, as in
    older files.
    """

    task: str
    metric: str
    names: tuple[str, ...]
    base: Spread
    tuned: Spread
    difference: float
    low: float
    high: float
    p: float | None = None
    p_holm: float | None = None
    higher_is_better: bool = True

    @property
    def corrected_p(self) -> float | None:
        """p, corrected where there were several tests."""
        return self.p if self.p_holm is None else self.p_holm

    @property
    def direction(self) -> int:
        """-1 if the spread shrank, 1 if it grew, 0 if no change is detected."""
        p = self.corrected_p
        return 0 if p is None else _sign(self.low, self.high, p)


class Cost(OpenRecord):
    """The run's cost in parameters, bytes, seconds, tokens; 0 for parts that it did not have.

    `precision` is the number format of the matrix products in training: bfloat16, float32.
    """

    trainable_parameters: int = 0
    total_parameters: int = 0
    adapter_bytes: int = 0
    peak_memory_bytes: int = 0
    train_seconds: float = 0.0
    train_tokens: int = 0
    tokens_per_second: float = 0.0
    evaluation_seconds: float = 0.0
    precision: str = ""

    @property
    def trainable_share(self) -> float | None:
        """Trainable over total parameters; None if the total is unknown."""
        if self.total_parameters <= 0:
            return None
        return self.trainable_parameters / self.total_parameters


class Training(OpenRecord):
    """How the training went; `kept_step` is the step whose weights were stored and scored.

    `best_step` had the lowest validation loss; None without validation.
    """

    steps: int
    planned_steps: int
    kept_step: int
    stopped_early: bool = False
    best_step: int | None = None
    best_validation_loss: float | None = None
    skipped_steps: int = 0
    loss_spikes: int = 0
    out_of_memory: int = 0


class Lengths(Record):
    """How long one model's outputs are on a task, in words and relative to the references.

    `unended` of the `answers` are empty because the reasoning before them was cut off.
    """

    who: Who
    task: str
    mean_words: float
    ratio_to_reference: float
    answers: int = 0
    unended: int = 0


class MixtureLine(Record):
    """What training drew from one task: number of draws, epochs, share of tokens."""

    task: str
    rows: int
    rate: float
    draws: int
    epochs: float
    token_share: float


class SuiteUse(OpenRecord):
    """The suite of the scores and its options; `labels` are readable names of its averages.

    `changed` are the non-default options that affect scores. `lower_is_better` lists the scores,
    as "TASK METRIC", for which lower is better; None in a file that does not say.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    changed: dict[str, Any] = Field(default_factory=dict)
    limit: int | None = None
    chat: bool = False
    labels: dict[str, str] = Field(default_factory=dict)
    lower_is_better: tuple[str, ...] | None = None
    efficiency: dict[str, float] = Field(default_factory=dict)

    @property
    def asked(self) -> str:
        """The non-default options in words: "prompt=harness, chat", or "" without any."""
        parts = [f"{key}={_shown(value)}" for key, value in self.changed.items()]
        return ", ".join([*parts, "chat"] if self.chat else parts)


class Environment(OpenRecord):
    """Where the numbers were measured: package versions, machine."""

    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str | int | float] = Field(default_factory=dict)


class Results(OpenRecord):
    """Everything a run measured; `verdict` is the sentence that `reporting.verdict` writes.

    `groups` counts the groups of each task whose items are not independent; resampling draws whole
    groups. A score of a task in `phrasings` is the mean over them. `wordings` are digests of item
    texts, for tasks whose texts a user or the library may edit.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    run: str
    base: Base
    method: Method
    scores: tuple[Score, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    forgetting: tuple[Forgetting, ...] = ()
    cost: Cost = Cost()
    training: Training | None = None
    lengths: tuple[Lengths, ...] = ()
    mixture: tuple[MixtureLine, ...] = ()
    phrasings: tuple[Phrasings, ...] = ()
    verdict: str = ""
    groups: dict[str, int] = Field(default_factory=dict)
    wordings: dict[str, str] = Field(default_factory=dict)
    signatures: dict[str, str] = Field(default_factory=dict)
    environment: Environment = Environment()
    suite: SuiteUse | None = None

    def over(self, task: str) -> int:
        """The number of phrasings that a task's scores average over."""
        return next((len(one.names) for one in self.phrasings if one.task == task), 1)

    def score(self, who: Who, task: str, metric: str) -> Score | None:
        """The score of that model, task and metric; None if not measured."""
        wanted = (who, task, metric)
        return next((s for s in self.scores if (s.who, s.task, s.metric) == wanted), None)


def outcome(low: float, high: float, p: float, margin: float = GUARD_MARGIN) -> Kept:
    """Classify a guard by its interval, in gains (positive is better), and its corrected p.

    forgot, improved: both show a change, as for a task. Otherwise kept if the interval excludes a
    loss beyond the margin, else unclear.
    """
    sign = _sign(low, high, p)
    if sign:
        return "improved" if sign > 0 else "forgot"
    return "kept" if low >= -margin else "unclear"


def _sign(low: float, high: float, p: float) -> int:
    """1 if the interval lies above zero, -1 if below; 0 if it includes zero or p >= 0.05."""
    if p >= 0.05 or low <= 0 <= high:
        return 0
    return 1 if low > 0 else -1


def write(results: Results, folder: str | Path) -> Path:
    """Write `folder/results.json` atomically and return its path.

    Raises BruleeError naming the first value that is not finite, and then writes nothing.
    """
    if (found := not_finite(results)) is not None:
        key, number = found
        raise BruleeError(f"{FILE_NAME}: {key} is {number}; every number must be finite.")
    target = Path(folder) / FILE_NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    return store(results, target)


def file_of(path: str | Path) -> Path:
    """The results.json of a run's folder, or the file itself."""
    file = Path(path)
    return file / FILE_NAME if file.is_dir() else file


def read(path: str | Path) -> Results:
    """Read a results.json, given as the file or its run folder.

    Raises InputError for a missing file, malformed JSON, another schema number, a missing, unknown
    or mistyped key, or a number that is not finite.
    """
    file = file_of(path)
    if not file.is_file() and (run := file.parent / "recipe.yaml").is_file():
        how = f"brulee run {word(run)} --folder {word(run.parent)}"
        raise InputError(f"{run.parent}: this run is not fully scored yet; continue with: {how}")
    if not file.is_file():
        raise InputError(f"{file}: no such file; a finished run folder holds {FILE_NAME}.")
    results = load(Results, file, SCHEMA)
    if (found := not_finite(results)) is not None:
        key, number = found
        raise InputError(f"{file}: {key} is {number}; every number must be finite.")
    return results


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
