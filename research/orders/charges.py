"""What a fill cost, in quote currency, whatever the venue took it in or did not tell."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

from research.errors import UserError
from research.orders.events import Charge
from research.orders.money import EXACT
from research.venues.words import Fees, Fill, Gateway, Refused


class Charges:
    """The fees of one account."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._rates: dict[str, Fees] = {}

    async def of(self, fill: Fill) -> Charge:
        """Return the fee of a fill in quote currency, and what the fill changes in what is held.

        A fee in the quote currency is exact, one in what was traded is worth the fill's price;
        one in another coin is converted at that coin's price now, and one that is not told is the
        account's rate of the notional: both are estimates.

        Raises
        ------
        Unreachable
            If a price or rate is needed and the venue does not answer.
        """
        market = self._gateway.market(fill.symbol)
        signed = fill.quantity if fill.side == "buy" else -fill.quantity
        if fill.fee is None:
            return Charge(signed, await self._rated(fill), estimated=True)
        if fill.coin == market.quote or not fill.fee:
            return Charge(signed, fill.fee, estimated=False)
        if fill.coin == market.base:
            change = EXACT.subtract(signed, fill.fee) if market.spot else signed
            return Charge(change, EXACT.multiply(fill.fee, fill.price), estimated=False)
        price = await self._price(fill.coin, market.quote)
        worth = await self._rated(fill) if price is None else EXACT.multiply(fill.fee, price)
        return Charge(signed, worth, estimated=True)

    async def _rated(self, fill: Fill) -> Decimal:
        if fill.symbol not in self._rates:
            self._rates[fill.symbol] = await self._gateway.fees(fill.symbol)
        rates = self._rates[fill.symbol]
        rate = rates.maker if fill.maker else rates.taker
        return EXACT.multiply(EXACT.multiply(fill.quantity, fill.price), rate)

    async def _price(self, coin: str, quote: str) -> Decimal | None:
        for symbol in (f"{coin}{quote}", f"{coin}/{quote}"):
            with suppress(UserError, Refused):
                self._gateway.market(symbol)
                told = await self._gateway.ticker(symbol)
                return EXACT.divide(EXACT.add(told.bid, told.ask), Decimal(2))
        return None
