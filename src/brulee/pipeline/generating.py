"""How answers are generated when a recipe's tests are scored."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from brulee.data.json_schema import check_schema
from brulee.errors import InputError
from brulee.inference.json_form import json_form
from brulee.inference.sampling import Sampling
from brulee.models.generation_settings import own_way
from brulee.models.loading import Base
from brulee.progress import note
from brulee.recipe import Recipe

_SCHEMA = ("evaluate", "generation", "json_schema")
_BEAMS = ("evaluate", "generation", "beams")


def sampling_of(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Sampling:
    """The sampling that `evaluate.generation` specifies.

    Raises InputError naming the recipe's line for a schema that cannot be enforced, and for
    settings that are not valid together.
    """
    spec = recipe.evaluate.generation
    form = None
    if spec.json_schema is not None:
        place = f"{recipe.source.at(_SCHEMA)}: {'.'.join(_SCHEMA)}"
        form = json_form(tokenizer, check_schema(spec.json_schema, place), place)
    try:
        return Sampling(
            spec.max_new_tokens,
            spec.temperature,
            spec.top_p,
            beams=spec.beams,
            length_penalty=spec.length_penalty,
            form=form,
            top_k=spec.top_k,
            min_p=spec.min_p,
            repetition_penalty=spec.repetition_penalty,
        )
    except InputError as error:  # of values that are valid, but not together
        raise InputError(f"{recipe.source.at(_BEAMS)}: evaluate.generation: {error}") from None


def tell_own_way(base: Base, sampling: Sampling) -> None:
    """Note the settings of a model's files that answers do not follow, if there are any.

    Summaries of BART, say, are expected to be written with four beams and without repetition.
    """
    used = {"num_beams": sampling.beams, "repetition_penalty": sampling.repetition_penalty}
    others = {k: v for k, v in own_way(base.model).items() if v != used.get(k)}
    if others:
        told = ", ".join(f"{key} {value}" for key, value in others.items())
        note(
            f"{base.name}: its generation_config.json has settings that are not followed ({told}); "
            "evaluate.generation says how answers are written."
        )
