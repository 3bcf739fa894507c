"""The four kinds of rule: which forecasts open a position, and which close it."""

import math
from datetime import timedelta

from research.errors import UserError, nearest
from research.trading.rules.words import (
    FOLLOW,
    FORMS,
    PROBABILITY,
    QUANTILE,
    SIDES,
    THRESHOLD,
    Rules,
)


def threshold(
    *,
    enter: float,
    interval: timedelta,
    leave: float = 0.0,
    side: str = "auto",
) -> Rules:
    """Trade forecasts beyond a threshold.

    Parameters
    ----------
    enter : float
        A position is opened long when the forecast is above `enter`, short when it is below
        ``-enter``; an expected simple return (0.0008 is 8 bps), not below 0.
    interval : timedelta
        Length of a bar.
    leave : float
        A long is closed when the forecast is below ``-leave``, a short when it is above `leave`
        (reason `reversal`); where the forecast lies beyond `enter` on the other side too, and no
        cooldown forbids it, the position is turned at the same open. May be negative, down to
        ``-enter``: then a position is left as soon as its edge has shrunk to that much.
    side : {"auto", "long", "short", "longshort"}
        Sides that may be held; auto is both.

    Returns
    -------
    Rules
        Without exits and costs: see `with_exits` and `with_costs`.

    Raises
    ------
    UserError
        If a number is out of its range or `side` is not one of the words.

    Examples
    --------
    >>> rules = threshold(enter=0.0008, interval=timedelta(minutes=1))
    >>> rules.enter, rules.leave, rules.long, rules.short
    (0.0008, 0.0, True, True)
    """
    word("side", side, SIDES)
    if not 0 <= enter < math.inf:
        raise UserError(f"threshold: enter must be 0 or above, found {enter}.")
    if not -enter <= leave < math.inf:
        raise UserError(
            f"threshold: leave must be at least -enter ({-enter}), found {leave}: "
            "a position would be left and entered again at every bar."
        )
    return Rules(
        kind=THRESHOLD,
        interval=microseconds("interval", interval, least=1),
        long=side != "short",
        short=side != "long",
        enter=float(enter),
        leave=float(leave),
    )


def quantile(
    bins: int,
    quantile: int | None = None,
    side: str = "auto",
    form: str = "threshold",
    *,
    interval: timedelta,
) -> Rules:
    """Trade the bin of the forecast.

    Parameters
    ----------
    bins : int
        Number of quantile bins; bin 1 holds the lowest forecasts.
    quantile : int, optional
        The bin to trade, q. Absent: long the top bin, short the bottom one (as `side` allows).
    side : {"auto", "long", "short", "longshort"}
        With q: ``long`` buys q, ``short`` sells q, ``longshort`` buys q and sells bins - q + 1,
        ``auto`` buys q where q > bins / 2 and sells it otherwise.
    form : {"threshold", "exact"}
        ``threshold`` also trades the bins beyond (at or above a bought bin, at or below a sold
        one), ``exact`` that bin alone. Where both legs would claim a bin, the short leg is
        skipped.
    interval : timedelta
        Length of a bar.

    Returns
    -------
    Rules
        Without `hold` a position lasts while its bins do: it is closed at the first bar whose bin
        is not its own. With `hold` (see `with_exits`) it lasts that long; then it is closed, or,
        if the bar's bin is its own again, held for another `hold` without a round trip. A bin of
        the other side turns it at once.

    Raises
    ------
    UserError
        If q is not a bin, or a word is unknown.

    Examples
    --------
    >>> rules = quantile(10, 9, "longshort", interval=timedelta(minutes=1))
    >>> rules.q_long, rules.q_short
    (9, 2)
    """
    word("side", side, SIDES)
    word("form", form, FORMS)
    if bins < 2 or not 1 <= (1 if quantile is None else quantile) <= bins:
        raise UserError(
            f"quantile: must be a bin from 1 to {bins}, found {quantile} of {bins} bins."
        )
    if quantile is None:
        q_long, q_short = bins, 1
    else:
        if side == "auto":
            side = "long" if quantile > bins / 2 else "short"
        q_long, q_short = quantile, bins - quantile + 1 if side == "longshort" else quantile
    long, short = side != "short", side != "long"
    if long and short and (q_long == q_short if form == "exact" else q_short >= q_long):
        short = False
    return Rules(
        kind=QUANTILE,
        interval=microseconds("interval", interval, least=1),
        long=long,
        short=short,
        q_long=q_long if long else bins + 1,
        q_short=q_short if short else 0,
        exact=form == "exact",
    )


def probability(*, enter: float, interval: timedelta, side: str = "auto") -> Rules:
    """Trade the likeliest class where it is likely enough, and hold for a stated time.

    Parameters
    ----------
    enter : float
        A position is opened long when the signed probability is at least `enter`, short when it is
        at most ``-enter``; above 0, not above 1. The desk is handed, as its forecast, the
        probability of up where up is the likeliest class, minus that of down where down is, and 0
        where flat is or two are equally likely.
    interval : timedelta
        Length of a bar.
    side : {"auto", "long", "short", "longshort"}
        Sides that may be held; auto is both.

    Returns
    -------
    Rules
        Give it a `hold` (see `with_exits`): until then no forecast ends a position. At the first
        close at or after it the position is closed (reason `horizon`), turned where that close
        signals the other side (`reversal`), or held for another `hold` without a round trip where
        it signals the same side again.

    Raises
    ------
    UserError
        If `enter` is not a probability above zero or `side` is not one of the words.

    Examples
    --------
    >>> rules = probability(enter=0.5, interval=timedelta(minutes=1), side="long")
    >>> rules.enter, rules.long, rules.short
    (0.5, True, False)
    """
    word("side", side, SIDES)
    if not 0 < enter <= 1:
        raise UserError(f"probability: enter must be above 0 and at most 1, found {enter}.")
    return Rules(
        kind=PROBABILITY,
        interval=microseconds("interval", interval, least=1),
        long=side != "short",
        short=side != "long",
        enter=float(enter),
    )


def follow(*, interval: timedelta, side: str = "auto") -> Rules:
    """Hold the side of the forecast's sign for as long as it has one.

    Parameters
    ----------
    interval : timedelta
        Length of a bar.
    side : {"auto", "long", "short", "longshort"}
        Sides that may be held; auto is both.

    Returns
    -------
    Rules
        A position is left when the forecast becomes 0 (reason `no_edge`) or turns (`reversal`; to
        the other side at the same open, where that side may be held and no cooldown forbids it).
        While the forecast is not known it is held on.

    Raises
    ------
    UserError
        If `side` is not one of the words.

    Examples
    --------
    >>> follow(interval=timedelta(minutes=1)).enter
    0.0
    """
    word("side", side, SIDES)
    return Rules(
        kind=FOLLOW,
        interval=microseconds("interval", interval, least=1),
        long=side != "short",
        short=side != "long",
    )


def word(name: str, found: str, known: tuple[str, ...]) -> None:
    """Say so if `found` is none of the words that `name` can be."""
    if found not in known:
        raise UserError(
            f"{name} {found!r}: expected one of {', '.join(known)}.{nearest(found, list(known))}"
        )


def microseconds(name: str, span: timedelta, *, least: int) -> int:
    """Return `span` in microseconds, or say that it is below `least`, 0 or 1."""
    count = span // timedelta(microseconds=1)
    if count < least:
        raise UserError(f"{name}: must be {'above' if least else 'at least'} zero, found {span}.")
    return count
