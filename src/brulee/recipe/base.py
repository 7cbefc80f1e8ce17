"""What every section of a recipe is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Weight = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    """Base of every section: no unknown key, no silent conversion, no change after reading.

    And no infinite or NaN number, which would be blamed on something else later.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
