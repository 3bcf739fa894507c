"""How Kraken calls what is played: assets, pairs, and the rule that turns a symbol into a pair.

The rule: base and quote are those of the symbol, see `research.sim.orders.rules.coins`
(``BTC/USD`` and ``X:BTC-USD`` say them, of ``BTCUSDT`` the quote is the ending). Kraken writes some
assets its own way (`OWN`: bitcoin is XBT), and the oldest ones with a letter before (`OLD`: XXBT,
ZUSD), also in the keys of pairs of two of them.

References
----------
Kraken support, "Bitcoin currency code: XBT vs BTC"; ``GET /0/public/AssetPairs``.
"""

from __future__ import annotations

from typing import NamedTuple

from research.sim.orders.rules import coins

OWN = {"BTC": "XBT", "DOGE": "XDG"}
_COINS = ("XBT", "ETH", "LTC", "XRP", "XDG", "XLM", "XMR", "ZEC", "ETC")
_MONEY = ("USD", "EUR", "GBP", "JPY", "CAD", "AUD")
OLD = {coin: f"X{coin}" for coin in _COINS} | {money: f"Z{money}" for money in _MONEY}


class Pair(NamedTuple):
    """One market as Kraken names it."""

    symbol: str
    """As it is played."""
    base: str
    """Id of the asset: XXBT."""
    quote: str

    @property
    def altname(self) -> str:
        """Both assets in short: ``XBTUSD``."""
        return plain(self.base) + plain(self.quote)

    @property
    def wsname(self) -> str:
        """Both with a stroke between: ``XBT/USD``."""
        return f"{plain(self.base)}/{plain(self.quote)}"

    @property
    def key(self) -> str:
        """What answers are keyed by: ``XXBTZUSD``, ``XBTUSDT``."""
        old = self.base in _SHORT and self.quote in _SHORT and self.base != "XXDG"
        return self.base + self.quote if old else self.altname


_SHORT = {long: short for short, long in OLD.items()}


def plain(asset: str) -> str:
    """Return an asset's short name.

    >>> plain("XXBT"), plain("USDT")
    ('XBT', 'USDT')
    """
    return _SHORT.get(asset, asset)


def asset(coin: str) -> str:
    """Return Kraken's id of a coin or currency.

    >>> asset("BTC"), asset("USD"), asset("SOL")
    ('XXBT', 'ZUSD', 'SOL')
    """
    short = OWN.get(coin, coin)
    return OLD.get(short, short)


def pair(symbol: str) -> Pair:
    """Return the pair of a played symbol.

    >>> pair("BTCUSDT").key, pair("X:BTC-USD").key, pair("X:BTC-USD").wsname
    ('XBTUSDT', 'XXBTZUSD', 'XBT/USD')
    """
    base, quote = coins(symbol)
    return Pair(symbol, asset(base), asset(quote))


def name(symbol: str) -> str:
    """Return the pair of a played symbol as ccxt and people write it.

    >>> name("X:BTC-USD"), name("ETHUSDT")
    ('BTC/USD', 'ETH/USDT')
    """
    return "/".join(coins(symbol))
