"""The quick last sigma: polars' bits, and the way round it where polars would sum otherwise."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research import features
from research.features import newest, running
from research.features.returns import sigma
from research.features.warmup import canonical


def closes(seed, rows, still):
    rng = np.random.default_rng(seed)
    step = rng.standard_normal(rows) * 10 ** rng.uniform(-6, -1)
    step[rng.random(rows) < still] = 0.0
    return np.round(100 * np.exp(np.cumsum(step)), 4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 1_500), st.floats(0, 1), st.sampled_from([2, 60]))
def test_the_last_sigma_has_the_bits_of_polars(seed, rows, still, bars):
    close = closes(seed, rows, still)
    wanted = pl.DataFrame({"close": close}).select(sigma(bars)).to_series()[-1]
    found = running.last_sigma(close, bars)
    assert (None if np.isnan(found) else found) == wanted


def test_this_polars_sums_as_we_do():
    assert running.same_as_polars(60)


@pytest.mark.parametrize("name", ["S1", "S2_plus"])
def test_another_polars_would_be_asked(monkeypatch, name):
    minute, chosen = timedelta(minutes=1), features.resolve(name)
    bars = canonical(3_000, interval=minute)
    opened, closed = (bars[c].to_physical().to_numpy() for c in ("open_time", "time"))
    columns = {c: bars[c].cast(pl.Float64).to_numpy() for c in bars.columns[3:]}
    quick = newest.Newest(chosen, interval=minute).row("A", opened, closed, columns)
    monkeypatch.setattr(running, "same_as_polars", lambda bars: False)
    monkeypatch.setattr(running, "last_sigma", None)
    slow = newest.Newest(chosen, interval=minute).row("A", opened, closed, columns)
    assert quick[0].tobytes() == slow[0].tobytes() and quick[1] == slow[1]
    assert not np.isnan([*quick[0], quick[1]]).any()
