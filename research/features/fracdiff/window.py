"""Differences over a fixed window: one value at a time, or a whole series at once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from research.errors import UserError
from research.features.fracdiff.weights import THRESHOLD, weights
from research.steps import Streaming, compiled, scan, streaming


class Window(NamedTuple):
    """The last values, each written twice so that any window of them is one piece; see `step`."""

    values: np.ndarray
    at: int = 0
    known: int = 0


class Rules(NamedTuple):
    """The weights, oldest value first, and the level that is subtracted from each value."""

    weights: np.ndarray
    level: float = 0.0


@compiled
def step(state: Window, event: tuple, rules: Rules) -> tuple:
    """Take one value and say the difference there: a step.

    Parameters
    ----------
    state : Window
        With room for twice as many values as there are weights.
    event : (float,)
        The value, such as a log price. One that is not finite is a gap: all starts anew.
    rules : Rules
        As `stream` makes them.

    Returns
    -------
    Window
        With the value in it.
    float
        NaN until there is a value for each weight.
    """
    values, at, known = state
    size = len(rules.weights)
    value = event[0] - rules.level
    if not np.isfinite(value):
        return Window(values, 0, 0), np.nan
    values[at] = values[at + size] = value
    at = at + 1 if at + 1 < size else 0
    known = min(known + 1, size)
    found = _product(rules.weights, values[at : at + size]) if known == size else np.nan
    return Window(values, at, known), found


@compiled
def _product(weight: np.ndarray, value: np.ndarray) -> float:
    # eight at a time, in an order of its own: the same bits wherever it runs
    total, size = 0.0, len(weight)
    odd = size % 8
    for i in range(odd):
        total += weight[i] * value[i]
    for i in range(odd, size, 8):
        total += (
            (weight[i] * value[i] + weight[i + 1] * value[i + 1])
            + (weight[i + 2] * value[i + 2] + weight[i + 3] * value[i + 3])
        ) + (
            (weight[i + 4] * value[i + 4] + weight[i + 5] * value[i + 5])
            + (weight[i + 6] * value[i + 6] + weight[i + 7] * value[i + 7])
        )
    return total


def stream(
    d: float, *, threshold: float = THRESHOLD, level: float = 0.0, balanced: bool = False
) -> Streaming:
    """Return a fractional difference to be fed one value at a time.

    Parameters
    ----------
    d, threshold, balanced
        As for `weights`.
    level : float
        Subtracted from every value first; one that was known before, such as the log price at the
        beginning of the training window.

    Returns
    -------
    Streaming
        ``.update(np.log(price))`` returns the difference: NaN until the window is full, and anew
        after a value that is not finite.

    Examples
    --------
    >>> live = stream(1.0)
    >>> [live.update(value) for value in (1.0, 3.0, 3.5)]
    [nan, 2.0, 0.5]
    """
    return streaming(step, *_start(d, threshold, level, balanced))


def ffd_exact(
    values: Any,
    d: float,
    *,
    threshold: float = THRESHOLD,
    level: float = 0.0,
    balanced: bool = False,
) -> np.ndarray:
    """Difference a series with the bits of `stream`: what is trained on and traded with.

    Parameters
    ----------
    values, d, threshold, level, balanced
        As for `ffd`.

    Returns
    -------
    np.ndarray, shape (n,)
        As `ffd` within 1e-12 of the values; a value does not depend on later ones in any bit.

    Notes
    -----
    The compiled scan of `step`: n times the window multiplications, where `ffd` has the
    logarithm of the window.

    Examples
    --------
    >>> ffd_exact([1.0, 3.0, 3.5], 1.0).tolist()
    [nan, 2.0, 0.5]
    """
    state, rules = _start(d, threshold, level, balanced)
    return scan(step, state, (as_array(values),), rules)[1]


def ffd(
    values: Any,
    d: float,
    *,
    threshold: float = THRESHOLD,
    level: float = 0.0,
    balanced: bool = False,
) -> np.ndarray:
    r"""Fractional difference of order d over a fixed window, of a whole series.

    .. math:: y_t = \sum_{k=0}^{L-1} w_k \, (x_{t-k} - \text{level})

    Parameters
    ----------
    values : array-like of float, shape (n,)
        In order of time, such as log prices; numpy, polars or pandas.
    d, threshold, balanced
        As for `weights`, whose number is the window L.
    level : float
        As for `stream`.

    Returns
    -------
    np.ndarray, shape (n,)
        NaN in the first ``L - 1`` places, and in as many after a value that is not finite.

    Notes
    -----
    The value at t is a sum over values up to t. It is computed by fast Fourier transforms of
    pieces that hold later values too, so those reach its last bits (1e-15 of the values); where
    that may not be, as in features, take `ffd_exact`.

    References
    ----------
    .. [1] Lopez de Prado, M. (2018). Advances in Financial Machine Learning, ch. 5.5. Wiley.

    Examples
    --------
    >>> ffd([1.0, 3.0, 3.5], 1.0).tolist()
    [nan, 2.0, 0.5]
    """
    weight, series = weights(d, threshold, balanced=balanced), as_array(values)
    found, filled = np.full(len(series), np.nan), len(weight) - 1
    for start, end in _pieces(np.isfinite(series)):
        if end - start > filled:
            _convolve(series[start:end], weight, level, found[start + filled : end])
    return found


def as_array(values: Any) -> np.ndarray:
    """Return a series of numpy, polars or pandas as an array of floats; null is NaN.

    >>> as_array([1, 2]).tolist()
    [1.0, 2.0]
    """
    to_numpy = getattr(values, "to_numpy", None)
    try:
        found = np.asarray(values if to_numpy is None else to_numpy(), dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise UserError(f"features: needs a series of numbers: {error}.") from error
    if found.ndim != 1:
        raise UserError(f"features: needs one series, found an array of shape {found.shape}.")
    return found


def _start(d: float, threshold: float, level: float, balanced: bool) -> tuple[Window, Rules]:
    newest_first = weights(d, threshold, balanced=balanced)
    oldest_first = np.ascontiguousarray(newest_first[::-1])
    return Window(np.zeros(2 * len(newest_first))), Rules(oldest_first, float(level))


def _pieces(known: np.ndarray) -> list[tuple[int, int]]:
    """Return where the values that are known begin and end, piece by piece."""
    if known.all():
        return [(0, len(known))]
    edges = np.flatnonzero(np.diff(known, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def _convolve(series: np.ndarray, weight: np.ndarray, level: float, found: np.ndarray) -> None:
    """Write the weighted sums of windows, by transforms of blocks that overlap."""
    size, rows, total = len(weight), len(found), weight.sum()
    if size <= _DIRECT:
        np.subtract(np.convolve(series, weight, "valid"), level * total, out=found)
        return
    base = series[0]  # near zero, so that rounding counts in moves and not in levels
    rest = (base - level) * total
    block = _block(size, len(series))
    spectrum, new = _spectrum(weight.tobytes(), block), block - size + 1
    number = min(max(_AT_ONCE // block, 1), -(-rows // new))
    room = np.empty(number * new + size - 1)
    blocks = np.lib.stride_tricks.sliding_window_view(room, block)[::new]
    waves, sums = np.empty((number, len(spectrum)), np.complex128), np.empty((number, block))
    for first in range(0, rows, number * new):
        part = series[first : first + len(room)]
        np.subtract(part, base, out=room[: len(part)])
        room[len(part) :] = 0.0
        used = min(number, -(-(rows - first) // new))
        np.fft.rfft(blocks[:used], out=waves[:used])
        waves[:used] *= spectrum
        np.fft.irfft(waves[:used], block, out=sums[:used])
        _lay_out(sums[:used, size - 1 :], rest, found[first : first + number * new])


def _lay_out(sums: np.ndarray, rest: float, found: np.ndarray) -> None:
    """Write rows of sums one after the other, as far as there is room."""
    new = sums.shape[1]
    whole = len(found) // new
    np.add(sums[:whole], rest, out=found[: whole * new].reshape(whole, new))
    if whole * new < len(found):
        np.add(sums[whole, : len(found) - whole * new], rest, out=found[whole * new :])


_DIRECT = 64
"""Weights up to which a plain sum is as quick as transforms."""
_AT_ONCE = 1 << 15
"""Values transformed at a time: what lies in between stays small however long a series is."""


def _block(size: int, rows: int) -> int:
    """Return the length of a transform: 8 to 16 windows, or the whole series if that is less."""
    from scipy.fft import next_fast_len

    return min(1 << (size.bit_length() + 3), int(next_fast_len(rows, real=True)))


@lru_cache(maxsize=64)
def _spectrum(weight: bytes, block: int) -> np.ndarray:
    return np.fft.rfft(np.frombuffer(weight), block)
