"""Waiting for whichever comes first, and leaving nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def first(
    *waits: Coroutine[Any, Any, object],
    tasks: Iterable[asyncio.Task[Any]] = (),
    timeout: float | None = None,
) -> None:
    """Return when one of `waits` or `tasks` has ended, or after `timeout` seconds.

    The `waits` are ended with the call, however it ends; the `tasks` go on. A fault of a wait is
    raised.

    Examples
    --------
    >>> async def forever():
    ...     await asyncio.Event().wait()
    >>> asyncio.run(first(forever(), asyncio.sleep(0)))
    """
    own = [asyncio.create_task(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(
            [*own, *tasks], timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        for task in own:
            if task in done:
                task.result()
    finally:
        await end(own)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and return when they are gone; what they raise on the way is theirs."""
    gone = list(tasks)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
