"""What an account has: coins, and positions by their cost. Nothing is lost to rounding."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from research.sim.orders.words import CENT, ZERO, Leg, Rules, Side


@dataclass(slots=True)
class Held:
    """A position: its quantity, below 0 short, and what it cost (quantity times mean price)."""

    quantity: Decimal = ZERO
    cost: Decimal = ZERO

    @property
    def entry(self) -> Decimal:
        """Mean price; 0 where flat."""
        return self.cost / self.quantity if self.quantity else ZERO

    def worth(self, price: Decimal) -> Decimal:
        """Return what closing it at `price` would bring."""
        return self.quantity * price - self.cost


class Ledger:
    """Coins and positions of an account.

    Parameters
    ----------
    coins : dict of str to Decimal
        What there is at first.

    Notes
    -----
    The part of a cost that a closing fill releases is rounded to 1e-8 once, and the same number is
    taken from the cost and put into the profit: coins plus `Held.worth` stay exact.

    Examples
    --------
    >>> from research.sim.orders.rules import usual
    >>> rules, mine = usual("BTCUSDT", 60000.0), Ledger({"USDT": Decimal(1000)})
    >>> mine.trade(rules, "buy", Decimal("0.1"), Decimal(60000), "BOTH")
    Decimal('0')
    >>> mine.trade(rules, "sell", Decimal("0.04"), Decimal(61000), "BOTH")
    Decimal('40.00000000')
    >>> mine.coins["USDT"], mine.held("BTCUSDT", "BOTH").quantity
    (Decimal('1040.00000000'), Decimal('0.06'))
    """

    def __init__(self, coins: dict[str, Decimal]) -> None:
        self.coins = dict(coins)
        self.positions: dict[tuple[str, Leg], Held] = {}

    def held(self, symbol: str, leg: Leg) -> Held:
        """Return a position, flat where there is none."""
        return self.positions.get((symbol, leg)) or Held()

    def edit(self, symbol: str, leg: Leg, quantity: Decimal, price: Decimal) -> None:
        """Hold so much, bought at a price, whatever was held before."""
        self.positions[symbol, leg] = Held(quantity, quantity * price)

    def add(self, coin: str, amount: Decimal) -> None:
        """Put so much of a coin in; below 0 take it out."""
        self.coins[coin] = self.coins.get(coin, ZERO) + amount

    def trade(
        self, rules: Rules, side: Side, quantity: Decimal, price: Decimal, leg: Leg
    ) -> Decimal:
        """Book a fill; return the profit it realised."""
        signed = quantity if side == "buy" else -quantity
        if rules.spot:
            self.add(rules.base, signed)
            self.add(rules.quote, -signed * price)
            return ZERO
        held = self.positions.setdefault((rules.symbol, leg), Held())
        profit = ZERO
        if held.quantity * signed < 0:
            profit, signed = _closed(held, signed, price)
            self.add(rules.quote, profit)
        held.quantity += signed
        held.cost += signed * price
        return profit


def _closed(held: Held, signed: Decimal, price: Decimal) -> tuple[Decimal, Decimal]:
    """Take what `signed` closes off a position; return the profit, and what opens the other way."""
    closing = min(abs(signed), abs(held.quantity))
    part = closing if held.quantity > 0 else -closing
    cost = held.cost
    if part != held.quantity:
        cost = (held.cost * part / held.quantity).quantize(CENT)
    held.quantity -= part
    held.cost -= cost
    return part * price - cost, signed + part
