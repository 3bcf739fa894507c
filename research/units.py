"""Text with a unit to plain numbers: rates to fractions, spans of time to `timedelta`.

A number without a unit is refused where a unit decides its meaning: ``5`` could be five percent or
five basis points, and one of the source projects traded at a hundredth of its threshold for that.
"""

import math
import re
from datetime import timedelta

from research.errors import UserError

RATES = {"bps": 1e-4, "bp": 1e-4, "%": 1e-2}
SPANS = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "sec": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "hour": timedelta(hours=1),
    "hours": timedelta(hours=1),
    "d": timedelta(days=1),
    "day": timedelta(days=1),
    "days": timedelta(days=1),
    "w": timedelta(weeks=1),
    "mo": timedelta(days=30),
}
_SHOWN = ("d", "h", "min", "s", "ms", "us")
_NUMBER_UNIT = re.compile(r"\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([A-Za-z%]+)\s*")


def fraction(text: str | float) -> float:
    """Read a rate such as ``"8 bps"`` or ``"0.5 %"`` as a fraction.

    Parameters
    ----------
    text : str or float
        A number followed by ``bps`` or ``%``; a plain number is taken as a fraction already.

    Returns
    -------
    float
        0.0008 for ``"8 bps"``.

    Raises
    ------
    UserError
        If the unit is unknown, or the value is not finite.

    Examples
    --------
    >>> fraction("8 bps"), fraction("0.5%"), fraction(0.02)
    (0.0008, 0.005, 0.02)
    >>> fraction("8 pips")
    Traceback (most recent call last):
    research.errors.UserError: rate '8 pips': expected a number with bps or %, as in '8 bps'.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        if math.isfinite(text):
            return float(text)
    elif match := _NUMBER_UNIT.fullmatch(str(text)):
        if match[2] in RATES:
            # division keeps "8 bps" equal to the literal 0.0008
            return float(match[1]) / round(1 / RATES[match[2]])
    elif re.fullmatch(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", str(text)):
        return float(text)
    raise UserError(f"rate {text!r}: expected a number with bps or %, as in '8 bps'.")


def duration(text: str | timedelta) -> timedelta:
    """Read a span of time such as ``"15 min"``, ``"1m"``, ``"48 h"`` or ``"3 mo"``.

    Parameters
    ----------
    text : str or timedelta
        A number and a unit: us, ms, s, m or min, h, d, w, mo (30 days). The space is optional.

    Returns
    -------
    timedelta
        Always above zero.

    Raises
    ------
    UserError
        If the unit is missing or unknown, or the span is not above zero.

    Examples
    --------
    >>> duration("1m") == duration("1 min") == timedelta(minutes=1)
    True
    >>> duration("2 mo").days
    60
    >>> duration("15")
    Traceback (most recent call last):
    research.errors.UserError: duration '15': expected a number with a unit (s, min, ...
    """
    if isinstance(text, timedelta):
        span = text
    else:
        match = _NUMBER_UNIT.fullmatch(str(text))
        if not match or match[2] not in SPANS:
            raise UserError(
                f"duration {text!r}: expected a number with a unit (s, min, h, d, mo), "
                "as in '15 min'."
            )
        span = _span(match)
    if span <= timedelta(0):
        raise UserError(f"duration {text!r}: must be above zero.")
    return span


def _span(match: re.Match) -> timedelta:
    try:
        return float(match[1]) * SPANS[match[2]]
    except OverflowError as error:
        raise UserError(f"duration {match[0]!r}: too long to be a span of time.") from error


def pause(text: str | timedelta | float) -> timedelta:
    """Read a span of time that may also be zero (an embargo, a cooldown).

    >>> pause("0"), pause("3 min")
    (datetime.timedelta(0), datetime.timedelta(seconds=180))
    """
    if text in (0, timedelta(0)) or re.fullmatch(r"\s*0+\s*[a-z]*\s*", str(text)):
        return timedelta(0)
    return duration(text)  # type: ignore[arg-type]


def show(span: timedelta) -> str:
    """Write a span of time in the largest unit that divides it: the form studies use.

    >>> show(timedelta(minutes=60)), show(timedelta(minutes=90)), show(timedelta(days=30))
    ('1 h', '90 min', '30 d')
    """
    for unit in _SHOWN:
        if span and span % SPANS[unit] == timedelta(0):
            return f"{span // SPANS[unit]} {unit}"
    return "0 min"
