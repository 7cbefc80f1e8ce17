"""The typed recipe and its YAML: strict keys, dotted overrides, errors that name the line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from brulee.errors import InputError, nearest
from brulee.yaml_lines import KeyPath, parse, parse_scalar

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
OptionsT = TypeVar("OptionsT", bound=BaseModel)


class Strict(BaseModel):
    """Base of every section: no unknown key, no silent conversion, no change after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelSpec(Strict):
    """Which base model, and how it is held in memory."""

    name: str = Field("bundled", description="bundled, a Hub id, a folder, or a .gguf file")
    revision: str | None = Field(None, description="Hub revision")
    chat_template: Literal["auto", "none"] = Field(
        "auto", description="auto: the tokenizer's own where it has one; none: plain text"
    )


class SplitSpec(Strict):
    """Shares of the rows held out, decided by a salted hash of the group."""

    test: Fraction = 0.15
    validation: Fraction = 0.0
    group: str | list[str] | None = Field(
        None, description="column(s) that must stay on one side; default: the row's source text"
    )
    salt: str = "brulee"


class DataSpec(Strict):
    """One task: where its rows come from, how they are phrased, how they are split."""

    source: str = Field(description="bundled/NAME, a file, a folder, or a Hub id")
    templates: str | list[str] | dict[str, Any] | None = Field(
        None,
        description="library entry, ENTRY/TEMPLATE, a YAML file, or an inline template; "
        "default: by the format that the source is found to have",
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="template's column name -> the source's column name"
    )
    references: list[str] = Field(
        default_factory=list, description="columns with further references, used in scoring only"
    )
    system: str | None = Field(None, description="system message put before every prompt")
    limit: Count | None = Field(None, description="use only the first N rows")
    split: SplitSpec = SplitSpec()


class MethodSpec(BaseModel):
    """The tuning method by name; its options are checked by the method itself."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str = "lora"

    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class TrainSpec(Strict):
    """The training loop: how long, how fast, how much at once."""

    epochs: Annotated[float, Field(gt=0)] = 3.0
    max_steps: Count | None = Field(None, description="stop after this many optimiser steps")
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="default: what the method recommends"
    )
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Fraction = Field(0.05, description="share of the steps spent warming up")
    batch_size: Count = Field(8, description="documents in one forward pass")
    accumulation: Count = Field(1, description="forward passes per optimiser step")
    max_length: Annotated[int, Field(ge=8)] = Field(1024, description="tokens, prompt + completion")
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 ...")
    seed: Annotated[int, Field(ge=0)] = 0
    validate_every: Count | None = Field(None, description="steps; default: once per epoch")
    save_every: Count | None = Field(None, description="steps; default: once per epoch")
    keep_checkpoints: Count = 2


class GenerationSpec(Strict):
    """How completions are generated when scoring."""

    max_new_tokens: Count = 96
    temperature: Annotated[float, Field(ge=0)] = Field(0.0, description="0 is greedy")


class EvaluateSpec(Strict):
    """What is measured before and after."""

    metrics: list[str] = Field(default_factory=lambda: ["rouge", "bleu"])
    guards: list[str] = Field(default_factory=list, description="tasks that must not get worse")
    generation: GenerationSpec = GenerationSpec()
    limit: Count | None = Field(None, description="score only the first N test rows")
    guard_limit: Count | None = Field(None, description="score only the first N items of a guard")
    batch_tokens: Count = Field(8192, description="tokens held at once while scoring")
    resamples: Count = Field(2000, description="bootstrap and permutation draws")


class Recipe(Strict):
    """One experiment: model, data, method, training and evaluation."""

    name: str | None = Field(None, description="the run's folder name; default: the file's name")
    model: str | ModelSpec = "bundled"
    data: DataSpec
    method: MethodSpec = MethodSpec()
    train: TrainSpec = TrainSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    runs: str = Field("runs", description="folder that holds the runs")
    _source: Source | None = PrivateAttr(None)

    @property
    def source(self) -> Source:
        """Where the recipe was read from, for error messages."""
        return self._source or Source("recipe", {}, None)

    @property
    def base(self) -> ModelSpec:
        """The model section in its long form."""
        return ModelSpec(name=self.model) if isinstance(self.model, str) else self.model

    def to_dict(self) -> dict[str, Any]:
        """Plain values with every default written out."""
        values = self.model_dump(mode="json")
        values["model"] = self.base.model_dump(mode="json")
        return values

    def to_yaml(self) -> str:
        """The resolved recipe as YAML; `load_recipe` reads it back to an equal recipe."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=100)


class Source:
    """The file a recipe came from, the line of each key, and the folder relative paths may use."""

    def __init__(self, label: str, lines: Mapping[KeyPath, int], folder: Path | None) -> None:
        self.label, self.lines, self.folder = label, lines, folder
        self.overridden: set[KeyPath] = set()

    def at(self, path: KeyPath) -> str:
        """`file, line N`, for the deepest part of the path that stands in the file."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.overridden:
                return f"--set {'.'.join(str(p) for p in path[:end])}"
            if path[:end] in self.lines:
                return f"{self.label}, line {self.lines[path[:end]]}"
        return self.label

    def resolve(self, path: str) -> Path:
        """A path relative to the working directory, else to the recipe's folder."""
        here = Path(path).expanduser()
        if here.exists() or here.is_absolute() or self.folder is None:
            return here
        beside = self.folder / here
        return beside if beside.exists() else here


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe file and apply `a.b=c` overrides, in their order.

    An override that changes `method.name` drops the options and the learning rate that the file
    gives for the method it names.

    Raises InputError naming the file and line of an unknown key (with the nearest valid one),
    a value of the wrong type, or malformed YAML.
    """
    file = Path(path)
    if not file.is_file():
        beside = sorted(p.name for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        close = nearest(file.name, beside)
        hint = f" Did you mean {file.parent / close[0]}?" if close else ""
        raise InputError(f"{path}: no such recipe file.{hint}")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}).") from None
    values, lines = parse(text, str(path))
    if not isinstance(values, dict):
        raise InputError(f"{path}: a recipe is a mapping with the keys data, method, train ...")
    return recipe_from_dict(values, overrides, Source(str(path), lines, file.resolve().parent))


def recipe_from_dict(
    values: Mapping[str, Any], overrides: Iterable[str] = (), source: Source | None = None
) -> Recipe:
    """Build a recipe from plain values; errors as in `load_recipe`."""
    source = source or Source("recipe", {}, None)
    merged = json.loads(json.dumps(dict(values)))
    for override in overrides:
        source.overridden.add(_apply(merged, override))
    if merged.get("name") is None and source.folder is not None:
        merged["name"] = Path(source.label).stem
    recipe = check(Recipe, merged, source, ())
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", recipe.name or "run"):
        raise InputError(
            f"{source.at(('name',))}: name {recipe.name!r} is not a folder name; "
            "use letters, digits, '.', '_' and '-'."
        )
    recipe._source = source
    return recipe


def check(
    model: type[OptionsT], values: Mapping[str, Any], source: Source, prefix: KeyPath
) -> OptionsT:
    """Validate values against a pydantic model; the first problem becomes one clear InputError."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(_sentence(model, error, source, prefix)) from None


def json_schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for editors."""
    return Recipe.model_json_schema()


def _apply(values: dict[str, Any], override: str) -> KeyPath:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {override!r}: write it as key.subkey=value.")
    *parents, last = key.strip().split(".")
    target = values
    for depth, part in enumerate(parents):
        child = target.get(part)
        if child is None or (part == "model" and isinstance(child, str)):
            child = {"name": child} if isinstance(child, str) else {}
            target[part] = child
        if not isinstance(child, dict):
            at = ".".join(parents[: depth + 1])
            raise InputError(f"--set {override}: {at} is not a section that has keys.")
        target = child
    value = parse_scalar(text)
    if (*parents, last) == ("method", "name") and target.get("name") != value:
        # What the file says of another method, its learning rate included, does not carry over.
        target.clear()
        if isinstance(values.get("train"), dict):
            values["train"].pop("learning_rate", None)
    target[last] = value
    return (*parents, last)


def _sentence(
    model: type[BaseModel], error: ValidationError, source: Source, prefix: KeyPath
) -> str:
    problems = error.errors()
    # A union reports one problem a member; an unknown key in the longest path is the real one.
    problem = max(problems, key=lambda p: (p["type"] == "extra_forbidden", len(p["loc"])))
    loc = tuple(part for part in problem["loc"] if not _is_union_tag(part))
    path: KeyPath = (*prefix, *loc)
    dotted = ".".join(str(p) for p in path)
    at = source.at(path)
    if problem["type"] == "extra_forbidden":
        valid = sorted(_fields_at(model, loc[:-1]))
        close = nearest(str(loc[-1]), valid)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{at}: unknown key {dotted!r}; {hint}Valid here: {', '.join(valid)}."
    if problem["type"] == "missing":
        return f"{at}: the key {dotted!r} is required."
    given = problem["input"]
    return f"{at}: {dotted} = {given!r} is not valid: {_plain(problem['msg'])}."


def _plain(message: str) -> str:
    return message[0].lower() + message[1:].replace("Input should", "it should")


def _is_union_tag(part: str | int) -> bool:
    return isinstance(part, str) and (
        part in {"str", "int", "float", "bool", "constrained-float"}
        or part[:1].isupper()
        or "[" in part
    )


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> set[str]:
    current: type[BaseModel] = model
    for part in loc:
        field = current.model_fields.get(str(part))
        nested = _model_in(field.annotation) if field else None
        if nested is None:
            return set()
        current = nested
    return set(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
