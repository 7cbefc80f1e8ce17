"""The sections of a recipe other than its data."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
)
from pydantic_core import PydanticCustomError

from brulee.recipe.base import Count, Fraction, Interval, Strict, Text
from brulee.recipe.rope import RopeScalingSection

OF_ANSWERS: Final = ("rouge", "bleu")  # the default metrics
ALONGSIDE: Final = ("train_tokens", "train_whole")  # keys of the method's section, of any method
ADDED: Final = ("add_tokens", "add_special_tokens")  # keys of the model's section
# Keys of AdamW that other optimisers do not have.
WITHOUT: Final = {"adafactor": ("beta1", "beta2", "epsilon"), "lion": ("epsilon",)}
OF_TEXTS: Final = ("bits_per_byte",)  # the default metrics of plain text


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _once(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise PydanticCustomError("twice", "it names {name} twice", {"name": repr(name)})
    return names


def _share_or_steps(warmup: float) -> float:
    if warmup >= 1 and warmup != int(warmup):
        said = (
            "1 or more is a number of steps, which must be a whole number; below 1 is a share of "
            "them"
        )
        raise PydanticCustomError("warmup", "{said}", {"said": said})
    return warmup


def _only_of(schedule: str) -> AfterValidator:
    """Refuses a key that only one schedule has, unless its value is the default."""

    def refuse_elsewhere(value: Any, at: ValidationInfo) -> Any:
        # An invalid schedule is absent here, and told by itself.
        given = at.data.get("schedule", schedule)
        if given != schedule and value != TrainSpec.model_fields[str(at.field_name)].default:
            said = f"only train.schedule: {schedule} has it, and here it is {given}; leave it out"
            raise PydanticCustomError("of_schedule", "{said}", {"said": said})
        return value

    return AfterValidator(refuse_elsewhere)


def _as_a_token(text: str) -> str:
    said = (
        "it is empty; a token is a text"
        if not text
        else "a token is a text without spaces or line breaks"
    )
    if not text or any(sign.isspace() for sign in text):
        raise PydanticCustomError(
            "token", "{text} is no token: {said}", {"text": repr(text), "said": said}
        )
    return text


# One name is shorthand for a list of one. They are checked against `training.trackers.TRACKERS`.
TrackerNames = Annotated[
    list[str],
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
    AfterValidator(_once),
]


TokenText = Annotated[str, AfterValidator(_as_a_token)]
TokenTexts = Annotated[list[TokenText], AfterValidator(_once)]


class Languages(Strict):
    """The languages of a translation model, by its tokenizer's names (deu_Latn, de_DE, de)."""

    source: str = Field(description="the language of prompts")
    target: str = Field(description="the language of completions")


class ModelSpec(Strict):
    """Which base model, and how it is held in memory."""

    name: str = Field("bundled", description="bundled, a Hub id, a folder, or a .gguf file")
    revision: str | None = Field(None, description="Hub revision")
    quantise: Literal["nf4"] | None = Field(
        None, description="hold the linear layers in four bits (QLoRA); needs bitsandbytes"
    )
    add_tokens: TokenTexts = Field(
        [], description="texts that become one token each, wherever a text contains them"
    )
    add_special_tokens: TokenTexts = Field(
        [], description="control tokens, which only the chat template writes"
    )
    chat_template: str = Field(
        "auto",
        description="auto: the tokenizer's own, if it has one; none: plain text; or a file",
        min_length=1,
    )
    chat_template_kwargs: dict[str, Any] = Field(
        {}, description="variables of the chat template, such as enable_thinking: false"
    )
    rope_scaling: RopeScalingSection = Field(
        None, description="stretch rotary positions for longer texts: yarn, or {rope_type, factor}"
    )
    languages: Languages | None = Field(
        None, description="of NLLB, mBART or M2M100: {source: deu_Latn, target: eng_Latn}"
    )


class MethodSpec(BaseModel):
    """The tuning method by name; its options are checked by the method itself.

    With `start`, the name and the options are those of the adapter, unless they are given.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str = "lora"
    start: str | None = Field(
        None, description="a run or an adapter's folder whose training is continued", min_length=1
    )
    train_tokens: list[TokenText | Annotated[int, Field(ge=0)]] = Field(
        [],
        description="tokens, or their ids, whose rows of the embedding and of the head are trained "
        "beside an adapter; those that the model section adds always are",
    )
    train_whole: list[Text] = Field(
        [], description="modules that are trained whole beside an adapter, such as lm_head"
    )

    @property
    def named(self) -> bool:
        """Whether the recipe gives the name."""
        return "name" in self.model_fields_set

    def options(self) -> dict[str, Any]:
        """The method's own options: not the name, the start, and what is trained alongside."""
        return dict(self.model_extra or {})

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        for key in ALONGSIDE:
            if not getattr(self, key):
                values.pop(key, None)
        if self.start is None:
            values.pop("start", None)
        elif not self.named:  # the adapter's, not the default
            values.pop("name", None)
        return values


class TrainSpec(Strict):
    """The training loop: how long, how fast, how much at once."""

    epochs: Annotated[float, Field(gt=0)] = 3.0
    max_steps: Count | None = Field(
        None, description="stop after this many optimiser steps, if the epochs do not end first"
    )
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="default: what the method recommends"
    )
    embedding_learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="of token embeddings and the head; default: learning_rate"
    )
    schedule: Literal[
        "cosine", "linear", "constant", "wsd", "cosine_with_restarts", "polynomial", "inverse_sqrt"
    ] = Field("cosine", description="after warm-up; wsd: constant, then falling over `cooldown`")
    warmup: Annotated[float, Field(ge=0), AfterValidator(_share_or_steps)] = Field(
        0.05, description="below 1: share of the steps spent warming up; 1 or more: number of steps"
    )
    min_rate: Fraction = Field(
        0.0, description="fraction of the learning rate at which every schedule but constant ends"
    )
    num_cycles: Annotated[Count, _only_of("cosine_with_restarts")] = Field(
        1, description="of cosine_with_restarts: the halves of a cosine"
    )
    power: Annotated[float, Field(gt=0), _only_of("polynomial")] = Field(
        1.0, description="of polynomial: of the share of the steps that is left"
    )
    decay_type: Annotated[Literal["1-sqrt", "linear", "cosine"], _only_of("wsd")] = Field(
        "1-sqrt", description="of wsd: how it falls"
    )
    cooldown: Annotated[float, Field(ge=0), AfterValidator(_share_or_steps)] = Field(
        0.2,
        description="below 1: share of the steps after warm-up in which wsd falls; 1 or more: "
        "number of steps",
    )
    batch_size: Count = Field(8, description="documents of an optimiser step (times accumulation)")
    accumulation: Count = Field(1, description="batches whose gradients make one optimiser step")
    max_length: Annotated[int, Field(ge=8)] = Field(
        1024,
        description="tokens of a document: prompt and completion, or a piece of plain text; "
        "default: no more than the model reads",
    )
    optimizer: Literal["adamw", "adamw8bit", "paged_adamw8bit", "adafactor", "muon", "lion"] = (
        Field(
            "adamw",
            description="8bit: AdamW's moments in 8 bits, by bitsandbytes; paged: on a GPU; muon: "
            "of linear maps, the rest by AdamW; lion: at a fifth of the usual learning rate",
        )
    )
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    beta1: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9, description="AdamW's, of the mean; lion's, of the step"
    )
    beta2: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="of the mean square; lion's, of the mean; default: 0.999, lion's 0.99"
    )
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    neftune_alpha: Annotated[float, Field(gt=0)] | None = Field(
        None, description="noise on the embeddings while training (NEFTune): 5, for instance"
    )
    prompt_loss_weight: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0,
        description="how often the loss of a prompt's token counts; 0: only answers are learned",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="share of a learned token's target that is spread over the vocabulary; of the "
        "loss that is trained, not of what is validated or scored",
    )
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 ...")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    shuffle: bool = Field(
        True, description="draw the order of rows anew for every epoch; false: that of the source"
    )
    validate_every: Interval | None = Field(
        None, description="steps; below 1: share of an epoch; default: once per epoch"
    )
    save_every: Interval | None = Field(
        None, description="steps; below 1: share of an epoch; default: once per epoch"
    )
    keep_checkpoints: Count = 2
    keep_best: bool = Field(
        False, description="keep the weights with the lowest validation loss and end with them"
    )
    patience: Count | None = Field(
        None, description="stop after this many validations without improvement"
    )
    generate_every: Interval | None = Field(
        None,
        description="steps, or below 1 the share of an epoch, between completions of validation "
        "rows, scored; default: never",
    )
    generate_rows: Count = Field(8, description="validation rows that generate_every completes")
    micro_batch: Literal["auto"] | Count = Field(
        "auto", description="maximum tokens in one pass; auto: to suit the device and its memory"
    )
    trackers: TrackerNames = Field(
        default_factory=list,
        description="where else to send the numbers of events.jsonl: tensorboard, wandb, mlflow",
    )
    max_skips: Count = Field(
        3, description="stop after this many steps in a row with a non-finite loss or gradient"
    )


class GenerationSpec(Strict):
    """How completions are generated when scoring."""

    max_new_tokens: Count = 96
    temperature: Annotated[float, Field(ge=0)] = Field(0.0, description="0 is greedy")
    top_p: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="sample only the likeliest tokens with this total probability"
    )
    top_k: Annotated[int, Field(ge=0)] = Field(
        0, description="sample only so many of the likeliest tokens; 0: all"
    )
    min_p: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="sample only tokens this many times as likely as the likeliest"
    )
    repetition_penalty: Annotated[float, Field(gt=0)] = Field(
        1.0, description="above 1: tokens that prompt and answer have are less likely"
    )
    beams: Count = Field(1, description="width of a beam search; 1 chooses token by token")
    length_penalty: Annotated[float, Field(ge=-10, le=10)] = Field(
        1.0, description="of beams: log-probability / tokens ** length_penalty is the score"
    )
    json_schema: dict[str, Any] | None = Field(
        None, description="constrain every answer to this JSON Schema"
    )


class EvaluateSpec(Strict):
    """What is measured before and after."""

    metrics: list[str] | None = Field(
        None,
        description="for tasks with answers; default: rouge, bleu, for plain text bits_per_byte",
    )
    guards: list[str] = Field(
        default_factory=list,
        description="tasks that must not get worse: common-knowledge, mmlu/marketing, glue/rte ...",
    )
    data: dict[str, str] = Field(
        default_factory=dict,
        description="suite -> folder of its official files, for guards; otherwise the Hub's copy",
    )
    generation: GenerationSpec = GenerationSpec()
    limit: Count | None = Field(
        None,
        description="score only N test rows, drawn once for all; for plain text, all pieces of N "
        "texts",
    )
    phrasings: Literal["all"] | Count = Field(
        1,
        description="score test rows under the first N phrasings of their task; take the mean",
    )
    guard_limit: Count | None = Field(None, description="score only the first N items of a guard")
    batch_tokens: Count = Field(8192, description="tokens held at once while scoring")
    resamples: Count = Field(2000, description="bootstrap and permutation draws")

    @property
    def of_answers(self) -> list[str]:
        """The metrics of tasks with answers that do not name their own."""
        return list(OF_ANSWERS) if self.metrics is None else self.metrics
