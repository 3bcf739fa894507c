"""Exits inside a bar: liquidation, stop and take, judged on the bar's open, high, low and close."""

from typing import Any

from research.steps import compiled
from research.trading.fills import Bar
from research.trading.rules.words import LIQUIDATION, STOP, TAKE, Rules


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
