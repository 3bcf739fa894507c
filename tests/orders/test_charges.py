"""What a fill cost: in whatever coin it was paid, and where nothing was told."""

from decimal import Decimal

import pytest

from research.errors import UserError
from research.orders.charges import Charges
from research.orders.money import Holding, charged, traded
from research.venues.words import Fees, Fill, Market, Ticker

ZERO = Decimal(0)


class Venue:
    """Markets, prices and rates, and nothing else."""

    def __init__(self, spot):
        rules = (Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), None, ZERO)
        self.known = {
            "BTCUSDT": Market("BTCUSDT", "BTC", "USDT", spot, *rules),
            "BNBUSDT": Market("BNBUSDT", "BNB", "USDT", spot, *rules),
        }

    def market(self, symbol):
        if symbol not in self.known:
            raise UserError(f"no {symbol}")
        return self.known[symbol]

    async def ticker(self, symbol):
        return Ticker(Decimal(599), Decimal(601), Decimal(0), 0)

    async def fees(self, symbol):
        return Fees(Decimal("0.0002"), Decimal("0.0005"))


def fill(fee, coin, side="buy", maker=False):
    paid = None if fee is None else Decimal(fee)
    return Fill(
        *("BTCUSDT", "1", "v1", "", side, Decimal(2), Decimal(100), paid, coin, maker, 0),
    )


@pytest.mark.parametrize(
    ("fee", "coin", "maker", "worth", "estimated"),
    [
        ("0.1", "USDT", False, "0.1", False),
        ("-0.02", "USDT", True, "-0.02", False),
        ("0", "", False, "0", False),
        ("0.001", "BNB", False, "0.6", True),  # at the mark of now
        ("0.001", "KFEE", False, "0.1", True),  # a coin without a price: by the rate
        (None, "", False, "0.1", True),
        (None, "", True, "0.04", True),
    ],
)
async def test_a_fee_is_in_quote_currency(fee, coin, maker, worth, estimated):
    found = await Charges(Venue(spot=False)).of(fill(fee, coin, maker=maker))
    assert found == (2, Decimal(worth), estimated)


@pytest.mark.parametrize(("side", "change"), [("buy", "1.99"), ("sell", "-2.01")])
async def test_at_a_spot_venue_a_fee_may_be_taken_from_the_coin(side, change):
    found = await Charges(Venue(spot=True)).of(fill("0.01", "BTC", side))
    assert found == (Decimal(change), Decimal("1.00"), False)
    assert (await Charges(Venue(spot=False)).of(fill("0.01", "BTC", side))).change in (2, -2)


async def test_what_is_earned_is_what_the_venue_pays_out_but_for_estimates():
    """A round trip with fees in three coins: the venue's own income, to 1e-8."""
    held, venue = Holding(), ZERO
    for one in (fill("0.1", "USDT"), fill("0.001", "BNB", "sell"), fill(None, "", "buy")):
        charge = await Charges(Venue(spot=False)).of(one)
        held = charged(
            traded(held, charge.change, one.price), charge.fee, estimated=charge.estimated
        )
        venue -= charge.fee
    assert abs(held.cash - venue) < Decimal("1e-8")
    assert held.estimated == Decimal("0.7") and held.fees == Decimal("0.8")
