"""Exits inside a bar (liquidation, stop, take), and the limits of the whole account.

An account is active, reducing (it opens nothing, exits go on) or halted (it leaves what it holds,
too). Its state is the gravest of what a limit said, which holds until `Rules.resume`, and of what
persons and guards say (see `account.command`), which the desk never takes back.
"""

import math
from typing import Any

from research.steps import compiled
from research.trading.fills import Bar
from research.trading.rules.words import (
    ACTIVE,
    LIQUIDATION,
    NEXT_DAY,
    RISK_HALT,
    RUINED,
    STOP,
    TAKE,
    WAITING,
    Rules,
)

DAY = 24 * 60 * 60 * 1_000_000
"""In microseconds."""


@compiled
def exit_inside(lot: Any, bar: Bar, rules: Rules) -> tuple[int, float]:
    r"""Return the reason to leave `lot` inside this bar (-1: none) and the price before costs.

    Policy, always the worse reading of what a bar does not tell:

    * a bar that touches both stop and take was stopped first, and one that reaches the price of
      liquidation was liquidated first: a stop is not trusted to get through such a bar;
    * a bar that opens beyond the stop, or the price of liquidation, is left at its open (a gap),
      not at that price, whatever the margin was;
    * a take fills at its level, never better, even where the bar opens beyond it;
    * of a bar that was entered late, after its open, the whole bar counts for the stop, the close
      alone for the take;
    * all then pay half the spread and slippage like any market order, although a take could have
      rested in the book.

    Notes
    -----
    A position of quantity :math:`q` entered at :math:`P` with leverage :math:`L` has the margin
    :math:`qP/L`, isolated. It is liquidated where the margin and what it lost so far are down to
    the maintenance margin, a share :math:`m` of its worth. For a long at the price :math:`X`

    .. math:: \frac{qP}{L} + q(X - P) = m q X
              \quad\Rightarrow\quad X = P \, \frac{1 - 1/L}{1 - m}

    and for a short, with :math:`q(P - X)` gained,

    .. math:: X = P \, \frac{1 + 1/L}{1 + m}

    which is Binance's formula for one position in isolated mode on its first tier (maintenance
    amount zero). A long at leverage 1 is never liquidated, a short is. A liquidation fee is not
    charged beyond the costs of any fill.
    """
    late = lot.entry_time > bar.opened
    begin = lot.reference if late else bar.open
    if lot.position > 0.0:
        broke = lot.entry * rules.liquid_long
        stop, take = lot.entry * (1.0 - rules.stop), lot.entry * (1.0 + rules.take)
        if bar.low <= broke:
            return LIQUIDATION, min(begin, broke)
        if bar.low <= stop:
            return STOP, min(begin, stop)
        if (bar.close if late else bar.high) >= take:
            return TAKE, take
    else:
        broke = lot.entry * rules.liquid_short
        stop, take = lot.entry * (1.0 + rules.stop), lot.entry * (1.0 - rules.take)
        if bar.high >= broke:
            return LIQUIDATION, max(begin, broke)
        if bar.high >= stop:
            return STOP, max(begin, stop)
        if (bar.close if late else bar.low) <= take:
            return TAKE, take
    return -1, 0.0


@compiled
def watched(rules: Rules) -> bool:
    """Whether there is a limit to watch."""
    return rules.daily_loss < math.inf or rules.drawdown < math.inf


@compiled
def floor(purse: Any, peak: float, rules: Rules) -> float:
    """Return the equity at which a limit is met: the day's, or that below `peak`; at least 0."""
    lowest = 0.0
    if rules.daily_loss < math.inf:
        lowest = max(lowest, purse.day_start * (1.0 - rules.daily_loss))
    if rules.drawdown < math.inf:
        lowest = max(lowest, peak * (1.0 - rules.drawdown))
    return lowest


@compiled
def judge(purse: Any, lots: Any, opened: int, worth: float, rules: Rules) -> int:
    """Take the equity at a close to the books, and say in which state the account now is.

    Parameters
    ----------
    purse, lots
        The book; ``purse.equity`` is still that of the moment before.
    opened : int
        When the moment's first bar opened: it belongs to the UTC day of its open, and a day begins
        with the equity at the last close of the day before.
    worth : float
        Equity at the marks. A limit is met where it is not above `floor`, also when it is NaN.
    rules : Rules
        Limits, what follows, and for how long. After a new day has lifted a halt, the drawdown
        counts from that day's first equity: from the old peak it would halt again at once.

    Returns
    -------
    int
        `ACTIVE`, `REDUCING`, `HALTED` or `RUINED`, for the decisions of this close. Unless it is
        active, orders on their way that would open a position are withdrawn.
    """
    if watched(rules):
        day = opened // DAY
        if day > purse.day:
            purse.day, purse.day_start = day, purse.equity
            if purse.limited != ACTIVE and rules.resume == NEXT_DAY:
                purse.limited, purse.peak = ACTIVE, purse.equity
        if worth > purse.peak:
            purse.peak = worth
        if not worth > floor(purse, purse.peak, rules):
            purse.limited = rules.on_limit
    purse.equity = worth
    purse.ruined |= not worth > 0.0
    purse.state = max(purse.limited, purse.ordered, purse.degraded)
    if purse.state != ACTIVE:
        withdraw(lots)
    return RUINED if purse.ruined else purse.state


@compiled
def withdraw(lots: Any) -> None:
    """Take back what would open a position; an order that would turn one closes it."""
    for i in range(len(lots)):
        lot = lots[i]
        if lot.order >= 0 and lot.target != 0:
            lot.target = 0
            if lot.position == 0.0:
                lot.order = -1
                if lot.said == WAITING:
                    lot.said = RISK_HALT
