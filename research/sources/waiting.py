"""Asynchronous work behind a plain call: in a script, and in a notebook whose loop runs already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Done = TypeVar("Done")
Given = ParamSpec("Given")


def plain(work: Callable[Given, Coroutine[Any, Any, Done]], *, name: str) -> Callable[Given, Done]:
    """Return a function that does what `work` does, without ``await``.

    Parameters
    ----------
    work : coroutine function
        Inside a running event loop, a notebook's, it runs in another thread.
    name : str
        Of that thread.

    Examples
    --------
    >>> plain(asyncio.sleep, name="nap")(0, "slept")
    'slept'
    """

    @wraps(work)
    def done(*given: Given.args, **named: Given.kwargs) -> Done:
        return finish(work(*given, **named), name=name)

    done.__doc__ = (
        f"Do what `{work.__name__}` does, without ``await``; also inside a notebook's running "
        f"event loop.\n\n    Arguments, result and errors are those of `{work.__name__}`. In a "
        "notebook the callables run in another thread."
    )
    return done


def finish(work: Coroutine[Any, Any, Done], *, name: str) -> Done:
    """Run `work` to its end and return what it returns.

    Parameters
    ----------
    work : coroutine
        Inside a running event loop, a notebook's, it runs in another thread.
    name : str
        Of that thread.

    Raises
    ------
    BaseException
        What `work` raises. An interrupt cancels it first.

    Examples
    --------
    >>> finish(asyncio.sleep(0, "slept"), name="nap")
    'slept'
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    return _in_a_thread(work, name)


def _in_a_thread(work: Coroutine[Any, Any, Done], name: str) -> Done:
    done: list[Done] = []
    failed: list[BaseException] = []
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)

    def run() -> None:
        try:
            done.append(loop.run_until_complete(task))
        except BaseException as error:  # carried over to the caller's thread
            failed.append(error)
        finally:
            loop.close()

    thread = threading.Thread(target=run, name=name)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:  # the notebook's stop button
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        raise
    if failed:
        raise failed[0]
    return done[0]
