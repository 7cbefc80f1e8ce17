"""The `data` section: one task, or a mixture of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from brulee.recipe.base import SPLITS, Count, Fraction, HeldOut, Strict, Text, Weight
from brulee.yaml_lines import KeyPath


class SplitSpec(Strict):
    """Rows held out, a share or a number of them, decided by a salted hash of the group."""

    test: HeldOut = Field(0.15, description="share of the rows, or their number (500)")
    validation: HeldOut = Field(0.0, description="share of the rows, or their number")
    group: Text | Annotated[list[Text], Field(min_length=1)] | None = Field(
        None, description="column(s) that must stay on one side; default: the row's source text"
    )
    stratify: str | None = Field(
        None, description="label column whose shares every split should have (for small data)"
    )
    near_duplicates: bool = Field(True, description="put nearly identical rows into one group")
    salt: str = "brulee"


class ShotsSpec(Strict):
    """Solved examples of the train split, shown before the question."""

    count: Count = Field(description="examples before a question; fewer if they do not fit")
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="share of the training draws that show examples"
    )
    test: Annotated[int, Field(ge=0)] = Field(0, description="examples before a test question")


def _divided(value: Any) -> Any:
    """A mapping from splits to sources as a name: train=a.jsonl,test=b.jsonl."""
    if not isinstance(value, Mapping):
        return value
    for split, source in value.items():
        if split not in SPLITS:
            raise PydanticCustomError(
                "splits", "A mapping of sources has the keys {valid}", {"valid": ", ".join(SPLITS)}
            )
        for one in source if isinstance(source, list) and source else [source]:
            if not isinstance(one, str) or not one:
                raise PydanticCustomError("splits", "Every split has the name of a source")
    named = ((k, one) for k, v in value.items() for one in (v if isinstance(v, list) else [v]))
    return ",".join(f"{split}={one}" for split, one in named)


SourceName = Annotated[
    Text, BeforeValidator(_divided, json_schema_input_type=str | dict[str, str | list[str]])
]


class DataSpec(Strict):
    """One task: where its rows come from, how they are phrased, how they are split."""

    source: SourceName = Field(
        description="bundled/NAME, a file, a pattern (data/*.jsonl), a folder, a Hub id, an entry "
        "of a dataset_info.json, or {train: ..., test: ...} of those; from Python also rows; .txt "
        "and .md are plain text"
    )
    name: str | None = Field(None, description="the task's name; default: from its source")
    templates: str | list[str] | dict[str, Any] | None = Field(
        None,
        description="library entry, ENTRY/TEMPLATE, a YAML file, an inline template, plain-text; "
        "default: by the format of the source",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="template's column name -> the source's, or a field of it: translation.en",
    )
    references: list[str] = Field(
        default_factory=list, description="columns with additional references, used only in scoring"
    )
    system: str | None = Field(None, description="system message put before every prompt")
    limit: Count | None = Field(None, description="use only the first N rows")
    split: SplitSpec = SplitSpec()
    turns: Literal["every", "last"] = Field(
        "every", description="which answers of a chat are learned"
    )
    malformed_chats: Literal["refuse", "skip"] = Field(
        "refuse", description="skip: leave out chats that cannot be read, and count them"
    )
    rationale: Literal["any", "with", "without"] = Field(
        "any",
        description="only templates whose answer comes after its reasoning, or only the others",
    )
    shots: ShotsSpec | None = Field(None, description="few-shot prompts; default: zero-shot")
    hold_out_templates: Fraction | list[str] = Field(
        0.0, description="share or names of the phrasings held out for the test"
    )
    metrics: list[str] | None = Field(
        None, description="default: those of evaluate.metrics that can judge it"
    )
    cluster: str | None = Field(None, description="kind of task; default: its templates' cluster")
    dataset: str | None = Field(
        None, description="the data set the rows are from, for holding out; default: the source"
    )
    weight: Weight | None = Field(None, description="rate in a mixture of kind weights")
    row_cap: Count | None = Field(None, description="use only N rows, chosen by hash (not by rate)")


class MixSpec(Strict):
    """How often each member of a mixture is drawn."""

    kind: Literal["proportional", "equal", "weights"] = "proportional"
    rate_cap: Weight | None = Field(
        None, description="rows past this number do not raise the rate; every row stays in use"
    )
    temperature: Annotated[float, Field(ge=1)] = 1.0
    scale: Weight = 1.0


class HoldOutSpec(Strict):
    """Tasks that are scored but not trained on, with all other tasks of the same data sets."""

    clusters: list[str] = Field(default_factory=list)
    tasks: list[str] = Field(default_factory=list)


class MixtureSpec(Strict):
    """Several tasks, or mixtures of tasks, and how often each is drawn."""

    tasks: Annotated[list[Data], Field(min_length=1)]
    name: str | None = Field(None, description="the name of a mixture inside a mixture")
    mix: MixSpec = MixSpec()
    weight: Weight | None = Field(None, description="rate in a mixture of kind weights")
    hold_out: HoldOutSpec = HoldOutSpec()
    system: str | None = Field(None, description="system message put before every prompt")


def _kind_of_data(value: Any) -> str:
    mixed = "tasks" in value if isinstance(value, dict) else isinstance(value, MixtureSpec)
    return "MixtureSpec" if mixed else "DataSpec"


Data = Annotated[
    Annotated[DataSpec, Tag("DataSpec")] | Annotated[MixtureSpec, Tag("MixtureSpec")],
    Discriminator(_kind_of_data),
]


def _listed(value: Any) -> Any:
    return {"tasks": value} if isinstance(value, list) else value


# A list is shorthand for a mixture without other settings.
DataSection = Annotated[Data, BeforeValidator(_listed, json_schema_input_type=Data | list[Data])]
MixtureSpec.model_rebuild()


def tasks_of(data: DataSpec | MixtureSpec, path: KeyPath) -> Iterator[tuple[KeyPath, DataSpec]]:
    """Every task in reading order, with the path of its section."""
    if isinstance(data, DataSpec):
        yield path, data
        return
    for number, member in enumerate(data.tasks):
        yield from tasks_of(member, (*path, "tasks", number))
