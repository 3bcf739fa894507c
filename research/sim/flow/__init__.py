"""The simulated exchange's order-book side: it plays any recording, faults on demand.

`FlowExchange` runs within an event loop, `start` as a child process. From a shell:
``python -m research.sim.flow --simulated 10 --symbols 2 --speed 1``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from research.sim.flow.child import start
    from research.sim.flow.exchange import FlowExchange

__all__ = ["FlowExchange", "start"]
_PLACES = {"FlowExchange": "exchange", "start": "child"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
