"""The base class and field types of a recipe's sections."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

SPLITS = ("train", "validation", "test")
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Weight = Annotated[float, Field(gt=0)]


def _share_or_rows(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        wanted = "Input should be a share below 1, such as 0.1, or a number of rows, such as 500"
        said = (
            "{wanted}; one row is 1, not 1.0" if type(value) is float and value == 1 else "{wanted}"
        )
        raise PydanticCustomError("held_out", said, {"wanted": wanted}) from None


# A float is a share, an integer from 1 on a number of rows; 0 is no rows in either form.
HeldOut = Annotated[
    Annotated[Fraction | Count, Field(union_mode="left_to_right")], WrapValidator(_share_or_rows)
]


class Strict(BaseModel):
    """Base of every section: no unknown key, no silent conversion, no change after reading.

    Infinite and NaN numbers are refused too: they would cause misleading errors later.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
