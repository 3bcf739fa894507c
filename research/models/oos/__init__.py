"""Out-of-sample forecasts: for each fold, fit on its training rows and forecast its test rows."""

from research.models.oos.fresh import ALL, Said, forecast_rows, forecast_table, fresh, standing
from research.models.oos.rows import LIMIT, Fold
from research.models.oos.shelves import newest, shares, stored
from research.models.oos.walk import Made, out_of_sample

__all__ = [
    "ALL",
    "LIMIT",
    "Fold",
    "Made",
    "Said",
    "forecast_rows",
    "forecast_table",
    "fresh",
    "newest",
    "out_of_sample",
    "shares",
    "standing",
    "stored",
]
