"""The quick live row: bit for bit the row of the tables, whatever gaps lie before it."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from research import features, schema
from research.errors import UserError
from research.features.newest import Newest
from research.sources import simulated

MINUTE = timedelta(minutes=1)
QUICK = ("S1", "S2", "S4", "S2_plus", "S1_stationary", "S4_stationary")


@pytest.fixture(scope="module")
def bars():
    how = {"ic": 0.05, "horizon": 10 * MINUTE, "half_life": 10 * MINUTE, "seed": 3}
    raw = simulated.market(symbols=2, days=5, **how).bars
    made = raw.with_columns((pl.col("open_time") + MINUTE).alias("time")).select(*schema.BARS)
    hole = pl.col("time").is_between(made["time"][2500], made["time"][2530])
    return made.filter(~hole)


def arrays(part):
    opened, closed = (part[name].to_physical().to_numpy() for name in ("open_time", "time"))
    names = [name for name in schema.BARS if part[name].dtype.is_numeric()]
    return part["symbol"][0], opened, closed, {name: part[name].to_numpy() for name in names}


@pytest.mark.parametrize("name", QUICK)
def test_every_row_is_that_of_the_tables(bars, name):
    chosen = features.resolve(name)
    newest = Newest(chosen, interval=MINUTE)
    table = features.build(bars, chosen, interval=MINUTE)
    rng = np.random.default_rng(1)
    for (symbol,), mine in bars.group_by("symbol", maintain_order=True):
        rows = table.filter(pl.col("symbol") == symbol)
        ends = {*rng.integers(1, mine.height, 40).tolist(), 1, 2, 300, mine.height}
        for end in sorted(ends):
            values, sigma = newest.row(*arrays(mine[:end]))
            expected = rows.row(end - 1)
            found = [None if np.isnan(v) else v for v in (*values, sigma)]
            assert found == list(expected[2:]), (symbol, end)
    assert table.drop_nulls().height > bars.height / 3


def test_what_looks_at_other_symbols_is_left_to_the_tables():
    with pytest.raises(UserError, match="S2_cross looks at other symbols"):
        Newest(features.resolve("S2_cross"), interval=MINUTE)


def test_bars_since_the_anchor_are_enough(bars):
    chosen = features.resolve("S1")
    newest, mine = Newest(chosen, interval=MINUTE), bars.filter(pl.col("symbol") == "SIM01USDT")
    day = mine["time"][-2].replace(hour=0, minute=0, second=0, microsecond=0)
    back = day - features.lookback(chosen, interval=MINUTE)
    short = mine.filter(pl.col("open_time") >= back)
    assert short.height < mine.height
    for part in (mine, short):
        values, sigma = newest.row(*arrays(part))
        assert not np.isnan([*values, sigma]).any()
    assert newest.row(*arrays(mine))[0].tolist() == newest.row(*arrays(short))[0].tolist()
