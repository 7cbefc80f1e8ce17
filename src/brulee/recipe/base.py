"""The base class and field types of a recipe's sections."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Weight = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    """Base of every section: no unknown key, no silent conversion, no change after reading.

    Infinite and NaN numbers are refused too: they would cause misleading errors later.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
