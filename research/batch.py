"""Work in bulk: a function over many items, here, in several processes or on a cluster."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from research.errors import UserError
from research.store import atomic

log = logging.getLogger(__name__)

_PATIENCE = 10.0
"""Seconds for which a scheduler, and its first worker, are waited for."""

_RARELY = 10.0
"""Seconds between two lines of progress, at least."""

Progress = Callable[[int, int, str], None]


def progress(what: str) -> Progress:
    """Return a callable that shows progress with time left, on stderr, as `drawn` says.

    Parameters
    ----------
    what : str
        Names the work, in front of the bar.

    Returns
    -------
    callable
        Takes (done, total, label); a bar comes after two seconds and goes when done reaches total.
    """
    from tqdm import tqdm

    line = tqdm(desc=what, delay=2, leave=False, **drawn())

    def show(done: int, total: int, label: str = "") -> None:
        line.total = total
        line.set_postfix_str(label, refresh=False)
        line.update(done - line.n)
        if done >= total:
            line.close()

    return show


def drawn() -> dict[str, Any]:
    """Return how `tqdm` shows progress: a bar, or where none can be drawn over, rare plain lines.

    A terminal and a notebook have bars; a file and a pipe get a line every ten seconds at most.
    """
    if sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel"):
        return {"file": sys.stderr, "dynamic_ncols": True}
    said = "{desc} {n_fmt}/{total_fmt}, {remaining} left{postfix}"
    return {"file": _Plain(), "mininterval": _RARELY, "miniters": 1, "bar_format": said}


class _Plain:
    """Turns what would be drawn over again and again into lines."""

    def write(self, text: str) -> None:
        if said := text.strip():
            sys.stderr.write(said + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def map(
    work: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    watch: Progress | None = None,
) -> list[Any]:
    """Return what `work` makes of every item, in their order.

    Parameters
    ----------
    work, items, workers, scheduler, watch
        As for `map_items`.

    Returns
    -------
    list
        One result per item; for an item that failed, the exception.

    Examples
    --------
    >>> import math
    >>> map(math.sqrt, [4.0, -1.0])
    [2.0, ValueError('math domain error')]
    """
    queue = list(enumerate(items))
    how: dict[str, Any] = {"workers": workers, "scheduler": scheduler, "watch": watch}
    found = {item[0]: result for item, result in map_items(_Second(work), queue, **how)}
    return [found[number] for number, _ in queue]


class _Second:
    """Work on the second part of an item; the first is its number."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __call__(self, item: tuple[int, Any]) -> Any:
        return self.work(item[1])


def hands() -> int:
    """Return how many processes can work at once here: 1 in a process that works for another."""
    if multiprocessing.parent_process() is not None:
        return 1
    from joblib import cpu_count

    cores: int = cpu_count()
    return cores


def each(
    work: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    workers: int = 1,
    watch: Progress | None = None,
) -> Iterator[Any]:
    """Yield what `work` makes of every item, in their order; a failure is raised at once.

    Parameters
    ----------
    work : callable
        A module-level function of one item.
    items : iterable
        Anything that can be pickled. Those of a generator are asked for as processes fall free.
    workers : int
        Processes; 1 works in this one.
    watch : callable, optional
        Takes (done, total, label); for it, `items` must know how many they are.

    Examples
    --------
    >>> import math
    >>> list(each(math.sqrt, [4.0, 9.0]))
    [2.0, 3.0]
    """
    for done, result in enumerate(_in_order(work, items, workers), 1):
        if watch:
            watch(done, len(items), "")  # type: ignore[arg-type]
        yield result


def _in_order(work: Callable[[Any], Any], items: Iterable[Any], workers: int) -> Iterator[Any]:
    if workers <= 1:
        return (work(item) for item in items)
    return _in_processes(work, ((item,) for item in items), workers, "generator")


def _in_processes(
    work: Callable[..., Any], calls: Iterable[tuple[Any, ...]], workers: int, order: str
) -> Iterator[Any]:
    """Yield what `work` makes of each call's arguments in processes."""
    from joblib import Parallel, delayed

    # loky's processes begin anew: a forked one would inherit the locks of polars' and numba's
    # threads; and unlike spawn it asks nothing of the script or notebook that calls
    pool = Parallel(workers, backend="loky", return_as=order, batch_size=1)
    try:
        yield from pool(delayed(work)(*call) for call in calls)
    except BrokenProcessPool:
        raise UserError(
            f"one of {workers} processes was killed while it worked, most likely because memory "
            "ran out. Take fewer workers, or less data at once."
        ) from None


def map_items(
    work: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    watch: Progress | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Yield ``(item, result)`` for every item, in the order they finish.

    Parameters
    ----------
    work : callable
        A module-level function of one item. What it raises is the item's result, so that one
        failure does not end the others.
    items : iterable
        Anything that can be pickled.
    workers : int
        Processes; 1 works in this one.
    scheduler : str, optional
        Address of a Dask cluster that works instead of processes of this machine, as in
        ``"tcp://127.0.0.1:8786"``. Its workers must run this very code, on this folder of data,
        and each process works on one item at a time, whatever its threads.
    watch : callable, optional
        Takes (done, total, label).

    Raises
    ------
    UserError
        If there is no such cluster, or its workers cannot do this work.
    """
    queue = list(items)
    for done, (item, result) in enumerate(_results(work, queue, workers, scheduler), 1):
        if watch:
            watch(done, len(queue), "")
        yield item, result


def _results(
    work: Callable[[Any], Any], items: list[Any], workers: int, scheduler: str | None
) -> Iterator[tuple[Any, Any]]:
    if not items:
        return
    if scheduler is not None:
        yield from _on_cluster(scheduler, work, items)
        return
    if workers <= 1:
        yield from ((item, _outcome(work, item)) for item in items)
        return
    calls = ((work, item) for item in items)
    yield from _in_processes(_beside, calls, workers, "generator_unordered")


def _beside(work: Callable[[Any], Any], item: Any) -> tuple[Any, Any]:
    return item, _outcome(work, item)


def _outcome(work: Callable[[Any], Any], item: Any) -> Any:
    try:
        return work(item)
    except Exception as error:  # handed to the caller as the item's result
        log.debug("failed on %s", item, exc_info=True)
        return error


def _on_cluster(
    address: str, work: Callable[[Any], Any], items: list[Any]
) -> Iterator[tuple[Any, Any]]:
    """Yield items and results of a Dask cluster; what is left when nobody asks on is called off."""
    with _joined(address) as client:
        from distributed import as_completed

        roots = _roots()
        futures = {client.submit(_there, work, item, roots, pure=False): item for item in items}
        for future in as_completed(list(futures), loop=client.loop):
            item, error = futures.pop(future), future.exception()
            yield item, future.result() if error is None else _lost(address, error)


@contextmanager
def _joined(address: str) -> Iterator[Any]:
    """Join a cluster whose workers can do what this process would."""
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port
    except ImportError:
        raise UserError(
            f"scheduler {address}: needs Dask's distributed, which is not installed here. Install "
            "the extra 'cluster', here and where workers run: .venv/bin/python -m pip install -e "
            "'.[cluster]'."
        ) from None
    try:
        # a client that never met its scheduler takes long to end: so it is asked for before
        socket.create_connection(get_address_host_port(address), _PATIENCE).close()
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"scheduler {address}: does not answer ({error}). Name the address that dask "
            "scheduler prints, as in --scheduler tcp://127.0.0.1:8786."
        ) from None
    with client:
        _check(client, address)
        yield client


def _check(client: Any, address: str) -> None:
    """Refuse workers that would come to something else: of other code, or of other data."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        raise UserError(
            f"scheduler {address}: has no worker. Start some, as in dask worker {address} "
            "--nthreads 1."
        ) from None
    code, roots = _code(), _roots()
    for place in roots.values():
        Path(place).mkdir(parents=True, exist_ok=True)
    for worker, found in client.run(_about, roots, on_error="return").items():
        if isinstance(found, Exception):
            raise UserError(f"worker {worker}: cannot work here: {found!r}.")
        theirs, unseen = found
        if theirs != code:
            raise UserError(f"worker {worker}: runs other code than this process. Start it anew.")
        if unseen:
            raise UserError(
                f"worker {worker}: does not see {unseen[0]}. Share that folder with it."
            )


def _roots() -> dict[str, str]:
    """Return where data and reports lie, by the variables that say so."""
    found = {"ALPHABOOK_DATA": atomic.data_root(), "ALPHABOOK_REPORTS": atomic.reports_root()}
    return {name: str(path.resolve()) for name, path in found.items()}


def _about(roots: dict[str, str]) -> tuple[str, list[str]]:
    """Say of a worker what code it runs, and which folders it does not see."""
    return _code_at_first(), [place for place in roots.values() if not Path(place).is_dir()]


def _code() -> str:
    """Hash the package's source."""
    found = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()


_code_at_first = cache(_code)
"""What a worker found when it was first asked is what it runs, whatever was edited since."""
_ALONE = threading.Lock()


def _there(work: Callable[[Any], Any], item: Any, roots: dict[str, str]) -> Any:
    """Work in a worker as in a process of one's own: where data lie is the whole process's."""
    with _ALONE, patch.dict(os.environ, roots):
        return _outcome(work, item)


def _lost(address: str, error: BaseException) -> Exception:
    """Say what became of an item that no worker brought back."""
    worker = getattr(error, "last_worker", None)
    if worker is None:
        return RuntimeError(f"scheduler {address}: {error!r}")
    before = error.allowed_failures  # type: ignore[attr-defined]
    return RuntimeError(f"worker {worker.address}: died over this item, and {before} before it did")
