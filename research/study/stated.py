"""Numbers stated once for all or symbol by symbol, and what is said when they are none."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import PlainSerializer, PlainValidator

from research import units
from research.errors import UserError

Books = Literal["books"]


def _number(value: Any) -> float:
    """Read a plain number; a yes or no is none."""
    return math.nan if isinstance(value, bool) else float(value)


def by_symbol(
    read: Callable[[Any], float], law: Callable[[float], bool], expected: str, *words: str
) -> Callable[[Any], Any]:
    """Return a validator of one number for all symbols or a table of one for each."""

    def one(value: Any, whose: str = "") -> Any:
        if value in words:
            return value
        try:
            number = read(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number) and law(number):
            return number
        raise UserError(
            f"expected {expected}, for all symbols or by symbol, found {value!r}{whose}."
        )

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            return one(value)
        return {str(symbol): one(number, f" for {symbol}") for symbol, number in value.items()}

    return check


def _hours(value: Any) -> Any:
    """Read 24 multiples, one for each UTC hour."""
    if value == "books":
        return value
    many = value if isinstance(value, (list, tuple)) else []
    numbers = [_number(v) if isinstance(v, (int, float)) else math.nan for v in many]
    wrong = [given for given, number in zip(many, numbers) if not 0 <= number < math.inf]
    if len(numbers) != 24 or wrong:
        found = f"{len(many)} of them" if many and not wrong else repr(wrong[0] if wrong else value)
        raise UserError(
            "expected 24 multiples of the half-spread, of the UTC hours 0 to 23, none below zero, "
            f"or 'books', found {found}. Leave it out for the same at all hours."
        )
    return numbers


def _latency(value: Any) -> Any:
    """Read the time from a decision to its fill."""
    if value == "measured":
        return value
    try:
        return units.pause(value)
    except UserError:
        raise UserError(
            f"expected a span of time from zero up, with its unit, as in '2 s', found {value!r}. "
            "Write 0 for a fill at the very next open, 'measured' for that of the newest paper run."
        ) from None


HalfSpread = Annotated[
    float | Books | dict[str, float | Books],
    PlainValidator(
        by_symbol(
            units.fraction, lambda x: 0 <= x < 0.1, "a rate from 0 up to 10 %, as '1 bps'", "books"
        )
    ),
]
Step = Annotated[
    float | dict[str, float],
    PlainValidator(by_symbol(_number, lambda x: x >= 0, "a number of at least 0")),
]
Size = Annotated[
    float | dict[str, float] | None,
    PlainValidator(
        lambda v: v if v is None else by_symbol(_number, lambda x: x > 0, "a number above 0")(v)
    ),
]
Hours = Annotated[list[float] | Books, PlainValidator(_hours)]
Latency = Annotated[
    timedelta | Literal["measured"],
    PlainValidator(_latency),
    PlainSerializer(lambda value: value if isinstance(value, str) else units.show(value)),
]
