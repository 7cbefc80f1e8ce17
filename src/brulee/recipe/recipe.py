"""The whole recipe: one experiment."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PrivateAttr

from brulee.recipe.base import Strict
from brulee.recipe.data import DataSection, DataSpec, tasks_of
from brulee.recipe.sections import EvaluateSpec, MethodSpec, ModelSpec, TrainSpec
from brulee.recipe.source import Source
from brulee.yaml_lines import KeyPath, dump


class Recipe(Strict):
    """One experiment: model, data, method, training and evaluation."""

    name: str | None = Field(None, description="the run's folder name; default: the file's name")
    model: str | ModelSpec = "bundled"
    data: DataSection = Field(
        description="one task; or a mixture: a list of tasks, or {tasks, mix, hold_out}"
    )
    method: MethodSpec = MethodSpec()
    train: TrainSpec = TrainSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    runs: str = Field("runs", description="folder that holds the runs")
    _source: Source | None = PrivateAttr(None)

    @property
    def tasks(self) -> list[tuple[KeyPath, DataSpec]]:
        """Every task in reading order, with the key path of its section."""
        return list(tasks_of(self.data, ("data",)))

    @property
    def system(self) -> str | None:
        """The system message put before every prompt."""
        return self.data.system

    @property
    def source(self) -> Source:
        """Where the recipe was read from, for error messages."""
        return self._source or Source("recipe", {}, None)

    @property
    def base(self) -> ModelSpec:
        """The model section in its long form."""
        return ModelSpec(name=self.model) if isinstance(self.model, str) else self.model

    @property
    def rope_scaling(self) -> dict[str, Any] | None:
        """The scaling of rotary positions, by transformers' keys; None for the checkpoint's own.

        Without a factor, `max_length` is what must fit.
        """
        if self.base.rope_scaling is None:
            return None
        values = self.base.rope_scaling.values()
        sized = "factor" in values or values["rope_type"] == "default"
        return values if sized else {**values, "max_length": self.train.max_length}

    @property
    def languages(self) -> dict[str, str] | None:
        """The languages of a translation model, source and target; None for those of its files."""
        found = self.base.languages
        return None if found is None else {"source": found.source, "target": found.target}

    def to_dict(self) -> dict[str, Any]:
        """Plain values with every default written out."""
        values = self.model_dump(mode="json")
        values["model"] = self.base.model_dump(mode="json")
        return values

    def to_yaml(self) -> str:
        """The resolved recipe as YAML; `load_recipe` reads it back to an equal recipe."""
        return dump(self.to_dict())


def json_schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for editors."""
    return Recipe.model_json_schema()
