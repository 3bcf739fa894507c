"""Exits inside a bar: a position's stop and take, judged on the bar's open, high and low."""

from research.steps import compiled
from research.trading.rules import STOP, TAKE, Rules


@compiled
def exit_inside(
    position: float, entry: float, open_: float, high: float, low: float, rules: Rules
) -> tuple[int, float]:
    """Return the reason to leave inside this bar (-1: none) and the price before spread.

    Policy, always the worse reading of what a bar does not tell:

    * a bar that touches both stop and take was stopped first;
    * a bar that opens beyond the stop is left at its open (a gap), not at the stop;
    * a take fills at its level, never better, even where the bar opens beyond it;
    * both then pay half the spread and slippage like any market order, although a take could have
      rested in the book.
    """
    if position > 0.0:
        stop, take = entry * (1.0 - rules.stop), entry * (1.0 + rules.take)
        if low <= stop:
            return STOP, min(open_, stop)
        if high >= take:
            return TAKE, take
    else:
        stop, take = entry * (1.0 + rules.stop), entry * (1.0 - rules.take)
        if high >= stop:
            return STOP, max(open_, stop)
        if low <= take:
            return TAKE, take
    return -1, 0.0
