"""What a study's symbols are called where their bars come from and where their orders go.

Everything inside a run keeps the study's names. ``live.symbols`` says the venue's where they
differ: a study may learn from Polygon's ``X:BTC-USD`` and trade Kraken's ``BTC/USD``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from research.errors import UserError
from research.study import Study

FORMS = {
    "binance": re.compile(r"[A-Z0-9_]+"),
    "bybit": re.compile(r"[A-Z0-9_]+"),
    "kraken": re.compile(r"[A-Z0-9.]+/[A-Z0-9.]+"),
}
"""How a venue writes its symbols."""


def feed(study: Study) -> str:
    """Return whose messages the feed of `study` reads, or ``replay``.

    On the simulated exchange those of `Study.venue`.
    """
    return study.venue if study.feed == "simulated" else study.feed


def venue(study: Study) -> str:
    """Return the venue whose orders `study` sends."""
    return study.live.venue or feed(study)


def of(study: Study, symbols: Sequence[str]) -> dict[str, str]:
    """Return the name of each symbol at the venue where `study` sends its orders.

    A symbol that ``live.symbols`` does not name keeps its own, where the venue could have it. The
    simulated exchange plays whatever it is given, and names it after its own rule.

    Raises
    ------
    UserError
        If symbols have no name there, or two have the same.

    Examples
    --------
    >>> from research import study
    >>> map_ = {"X:BTC-USD": "BTC/USD"}
    >>> trend = study.read("demo", {"live.feed": "kraken", "live.symbols": map_})
    >>> of(trend, ["X:BTC-USD"])
    {'X:BTC-USD': 'BTC/USD'}
    >>> of(trend, ["X:BTC-USD", "X:ETH-USD"])
    Traceback (most recent call last):
    research.errors.UserError: live.symbols: no name at kraken for X:ETH-USD. Say what it calls ...
    """
    place, said = venue(study), study.live.symbols
    if place == "replay":
        return {symbol: symbol for symbol in symbols}
    found = {symbol: said.get(symbol) or _own(study, place, symbol) for symbol in symbols}
    if none := [symbol for symbol, name in found.items() if name is None]:
        raise UserError(
            f"live.symbols: no name at {place} for {', '.join(none)}. Say what it calls them, as "
            f'in [live.symbols] "{none[0]}" = "{_guess(none[0], place)}".'
        )
    names = {symbol: name for symbol, name in found.items() if name is not None}
    _distinct(names, place)
    return names


def read(study: Study, symbols: Sequence[str]) -> dict[str, str]:
    """Return the name of each symbol where bars come from, see `of`."""
    if feed(study) == venue(study):
        return of(study, symbols)
    return {symbol: symbol for symbol in symbols}  # bars of one venue, orders at another


def _own(study: Study, place: str, symbol: str) -> str | None:
    if study.feed == "simulated":
        if place != "kraken":
            return symbol
        from research.sim import kraken

        return kraken.name(symbol)
    named = symbol.replace("-", "/") if place == "kraken" else symbol  # as stored from Kraken
    return named if FORMS[place].fullmatch(named) else None


def _distinct(names: dict[str, str], place: str) -> None:
    first: dict[str, str] = {}
    for symbol, name in names.items():
        if not FORMS[place].fullmatch(name) and place == "kraken":
            raise UserError(
                f"live.symbols: {name!r} for {symbol} is no pair of kraken. Write it as BTC/USD."
            )
        if name in first:
            raise UserError(
                f"live.symbols: {first[name]} and {symbol} are both {name} at {place}. Name a "
                "market of its own for each, or leave one out of data.symbols."
            )
        first[name] = symbol


def _guess(symbol: str, place: str) -> str:
    """Return what a venue may call it: an example, which is for a person to check.

    >>> _guess("X:BTC-USD", "kraken"), _guess("X:BTC-USD", "binance")
    ('BTC/USD', 'BTCUSD')
    """
    from research.sim.kraken import coins

    return ("/" if place == "kraken" else "").join(coins(symbol))
