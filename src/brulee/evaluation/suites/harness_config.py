"""The keys of lm-evaluation-harness's task files and their defaults (version 0.4.13)."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from brulee.errors import InputError
from brulee.evaluation.suites.harness_yaml import Config
from brulee.recipe.base import Count, Strict
from brulee.recipe.validation import check

OutputType = Literal["multiple_choice", "generate_until", "loglikelihood", "loglikelihood_rolling"]
Field_: TypeAlias = str | int | list[Any] | dict[str, Any] | None

MAX_NEW_TOKENS: Final = 256
# Keys that need code, a multimodal model, or the harness's promptsource.
_NOT_OFFERED: Final = (
    "class", "custom_dataset", "process_docs", "process_results", "use_prompt", "doc_to_image",
    "doc_to_audio", "unsafe_code",
)  # fmt: skip


class MetricConfig(BaseModel):
    """One entry of metric_list; its other keys are the metric's options."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    metric: str
    aggregation: str | None = None
    higher_is_better: bool | None = None
    hf_evaluate: bool = False


class FilterStep(BaseModel):
    """One step of a filter; its other keys are options."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    function: str


class FilterConfig(Strict):
    """A named filter: steps from a reply to the answer that is scored."""

    name: str
    filter: list[FilterStep] = Field(min_length=1)


class GenerationConfig(Strict):
    """Generation settings; the last keys have no effect on greedy decoding.

    The harness has four names for the maximum length; the first given one counts. A temperature
    above 0 means sampling, unless `do_sample` is false.
    """

    until: str | list[str] | None = None
    max_gen_toks: Count | None = None
    max_new_tokens: Count | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    do_sample: bool | None = None
    temperature: float = 0.0
    num_beams: Literal[1] = 1
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None

    @property
    def longest(self) -> int:
        """The maximum number of tokens of an answer."""
        named = (self.max_gen_toks, self.max_new_tokens, self.max_tokens)
        given = [n for n in (*named, self.max_completion_tokens) if n is not None]
        return given[0] if given else MAX_NEW_TOKENS

    @property
    def sampled(self) -> bool:
        """Whether the harness would sample answers."""
        return self.do_sample is not False and self.temperature > 0


class ShotsConfig(Strict):
    """Settings for shots where they differ from the questions'."""

    sampler: Literal["default", "first_n"] = "default"
    split: str | None = None
    samples: list[dict[str, Any]] | None = None
    doc_to_text: Field_ = None
    doc_to_choice: Field_ = None
    doc_to_target: Field_ = None
    gen_prefix: str | None = None
    fewshot_delimiter: str | None = None
    target_delimiter: str | None = None


class TaskConfig(Strict):
    """One task; the keys from task_alias on have no effect on prompts or scores."""

    task: str
    dataset_path: str
    dataset_name: str | None = None
    dataset_kwargs: dict[str, Any] | None = None
    training_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    fewshot_split: str | None = None
    doc_to_text: str | int | None = None
    doc_to_target: Field_ = None
    doc_to_choice: str | list[str] | dict[str, str] | None = None
    description: str = ""
    target_delimiter: str = " "
    fewshot_delimiter: str = "\n\n"
    fewshot_config: ShotsConfig | None = None
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    output_type: OutputType = "generate_until"
    generation_kwargs: GenerationConfig | None = None
    repeats: Count = 1
    filter_list: list[FilterConfig] | None = None
    metric_list: list[MetricConfig] | None = None
    gen_prefix: str | None = None
    task_alias: str | None = None
    tag: str | list[str] | None = None
    should_decontaminate: bool = False
    doc_to_decontamination_query: str | None = None
    metadata: dict[str, Any] | None = None

    @property
    def wording(self) -> str:
        """The SHA-256 of the settings that determine prompts, choices and correct answers."""
        texts = self.model_dump_json(include=set(_TEXTS))
        return hashlib.sha256(texts.encode()).hexdigest()

    @property
    def shots_config(self) -> ShotsConfig:
        """The settings for shots, with the task's keys as defaults."""
        own = self.fewshot_config or ShotsConfig()
        inherited = {
            "split": self.fewshot_split,
            "doc_to_text": self.doc_to_text,
            "doc_to_choice": self.doc_to_choice,
            "doc_to_target": self.doc_to_target,
            "gen_prefix": self.gen_prefix,
            "fewshot_delimiter": self.fewshot_delimiter,
            "target_delimiter": self.target_delimiter,
        }
        missing = {k: v for k, v in inherited.items() if k not in own.model_fields_set}
        return own.model_copy(update=missing)


# The settings that determine a task's prompts, choices and correct answers.
_TEXTS: Final = (
    "doc_to_text", "doc_to_target", "doc_to_choice", "description", "target_delimiter",
    "fewshot_delimiter", "fewshot_config", "num_fewshot", "gen_prefix",
)  # fmt: skip


class AverageConfig(Strict):
    """One entry of a group's aggregate_metric_list."""

    metric: str
    aggregation: Literal["mean"] = "mean"
    weight_by_size: bool = True
    filter_list: str | list[str] = "none"


class GroupConfig(Strict):
    """A group: tasks by name, or inline with overrides."""

    group: str
    group_alias: str | None = None
    task: str | list[str | dict[str, Any]]
    aggregate_metric_list: AverageConfig | list[AverageConfig] | None = None
    metadata: dict[str, Any] | None = None


def task_config(config: Config) -> TaskConfig:
    """A validated task. Raises InputError naming the file, line and key of an invalid value."""
    for key in _NOT_OFFERED:
        if config.values.get(key):
            raise InputError(f"{config.source.at((key,))}: {key} is not supported here.")
    values = {k: v for k, v in config.values.items() if k not in (*_NOT_OFFERED, "group")}
    task = check(TaskConfig, values, config.source, ())
    where = config.source.at(("generation_kwargs",))
    if task.generation_kwargs is not None and task.generation_kwargs.sampled:
        raise InputError(f"{where}: sampled answers are not supported; write do_sample: false.")
    if task.output_type == "multiple_choice" and task.doc_to_choice is None:
        raise InputError(f"{config.source.label}: multiple_choice needs doc_to_choice.")
    return task


def group_config(config: Config) -> GroupConfig:
    """A validated group. Raises InputError as `task_config` does."""
    return check(GroupConfig, config.values, config.source, ())
