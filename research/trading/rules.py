"""What to do at the close of a bar: the rules of a strategy as numbers, and the one decision.

Two kinds of rule. `threshold` trades the forecast itself: long above `enter`, short below minus
`enter`. `quantile` trades the bin that causal cut-points put the forecast in. Both may be cut short
by a stop, a take, a longest time in position (`hold`) and a rest after each exit (`cooldown`).
"""

import math
from datetime import timedelta
from typing import NamedTuple

from research.errors import UserError, nearest
from research.steps import compiled

THRESHOLD, QUANTILE = 0, 1

REASONS = (
    "no_edge",
    "entry",
    "hold",
    "reversal",
    "horizon",
    "stop",
    "take",
    "resting",
    "stale_data",
    "waiting",
    "risk_halt",
    "end",
)
"""What a bar's decision can be, at the position of its code."""

(
    NO_EDGE,
    ENTRY,
    HOLD,
    REVERSAL,
    HORIZON,
    STOP,
    TAKE,
    RESTING,
    STALE_DATA,
    WAITING,
    RISK_HALT,
    END,
) = range(len(REASONS))

SIDES = ("auto", "long", "short", "longshort")
FORMS = ("threshold", "exact")


class Rules(NamedTuple):
    """A strategy and its costs in numbers; made by `threshold` or `quantile`, fixed for a run."""

    kind: int
    """`THRESHOLD` or `QUANTILE`."""
    interval: int
    """Length of a bar, in microseconds."""
    long: bool = True
    short: bool = True
    enter: float = 0.0
    """Expected return above which a position is opened."""
    leave: float = 0.0
    """Opposite expected return beyond which one is closed."""
    q_long: int = 0
    """Lowest bin that is bought; above the number of bins: none."""
    q_short: int = 0
    """Highest bin that is sold short; 0: none."""
    exact: bool = False
    """Trade `q_long` and `q_short` alone, not the bins beyond them."""
    hold: int = 0
    """Longest time in position, in microseconds; 0: no limit."""
    stop: float = math.inf
    """Loss, as a fraction of the entry price, at which the position is closed inside a bar."""
    take: float = math.inf
    """Gain, as a fraction of the entry price, at which the position is closed inside a bar."""
    cooldown: int = 0
    """Time after an exit without a new entry, in microseconds."""
    fee: float = 0.0
    """Per side, as a fraction of the traded notional."""
    half_spread: float = 0.0
    slippage: float = 0.0
    funding: float = 0.0
    """Paid by longs to shorts at 00, 08 and 16 UTC, as a fraction of the position's notional."""


class View(NamedTuple):
    """All that the decision about one symbol may know at one close."""

    side: int
    """-1 short, 0 flat, 1 long."""
    age: int
    """Time in position since the entry (or since `hold` was last renewed), in microseconds."""
    rest: int
    """Time left until a new entry is allowed, in microseconds; not above 0: allowed."""
    forecast: float
    """Expected simple return; NaN: not known."""
    bin: int
    """Quantile bin, 1 is the lowest; 0: not known."""
    equity: float


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
    >>> reason, target = decide(View(0, 0, 0, 0.001, 0, 1000.0), rules)
    >>> REASONS[reason], int(target)
    ('entry', 1)
    """
    _word("side", side, SIDES)
    if not 0 <= enter < math.inf:
        raise UserError(f"threshold: enter must be 0 or above, found {enter}.")
    if not -enter <= leave < math.inf:
        raise UserError(
            f"threshold: leave must be at least -enter ({-enter}), found {leave}: "
            "a position would be left and entered again at every bar."
        )
    return Rules(
        kind=THRESHOLD,
        interval=_microseconds("interval", interval, least=1),
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
    _word("side", side, SIDES)
    _word("form", form, FORMS)
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
        interval=_microseconds("interval", interval, least=1),
        long=long,
        short=short,
        q_long=q_long if long else bins + 1,
        q_short=q_short if short else 0,
        exact=form == "exact",
    )


def with_exits(
    rules: Rules,
    *,
    hold: timedelta | None = None,
    stop: float | None = None,
    take: float | None = None,
    cooldown: timedelta = timedelta(0),
) -> Rules:
    """Return `rules` with exits that do not depend on the forecast.

    Parameters
    ----------
    rules : Rules
        A threshold or quantile rule.
    hold : timedelta, optional
        Longest time in position, counted from the open at which it was entered. At the first close
        at or after it the position is closed (reason `horizon`), unless that close signals the
        same side again: then it is held for another `hold`.
    stop, take : float, optional
        Loss and gain, as fractions of the entry price, at which it is closed inside a bar.
    cooldown : timedelta
        No new entry is decided for this long after an exit; with a cooldown a reversal closes and
        does not turn.

    Returns
    -------
    Rules

    Raises
    ------
    UserError
        If `stop` or `take` is not above 0, or a time is below 0.

    Examples
    --------
    >>> rules = threshold(enter=0.0008, interval=timedelta(minutes=1))
    >>> with_exits(rules, hold=timedelta(minutes=10), stop=0.01).hold
    600000000
    """
    for name, rate in (("stop", stop), ("take", take)):
        if rate is not None and not rate > 0:
            raise UserError(f"{name}: must be above 0, found {rate}. Leave it out for none.")
    return rules._replace(
        hold=_microseconds("hold", hold, least=1) if hold is not None else 0,
        stop=math.inf if stop is None else float(stop),
        take=math.inf if take is None else float(take),
        cooldown=_microseconds("cooldown", cooldown, least=0),
    )


def with_costs(
    rules: Rules,
    *,
    fee: float = 0.0,
    half_spread: float = 0.0,
    slippage: float = 0.0,
    funding: float = 0.0,
) -> Rules:
    """Return `rules` with costs, each per side and as a fraction of price.

    Parameters
    ----------
    rules : Rules
        A threshold or quantile rule.
    fee : float
        Charged on the notional of each fill; negative: a rebate.
    half_spread, slippage : float
        Added to the price of each fill, against the position; not below 0.
    funding : float
        Paid by longs and received by shorts every eight hours.

    Returns
    -------
    Rules

    Raises
    ------
    UserError
        If a rate is not finite, or a spread or slippage is below 0.

    Examples
    --------
    >>> rules = threshold(enter=0.0008, interval=timedelta(minutes=1))
    >>> with_costs(rules, fee=0.0005).fee
    0.0005
    """
    rates = {"fee": fee, "half_spread": half_spread, "slippage": slippage, "funding": funding}
    for name, rate in rates.items():
        if (
            not math.isfinite(rate)
            or abs(rate) >= 1
            or (name in ("half_spread", "slippage") and rate < 0)
        ):
            raise UserError(f"{name}: must be a fraction of price such as 0.0005, found {rate}.")
    return rules._replace(
        fee=float(fee),
        half_spread=float(half_spread),
        slippage=float(slippage),
        funding=float(funding),
    )


def _word(name: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise UserError(
            f"{name} {word!r}: expected one of {', '.join(known)}.{nearest(word, list(known))}"
        )


def _microseconds(name: str, span: timedelta, *, least: int) -> int:
    count = span // timedelta(microseconds=1)
    if count < least:
        raise UserError(f"{name}: must be {'above' if least else 'at least'} zero, found {span}.")
    return count


@compiled
def decide(view: View, rules: Rules) -> tuple[int, int]:
    """Decide one symbol at one close: why, and the side wanted from the next open on.

    The tests run in order of priority; each bar gets the first reason that holds.
    """
    if view.equity <= 0.0:
        return RISK_HALT, 0
    wish = signal(view.forecast, view.bin, rules)
    known = view.bin > 0 if rules.kind == QUANTILE else not math.isnan(view.forecast)
    if view.side != 0:
        return _stay_or_leave(view, wish, known, rules)
    if view.rest > 0:
        return RESTING, 0
    if not known:
        return STALE_DATA, 0
    if wish != 0:
        return ENTRY, wish
    return NO_EDGE, 0


@compiled
def signal(forecast: float, bin: int, rules: Rules) -> int:
    """Say which side the forecast or its bin speaks for: -1, 0 or 1."""
    if rules.kind == THRESHOLD:
        if rules.long and forecast > rules.enter:
            return 1
        return -1 if rules.short and forecast < -rules.enter else 0
    if bin <= 0:
        return 0
    if bin == rules.q_long or (bin > rules.q_long and not rules.exact):
        return 1
    return -1 if bin == rules.q_short or (bin < rules.q_short and not rules.exact) else 0


@compiled
def _stay_or_leave(view: View, wish: int, known: bool, rules: Rules) -> tuple[int, int]:
    if rules.kind == THRESHOLD:
        against = view.side * view.forecast < -rules.leave  # false where the forecast is NaN
    else:
        against = wish == -view.side
    if against:
        return REVERSAL, wish if wish == -view.side and rules.cooldown == 0 else 0
    if rules.hold > 0 and view.age >= rules.hold and wish != view.side:
        return HORIZON, 0
    if rules.kind == QUANTILE and rules.hold == 0 and wish == 0:
        return NO_EDGE if known else STALE_DATA, 0
    return HOLD if known else STALE_DATA, view.side
