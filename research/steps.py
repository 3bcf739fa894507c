"""Steps: a streaming quantity written once, compiled for arrays and called one event at a time.

A step is ``step(state, event, rules) -> (state, value)``: it takes what it remembers, one event and
fixed rules, each a number or a tuple of numbers, and returns what it remembers next and what it
says now. Arrays in a state belong to the step and are updated in place. `scan` runs the compiled
step over columns; `streaming` gives it `.update(...)` and `.value` for a notebook cell. One source,
so a batch value and a live value cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from research.errors import UserError

_PACKAGE = Path(__file__).parent

_SCAN = """
def scan(state, columns, rules, values):
    for i in range(len(values)):
        state, value = step(state, ({event},), rules)
        values[i] = value
    return state
"""


def compiled(step: Callable) -> Any:
    """Compile a step with numba and keep the machine code on disk (a decorator).

    Parameters
    ----------
    step : callable
        Plain Python on numbers, arrays, tuples and NamedTuples of them; it may call other compiled
        steps of its own room.

    Returns
    -------
    callable
        The compiled step; ``.py_func`` is the plain Python it was made from. With the environment
        variable ``NUMBA_DISABLE_JIT=1`` the plain Python itself.

    Notes
    -----
    numba renews stored code when the step's own file changes, but not when a file does whose
    function it calls. Steps of this package are therefore stamped with the source of their whole
    room (``research/trading/*.py``), so an edited rule can never run as yesterday's machine code.

    Examples
    --------
    >>> @compiled
    ... def total(state, event, rules):
    ...     return state + event[0] * rules, state + event[0] * rules
    >>> total(1.0, (2.0,), 10.0)
    (21.0, 21.0)
    """
    import numba

    return _keep(numba.njit(step, forceinline=True), Path(step.__code__.co_filename))


def _keep(machine: Any, file: Path) -> Any:
    """Let numba store `machine` on disk, for as long as the room of `file` stays as it is."""
    if hasattr(machine, "enable_caching") and file.is_file():
        machine.enable_caching()
        if _PACKAGE in file.parents:
            # numba offers no public way to say what stored code depends on
            machine._cache._cache_file._source_stamp = _room_stamp(file)
    return machine


def _room_stamp(file: Path) -> str:
    inside = file.relative_to(_PACKAGE).parts
    room = _PACKAGE / inside[0]
    return _stamp(room) + _stamp(Path(__file__))


@cache
def _stamp(room: Path) -> str:
    from hashlib import sha256

    files = sorted(room.rglob("*.py")) if room.is_dir() else [room]
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def scan(
    step: Any, state: Any, columns: tuple[np.ndarray, ...], rules: Any
) -> tuple[Any, np.ndarray]:
    """Run a compiled step over columns, one row after the other.

    Parameters
    ----------
    step : callable
        Made by `compiled`.
    state : number or (Named)tuple of numbers and arrays
        What the step remembers before the first row; left as it is. Its types must be those that
        the step returns (``0.0``, not ``0``, for a sum of floats).
    columns : tuple of np.ndarray, each of shape (n_rows,)
        The parts of an event, in the order the step reads them.
    rules : number or (Named)tuple of numbers
        Fixed for the whole scan.

    Returns
    -------
    state
        What the step remembers after the last row.
    np.ndarray, shape (n_rows,) or (n_rows, n_values)
        What the step said at each row; two-dimensional when its value is a tuple.

    Raises
    ------
    UserError
        If there is no column, or the columns are not of one length.

    Examples
    --------
    >>> @compiled
    ... def total(state, event, rules):
    ...     return state + event[0] * rules, state + event[0] * rules
    >>> scan(total, 0.0, (np.array([1.0, 2.0, 3.0]),), 10.0)
    (60.0, array([10., 30., 60.]))
    """
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise UserError(
            f"scan: needs one or more columns of one length, found lengths {sorted(lengths)}."
        )
    state, n_rows = _copy(state), lengths.pop()
    if n_rows == 0:
        return state, np.empty(0)
    first = tuple(column[0] for column in columns)
    shape = np.shape(_plain(step)(_copy(state), first, rules)[1])
    values = np.empty((n_rows, *shape))
    return _scanner(step, len(columns))(state, tuple(columns), rules, values), values


@cache
def _scanner(step: Any, width: int) -> Any:
    """Write the loop over `width` columns for one step; numba cannot build such tuples itself."""
    event = ", ".join(f"columns[{c}][i]" for c in range(width))
    plain = _plain(step)
    file = plain.__code__.co_filename
    names: dict[str, Any] = {"step": step}
    exec(compile(_SCAN.format(event=event), file, "exec"), names)
    loop = names["scan"]
    loop.__qualname__ = f"scan_{width}_{plain.__qualname__}_{plain.__code__.co_firstlineno}"
    loop.__module__ = plain.__module__
    if step is plain:
        return loop
    import numba

    return _keep(numba.njit(loop), Path(file))


def _plain(step: Any) -> Callable:
    return getattr(step, "py_func", step)


def _copy(state: Any) -> Any:
    """Copy the arrays of a state, so that who handed it in keeps his own."""
    if isinstance(state, np.ndarray):
        return state.copy()
    if isinstance(state, tuple):
        parts = [_copy(part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


class Streaming:
    """A step with its memory: hand it events with `update`, read `value`."""

    __slots__ = ("_rules", "_step", "state", "value")

    def __init__(self, step: Any, state: Any, rules: Any) -> None:
        self._step, self._rules = step, rules
        self.state = _copy(state)
        self.value: Any = None

    def update(self, *event: Any) -> Any:
        """Take one event and return the new value."""
        self.state, self.value = self._step(self.state, event, self._rules)
        return self.value

    def __repr__(self) -> str:
        return f"streaming {_plain(self._step).__name__}: value {self.value}"


def streaming(step: Any, state: Any, rules: Any) -> Streaming:
    """Give a step a memory of its own, to be fed one event at a time.

    Parameters
    ----------
    step : callable
        Compiled or plain.
    state, rules
        As for `scan`; the arrays of `state` are copied.

    Returns
    -------
    Streaming
        With ``.update(*event) -> value``, ``.value`` (None before the first event) and ``.state``.

    Examples
    --------
    >>> def mean(state, event, rules):
    ...     count, total = state[0] + 1, state[1] + event[0]
    ...     return (count, total), total / count
    >>> live = streaming(mean, (0, 0.0), None)
    >>> live.update(4.0), live.update(6.0)
    (4.0, 5.0)
    >>> live
    streaming mean: value 5.0
    """
    return Streaming(step, state, rules)
