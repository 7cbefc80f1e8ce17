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


def _share_or_number(wanted: str, one: str) -> WrapValidator:
    """One sentence for both forms; 1.0 is neither, since a reader could take it for either."""

    def read_either(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        try:
            return read(value)
        except ValidationError:
            more = f"; {one} is 1, not 1.0" if type(value) is float and value == 1 else ""
            said = {"wanted": f"Input should be {wanted}{more}"}
            raise PydanticCustomError("share_or_number", "{wanted}", said) from None

    return WrapValidator(read_either)


# A float is a share, an integer from 1 on a number of rows; 0 is no rows in either form.
HeldOut = Annotated[
    Annotated[Fraction | Count, Field(union_mode="left_to_right")],
    _share_or_number("a share below 1, such as 0.1, or a number of rows, such as 500", "one row"),
]
# The same of an epoch and of steps; there is no zero.
Interval = Annotated[
    Annotated[Annotated[float, Field(gt=0.0, lt=1.0)] | Count, Field(union_mode="left_to_right")],
    _share_or_number(
        "a number of steps, such as 100, or a share of an epoch below 1, such as 0.25", "one step"
    ),
]


class Strict(BaseModel):
    """Base of every section: no unknown key, no silent conversion, no change after reading.

    Infinite and NaN numbers are refused too: they would cause misleading errors later.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
