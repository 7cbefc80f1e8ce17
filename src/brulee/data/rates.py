"""How often each member of a mixture is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from brulee.errors import InputError, unknown

Kind = Literal["proportional", "equal", "weights"]


@dataclass(frozen=True, slots=True)
class Rates:
    """The rule that turns row counts or weights into rates.

    `proportional` follows T5 (Raffel et al. 2020, section 3.5.2; SeqIO's
    `mixing_rate_num_examples`): (min(rows x `scale`, `rate_cap`)) ** (1 / `temperature`). The rate
    cap limits how often a member is drawn, but keeps all its rows in use; `Part.row_cap` limits the
    rows. `equal` gives every member the rate 1, `weights` its weight. Raises InputError for an
    unknown kind, a number that is not positive, a temperature under 1, and an option that the kind
    does not use.
    """

    kind: Kind = "proportional"
    rate_cap: float | None = None
    temperature: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise unknown("rule for rates", self.kind, get_args(Kind))
        numbers = {"temperature": self.temperature, "scale": self.scale}
        if self.rate_cap is not None:
            numbers["rate_cap"] = self.rate_cap
        for name, number in numbers.items():
            check_positive(f"rates: {name}", number)
        if self.temperature < 1:
            raise InputError(
                f"rates: temperature is {self.temperature}; 1 keeps the rates and higher values "
                "even them out."
            )
        if self.kind != "proportional" and (set(numbers.values()) != {1.0} or self.rate_cap):
            raise InputError(
                f"rates: {self.kind!r} uses no rate_cap, temperature or scale;"
                " leave them out or take 'proportional'."
            )

    def of(
        self, where: str, rows: Mapping[str, int], weights: Mapping[str, float | None]
    ) -> list[float]:
        """One rate per member, in the order of `rows`; `weights` has the same names.

        Raises InputError, naming the member in `where`, for a weight that is missing, unused or
        not a positive number.
        """
        if self.kind == "weights":
            return [_given(where, name, weights[name]) for name in rows]
        for name, weight in weights.items():
            if weight is not None:
                raise InputError(
                    f"{where}: {name!r} has a weight, which {self.kind!r} rates do not use;"
                    " leave it out or take 'weights'."
                )
        if self.kind == "equal":
            return [1.0] * len(rows)
        rates = {name: self._proportional(count) for name, count in rows.items()}
        for name, rate in rates.items():
            check_positive(f"{where}: the rate of {name!r}, its rows times mix.scale,", rate)
        return list(rates.values())

    def _proportional(self, rows: int) -> float:
        rate = rows * self.scale
        if self.rate_cap is not None:
            rate = min(rate, self.rate_cap)
        return float(rate ** (1 / self.temperature))


def shares(rates: Sequence[float]) -> list[float]:
    """Rates divided by their sum; InputError if the sum overflows."""
    try:
        total = math.fsum(rates)
    except OverflowError:
        raise InputError("rates: their sum is not finite; give smaller ones.") from None
    return [rate / total for rate in rates]


def check_positive(what: str, number: float) -> None:
    """Raise InputError unless `number` is finite and greater than 0."""
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{what} is {number}; give a number greater than 0.")


def _given(where: str, name: str, weight: float | None) -> float:
    if weight is None:
        raise InputError(f"{where}: {name!r} has no weight; with 'weights' every member needs one.")
    check_positive(f"{where}: the weight of {name!r}", weight)
    return weight
