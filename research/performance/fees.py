"""How much a run bears: the fee at which it breaks even, and its return over fees."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import polars as pl


def break_even_fee(run_with_fee: Callable[[float], float]) -> float | None:
    """Find the fee per side at which the net return is zero.

    Parameters
    ----------
    run_with_fee : callable
        Net return of the run as a function of the fee per side, a fraction of notional. All
        else must stay as it is, above all the decisions: a threshold that follows the fee would
        ask another question.

    Returns
    -------
    float or None
        To 1e-9. Below zero where the run loses before fees: the rebate it would need. None where
        the fee makes no difference (no trade), no fee between -100 % and 100 % breaks even, or the
        net return jumps over zero, for a fee also decides what fits into the account.

    Examples
    --------
    Four sides that gain 20 bps in all bear 5 bps each:

    >>> round(break_even_fee(lambda fee: 0.0020 - 4 * fee), 8)
    0.0005
    """
    from scipy.optimize import brentq

    sign = 1.0 if run_with_fee(0.0) >= 0 else -1.0
    near, far = 0.0, sign * 1e-5
    while abs(far) < 1 and sign * run_with_fee(far) > 0:
        near, far = far, far * 2
    if abs(far) >= 1 or run_with_fee(near) == run_with_fee(far):
        return None
    found = float(brentq(run_with_fee, near, far, xtol=1e-9))
    # where a fee decides what fits into the account, the net return may jump over zero
    return found if abs(run_with_fee(found)) < 1e-4 else None


def fee_sweep(run_with_fee: Callable[[float], float], fees: Iterable[float]) -> pl.DataFrame:
    """Tabulate the net return over fees.

    Parameters
    ----------
    run_with_fee : callable
        As for `break_even_fee`.
    fees : iterable of float
        Per side, fractions of notional.

    Returns
    -------
    pl.DataFrame
        ``fee, net_return``.

    Examples
    --------
    >>> fee_sweep(lambda fee: 0.002 - 4 * fee, [0.0, 0.0005])["net_return"].to_list()
    [0.002, 0.0]
    """
    fees = [float(fee) for fee in fees]
    return pl.DataFrame({"fee": fees, "net_return": [float(run_with_fee(fee)) for fee in fees]})
