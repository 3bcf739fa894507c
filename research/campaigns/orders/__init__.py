"""Orders under every kind of trouble: none doubled, none lost, the position what the fills say."""

from __future__ import annotations

from typing import Any

from research import batch
from research.campaigns.orders.kills import order_kills
from research.campaigns.orders.timeouts import order_timeouts

__all__ = ["order_kills", "order_steps", "order_timeouts"]


def order_steps(count: int, workers: int = 1) -> dict[str, Any]:
    """Take at least `count` steps of a stateful test of the order engine, see `machine`.

    Parameters
    ----------
    count : int
        Steps: orders, kills, fills, silence, others' trades and much else, at a venue in memory.
    workers : int
        Not used.

    Returns
    -------
    dict
        ``steps``; ``broken`` laws (0, or this raises).

    Raises
    ------
    AssertionError
        If a law is broken: with the shortest way to it.
    """
    from research.campaigns.orders import machine  # it needs hypothesis, which only tests have

    taken = machine.run(count, batch.progress(f"order life cycle: {count} steps"))
    return {"steps": taken, "broken": 0}
