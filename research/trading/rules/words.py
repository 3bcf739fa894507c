"""The words of a rule: reasons and their codes, the numbers of a strategy, what a decision sees."""

import math
from typing import NamedTuple

THRESHOLD, QUANTILE, PROBABILITY, FOLLOW = range(4)
"""Kinds of rule."""

EQUAL, FRACTION, VOLATILITY, KELLY = range(4)
"""Kinds of size; from `VOLATILITY` on a size needs sigma."""

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
    "full",
    "too_small",
    "liquidation",
    "too_thin",
    "timeout",
    "errors",
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
    FULL,
    TOO_SMALL,
    LIQUIDATION,
    TOO_THIN,
    TIMEOUT,
    ERRORS,
) = range(len(REASONS))

ACTIVE, REDUCING, HALTED, RUINED = range(4)
"""States of an account: it trades; it opens nothing; it leaves what it holds, too; it lost all."""

MANUAL, NEXT_DAY = range(2)
"""When trading goes on after a limit was met."""

ON_LIMIT = {"reduce": REDUCING, "halt": HALTED}
RESUME = {"manual": MANUAL, "next_day": NEXT_DAY}

SIDES = ("auto", "long", "short", "longshort")
FORMS = ("threshold", "exact")


class Rules(NamedTuple):
    """A strategy in numbers; made by `threshold` and its siblings, fixed for a run."""

    kind: int
    """`THRESHOLD`, `QUANTILE`, `PROBABILITY` or `FOLLOW`."""
    interval: int
    """Length of a bar, in microseconds."""
    long: bool = True
    short: bool = True
    enter: float = 0.0
    """Expected return above which, or probability from which on, a position is opened."""
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
    slippage: float = 0.0
    """Per side, as a fraction of price."""
    latency: int = 0
    """From a decision to its fill, in microseconds."""
    min_notional: float = 0.0
    """Smallest entry, in quote currency."""
    walks: bool = False
    """Fills walk the book as it stood, see `depth`, and come with one; else they pay half-spread,
    slippage and impact."""
    overlap: int = 1
    """Positions of one symbol that may be held at once."""
    max_positions: int = 0
    """Positions of all symbols that may be held at once; 0: no limit."""
    every: int = 0
    """The rule is asked at closes that are multiples of it alone, in microseconds; 0: at all."""
    timeout: int = 0
    """Time from the entry after which a position is left, whatever its rule says; 0: none."""
    errors: int = 0
    """Closes in a row without a forecast after which a position is left; 0: none."""
    sizing: int = EQUAL
    """`EQUAL`, `FRACTION`, `VOLATILITY` or `KELLY`."""
    size: float = 1.0
    """Share of equity (`FRACTION`), share of equity at risk (`VOLATILITY`), share of the Kelly bet
    (`KELLY`)."""
    root: float = 1.0
    """Square root of the bars in the horizon: sigma of a bar times it is sigma of the horizon."""
    max_position: float = math.inf
    """Largest position, as a share of equity."""
    leverage: float = 1.0
    """Most that all positions together are worth, in multiples of equity."""
    liquid_long: float = 0.0
    """A long is liquidated at this multiple of its entry price; 0: never."""
    liquid_short: float = math.inf
    """A short is liquidated at this multiple of its entry price; infinity: never."""
    daily_loss: float = math.inf
    """Limit: loss since the UTC day began, as a fraction of equity then; infinity: none."""
    drawdown: float = math.inf
    """Limit: loss from the highest equity so far, likewise."""
    on_limit: int = HALTED
    """State in which a limit that is met puts the account: `REDUCING` or `HALTED`."""
    resume: int = MANUAL
    """`MANUAL`: it stays so; `NEXT_DAY`: until the next UTC day."""


class View(NamedTuple):
    """All that the decision about one position may know at one close."""

    side: int
    """-1 short, 0 flat, 1 long."""
    age: int
    """Time in position since the entry (or since `hold` was last renewed), in microseconds."""
    rest: int
    """Time left until a new entry is allowed, in microseconds; not above 0: allowed."""
    forecast: float
    """Expected simple return, or signed probability; NaN: not known."""
    bin: int
    """Quantile bin, 1 is the lowest; 0: not known."""
    state: int
    """Of the account: `ACTIVE`, `REDUCING`, `HALTED`, or `RUINED` from the moment on at which
    equity was no longer above zero, for good."""
    held: int = 0
    """Time since the entry, in microseconds, that nothing renews."""
    errors: int = 0
    """Closes in a row, this one included, at which the position held had no forecast."""
    asked: bool = True
    """Whether it is one of the closes at which the rule is asked, see `Rules.every`."""
