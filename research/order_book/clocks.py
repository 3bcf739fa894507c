"""How far the recorder's clock is from the venue's, and how fast they drift apart."""

from __future__ import annotations

import numpy as np

BINS = 60


def clock_offset(received_ns: np.ndarray, sent_us: np.ndarray) -> float | None:
    r"""Return by how much the venue's clock is ahead of the recorder's.

    .. math:: \hat\theta = \mathrm{median}_i (s_i - r_i)

    Parameters
    ----------
    received_ns : np.ndarray of int64, shape (n,)
        Nanoseconds of the recorder's clock.
    sent_us : np.ndarray of int64, shape (n,)
        Microseconds of the venue's clock when it sent the message; 0 or less where it did not say.

    Returns
    -------
    float or None
        Seconds, exchange minus local: positive where the recorder's clock is late. None where no
        message says when it was sent.

    Notes
    -----
    ``s - r`` is the true offset less the time under way. The median takes the typical delay for
    the clocks' own, some milliseconds; delays are never negative, so the largest difference is
    nearer to the truth, but it rests on one message and grows with drift. In the recordings of
    2024-08-08 the median is 1.268 to 1.272, the largest difference 1.273 to 1.275.

    Examples
    --------
    >>> clock_offset(np.array([1_000_000, 2_000_000]), np.array([1_010, 2_010]))
    1e-05
    """
    difference = _differences(received_ns, sent_us)[1]
    return float(np.median(difference)) if len(difference) else None


def clock_drift(received_ns: np.ndarray, sent_us: np.ndarray) -> float | None:
    """Return how many seconds the venue's clock gains on the recorder's in each second.

    Parameters
    ----------
    received_ns, sent_us
        As for `clock_offset`.

    Returns
    -------
    float or None
        0.000005 is 5 parts in a million. None with fewer than two moments to compare.

    Notes
    -----
    The span is cut into `BINS`; of each the message that was under way for the shortest time is
    taken, and of the slopes between any two of them the median (Theil 1950; Sen 1968), which a
    fifth of wrong bins does not move.
    """
    at, difference = _differences(received_ns, sent_us)
    if len(at) < 2 or at.max() == at.min():
        return None
    place = np.minimum((at - at.min()) / (at.max() - at.min()) * BINS, BINS - 1).astype(int)
    best = np.lexsort((-difference, place))
    best = best[np.append(True, np.diff(place[best]) > 0)]
    left, right = np.triu_indices(len(best), 1)
    apart = at[best][right] - at[best][left]
    gained = difference[best][right] - difference[best][left]
    return float(np.median(gained[apart > 0] / apart[apart > 0]))


def _differences(received_ns: np.ndarray, sent_us: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of receipt from the first on, and seconds by which each was sent after it."""
    said = sent_us > 0
    received, sent = received_ns[said], sent_us[said]
    if not len(received):
        return np.empty(0), np.empty(0)
    return (received - received[0]) / 1e9, (sent * 1000 - received) / 1e9
