"""What is to be done at moments of virtual time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from research.sim.orders.quotes import FAR


class Agenda:
    """Actions in order of their moments; of one moment, in the order in which they were put down.

    Examples
    --------
    >>> done, agenda = [], Agenda()
    >>> agenda.put(7, lambda: done.append("later")), agenda.put(5, lambda: done.append("sooner"))
    (None, None)
    >>> agenda.first, agenda.catch_up(6), done, agenda.first
    (5, None, ['sooner'], 7)
    """

    def __init__(self) -> None:
        self._actions: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def first(self) -> int:
        """The next moment; `FAR` where there is none."""
        return self._actions[0][0] if self._actions else FAR

    def put(self, moment: int, action: Callable[[], None]) -> None:
        """Put down what shall be done at `moment`."""
        self._count += 1
        heappush(self._actions, (moment, self._count, action))

    def catch_up(self, now: int) -> None:
        """Do what is due up to `now`, and what that puts down for then."""
        while self._actions and self._actions[0][0] <= now:
            heappop(self._actions)[2]()
