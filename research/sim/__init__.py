"""A simulated exchange on real sockets: Binance, Bybit, Kraken, and faults on demand.

`start` runs it as a child process, `Exchange` within an event loop (for tests), `faults` says what
goes wrong, `orders` is the side that needs a key. From a shell:
``python -m research.sim --bars FILE --speed 60``.

Its time is its own (see `research.sim.clock`): at ``wss://clock.sim/clock`` it says
``{"now", "until", "speed", "last"}`` (microseconds UTC; virtual seconds per real second; `last` is
the close of the last bar) and takes ``{"ack": close}`` and ``{"hold": true}``. It waits for an
acknowledgement of every close at which a bar of *any* symbol can be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from research.sim import faults

if TYPE_CHECKING:
    from research.sim.child import Venue, start
    from research.sim.exchange import Exchange

__all__ = ["Exchange", "Venue", "faults", "start"]
_PLACES = {"Exchange": "exchange", "Venue": "child", "start": "child"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
