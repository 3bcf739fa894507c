"""How far forecasts are from what came, beside what knowing nothing would have got."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from research.scores.blocks import scored


def regression(forecasts: Any) -> pl.DataFrame:
    """Errors and directional accuracy of forecasts, each beside its baseline.

    Parameters
    ----------
    forecasts : polars or pandas frame
        With `symbol`, `time`, `forecast` and `y`; rows with null are left out.

    Returns
    -------
    pl.DataFrame
        One line each for root mean squared error, mean absolute error (both in return units) and
        directional accuracy (share). Columns `metric`, `value`, `baseline`, `against`: a forecast
        of zero, or always the sign that was more frequent. `value` of the accuracy is null where
        no row has both a forecast and a return other than zero.

    Raises
    ------
    UserError
        If fewer than two rows are known.

    Notes
    -----
    The majority sign is known only afterwards, so this baseline is a little too good.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> times = [datetime(2025, 1, 1, 0, m, tzinfo=UTC) for m in (1, 2, 3)]
    >>> table = pl.DataFrame({"symbol": "A", "time": times, "forecast": [1.0, 1.0, -1.0],
    ...     "y": [1.0, -1.0, -1.0]})
    >>> regression(table)["value"].round(4).to_list()
    [1.1547, 0.6667, 0.6667]
    """
    rows = scored(forecasts, ("forecast", "y"), "forecasts")
    forecast, y = rows["forecast"].to_numpy(), rows["y"].to_numpy()
    error = y - forecast
    right, majority = _direction(forecast, y)
    return pl.DataFrame(
        [
            ("rmse", float(np.sqrt((error**2).mean())), float(np.sqrt((y**2).mean())), "zero"),
            ("mae", float(np.abs(error).mean()), float(np.abs(y).mean()), "zero"),
            ("directional_accuracy", right, majority, "majority sign"),
        ],
        schema={
            "metric": pl.String,
            "value": pl.Float64,
            "baseline": pl.Float64,
            "against": pl.String,
        },
        orient="row",
    )


def _direction(forecast: np.ndarray, y: np.ndarray) -> tuple[float | None, float | None]:
    told = (forecast != 0) & (y != 0)
    if not told.any():
        return None, None
    up = y[told] > 0
    right = ((forecast[told] > 0) == up).mean()
    return float(right), float(max(up.mean(), 1 - up.mean()))
