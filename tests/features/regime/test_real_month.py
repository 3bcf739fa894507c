"""A month of real one-minute bars: trends against Gaussian walks are none against their own."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from research.features import regime

MONTH = "btc_perp_2022-01/btc-perp-20211231-20220201_1m.csv.gz"
PATH = Path(__file__).resolve().parents[4] / "shared/data/klines_1m" / MONTH


@pytest.mark.real
@pytest.mark.skipif(not PATH.is_file(), reason="real bars of January 2022 are not here")
def test_a_real_month_held_against_its_own_steps():
    log_price = np.log(pl.read_csv(PATH)["close"].to_numpy())
    before, after = log_price[:15_000], log_price[15_000:]
    gaussian = regime.regime(after, window=1_000)["regime"].drop_nulls()
    own = regime.regime(after, window=1_000, steps=np.diff(before))["regime"].drop_nulls()
    assert (gaussian == "trending").mean() == pytest.approx(0.26, abs=0.01)
    assert (own == "trending").mean() == pytest.approx(0.03, abs=0.01)
