"""Work in a thread that nobody has to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

Found = TypeVar("Found")


def in_thread(
    work: Callable[..., Found], *arguments: Any, name: str = "apart"
) -> asyncio.Future[Found]:
    """Begin `work` in a thread of its own and return what will come of it.

    An executor's threads are waited for when the loop ends, however long they take. This one is
    left alone: what it still does then ends with the process.

    Examples
    --------
    >>> async def main():
    ...     return await in_thread(sum, [1, 2])
    >>> asyncio.run(main())
    3
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Found] = loop.create_future()

    def tell(say: Callable[[Any], None], what: Any) -> None:
        if not future.done():
            say(what)

    def run() -> None:
        try:
            say, what = future.set_result, work(*arguments)
        except BaseException as error:
            say, what = future.set_exception, error  # type: ignore[assignment]
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, say, what)

    Thread(target=run, name=name, daemon=True).start()
    return future
