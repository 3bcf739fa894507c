"""A small table of features and labels with a linear edge, for the tests of models."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from research import schema

MINUTE = timedelta(minutes=1)
START = datetime(2025, 5, 1, tzinfo=UTC)
COLUMNS = ["a", "b", "c"]
CARD = {"name": "toy", "version": 1, "fingerprint": "f" * 64}


def _tables(
    *, rows: int = 3000, symbols: str = "AB", horizon: int = 5, seed: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features (first 20 rows not known) and labels (last `horizon` not known) per symbol."""
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for symbol in symbols:
        time = pl.Series([START + k * MINUTE for k in range(1, rows + 1)], dtype=schema.TIME)
        inputs = rng.normal(size=(rows, len(COLUMNS)))
        sigma = 0.001 * np.exp(rng.normal(0, 0.3, rows))
        noise = rng.standard_t(4, rows)
        y = sigma * np.sqrt(horizon) * (0.3 * inputs[:, 0] - 0.2 * inputs[:, 1] + noise)
        names = pl.Series([symbol] * rows, dtype=pl.String)
        table = pl.DataFrame({"symbol": names, "time": time, "sigma": sigma})
        table = table.with_columns(pl.Series(c, inputs[:, k]) for k, c in enumerate(COLUMNS))
        early = pl.int_range(pl.len()) < 20
        features.append(table.with_columns(pl.when(~early).then(pl.col(c)) for c in COLUMNS))
        known = pl.DataFrame(
            {"symbol": names, "time": time, "known_at": time + horizon * MINUTE, "y": y}
        )
        labels.append(known.head(rows - horizon))
    return pl.concat(features), pl.concat(labels)


@pytest.fixture(scope="session")
def toy() -> SimpleNamespace:
    """What the tests of models share: `tables()`, the input columns and the set's card."""
    return SimpleNamespace(tables=_tables, columns=COLUMNS, card=CARD, start=START)
