"""A month of real one-minute bars: the published correlations, and what they are made of."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from research.features import fracdiff

MONTH = "btc_perp_2022-01/btc-perp-20211231-20220201_1m.csv.gz"
PATH = Path(__file__).resolve().parents[4] / "shared/data/klines_1m" / MONTH


@pytest.mark.real
@pytest.mark.skipif(not PATH.is_file(), reason="real bars of January 2022 are not here")
@pytest.mark.parametrize(
    ("d", "options", "memory"),
    [
        (0.1, {}, 0.999),
        (0.4, {}, 0.971),
        (0.4, {"threshold": 1e-5}, 0.864),
        (0.4, {"balanced": True}, 0.048),
    ],
)
def test_memory_of_a_real_month(d, options, memory):
    log_price = np.log(pl.read_csv(PATH)["close"].to_numpy())
    rows = fracdiff.ffd(log_price, d, **options)
    known = np.isfinite(rows)
    assert np.corrcoef(rows[known], log_price[known])[0, 1] == pytest.approx(memory, abs=6e-4)
    level = fracdiff.ffd(log_price, d, level=log_price[0], **options)
    assert np.corrcoef(level[known], log_price[known])[0, 1] == pytest.approx(memory, abs=6e-4)
