"""The tour, done by somebody who knows pandas alone."""

import pandas as pd
import pytest

from research import features, performance, pipeline, plots, schema, scores, store
from research.datasets import dataset


@pytest.fixture(scope="module")
def bars(small):
    pipeline.bars(small)
    return store.load(**dataset(small).where(), as_pandas=True)


def test_the_whole_tour_in_pandas(small, bars):
    assert isinstance(bars, pd.DataFrame)
    one = bars.xs("SIM01USDT", level="symbol")
    assert str(one.index.tz) == "UTC"

    def mine(b):
        return b["close"] / b["close"].rolling(30).mean() - 1

    tried = features.study(bars, horizons=(10,), draws=50, mine=mine)
    assert tried.facts["causal"][0]

    table = schema.to_pandas(pipeline.features(small, bars))
    forecasts = schema.to_pandas(pipeline.forecasts(small, table))
    assert forecasts["forecast"].equals(schema.to_pandas(pipeline.forecasts(small))["forecast"])

    score = scores.ic(forecasts, horizon=small.labels.horizon)
    assert score == scores.ic(pipeline.forecasts(small), horizon=small.labels.horizon)

    tested = pipeline.backtest(small, forecasts)
    assert tested.summary == pipeline.backtest(small).summary
    curve = schema.to_pandas(tested.equity)
    assert plots.equity(curve.reset_index()) is not None
    assert performance.text(tested.summary)


def test_sql_and_scan_speak_pandas_too(small, bars):
    counted = store.sql("SELECT symbol, count(*) AS n FROM bars GROUP BY symbol", as_pandas=True)
    assert counted["n"].sum() >= len(bars)
    assert store.scan(**dataset(small).where()).collect().height == len(bars)


def test_a_pandas_mistake_is_named(small, bars):
    with pytest.raises(schema.TableError, match="without a time zone"):
        pipeline.labels(
            small, bars.xs("SIM01USDT", level="symbol").assign(symbol="A").tz_localize(None)
        )
