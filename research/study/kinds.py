"""The kinds of value a study's settings have, and the section that every table of it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from research import units
from research.errors import UserError


def _moment(value: Any) -> datetime:
    """Read a day or a moment as UTC; ``2025-05-01`` is its first instant."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise UserError(f"{value!r}: expected a day or a moment, as in 2025-05-01.") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _below(bound: float, *, signed: bool = False) -> Callable[[Any], float]:
    """Return what reads a fraction below `bound`; 5 was most likely meant as 5 bps.

    Where it is `signed`, -5 was meant as -5 bps, too.
    """

    def read(value: Any) -> float:
        found = units.fraction(value)
        if (abs(found) if signed else found) < bound:
            return found
        plain = str(value).strip()
        hint = "" if plain.endswith(tuple(units.RATES)) else f" Did you mean '{plain} bps'?"
        least = f"within {bound:g} of zero" if signed else f"less than {bound:g}"
        raise UserError(f"should be {least}, found {value!r}.{hint}")

    return read


Fraction = Annotated[float, BeforeValidator(units.fraction)]
Rate = Annotated[float, BeforeValidator(_below(0.1)), Field(ge=0)]
"""A cost per side, as a fraction of price: not below zero."""
Fee = Annotated[float, BeforeValidator(_below(0.1, signed=True))]
"""A fee per side, as a fraction of notional; below zero: a rebate."""
Return = Annotated[float, BeforeValidator(_below(0.5))]
"""An expected return over one horizon, as a fraction of price."""
Duration = Annotated[timedelta, BeforeValidator(units.duration), PlainSerializer(units.show)]
Pause = Annotated[timedelta, BeforeValidator(units.pause), PlainSerializer(units.show)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Moment = Annotated[datetime, BeforeValidator(_moment)]


class Section(BaseModel):
    """One table of a study file: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
