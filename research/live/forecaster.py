"""From closed bars to what the desk is told: features, forecast, bin and costs of one moment."""

from __future__ import annotations

import hashlib
import math
import time
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import charges, models, pipeline, schema, signals, tape
from research import features as feature_room
from research.errors import UserError
from research.features.newest import Newest
from research.live.moments import Moment, Scored
from research.live.rows import Window
from research.study import Study

_US = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_HOUR = 3_600_000_000
Models = dict[str, models.Model]


def reach(study: Study) -> timedelta:
    """Return how far before a UTC day bars must be known: for its features, and for costs."""
    chosen, interval = pipeline.feature_set(study), study.data.interval
    # impact asks how far the first bar of the day before moved, from the close before it
    return max(feature_room.lookback(chosen, interval=interval), _DAY + study.data.interval)


class Forecaster:
    """Scores moments one after the other, as the batch path would score them all at once.

    Parameters
    ----------
    study : Study
        Says which features, which bins and which costs.
    bars : pl.DataFrame
        `schema.BARS` known so far; `reach` before the UTC day of the first moment, or all there is.
    champion : dict of str to Model
        By symbol; ``""`` is one model for all.

    Raises
    ------
    UserError
        If the study ranks forecasts in a way that is not known at the time.
    """

    def __init__(self, study: Study, bars: pl.DataFrame, champion: Models) -> None:
        self._study, self._set = study, pipeline.feature_set(study)
        self._window = Window(bars, back=reach(study) // _US, interval=study.data.interval // _US)
        self._newest = _newest(self._set, study)
        self._bins = _trailing(study)
        outputs = dict.fromkeys(next(iter(champion.values())).core.outputs, pl.Float64)
        # a rule of probabilities without any is refused here, not bar after bar
        tape.told(study, pl.DataFrame(schema={"forecast": pl.Float64, **outputs}))
        self.champion, self.challenger = champion, Models()
        self._names = self._set.names
        self._rows = Rows([], self._names, np.empty((0, len(self._names))), np.empty(0), 0)
        self._hour: tuple[int, list[str]] | None = None
        self._charged: dict[str, Any] = {}
        self.took: dict[str, int] = {}
        """Microseconds that each hop of the newest moment took."""

    def remember(self, forecasts: pl.DataFrame) -> None:
        """Take in forecasts made before the first moment: cut-points are drawn from them too."""
        if self._bins is None:
            return
        rows = forecasts.sort("time", "symbol").with_columns(pl.col("time").dt.epoch("us"))
        for (moment,), part in rows.group_by("time", maintain_order=True):
            self._bins.update(int(str(moment)), _floats(part["forecast"]))

    def recall(self, time: int, forecasts: list[float | None]) -> None:
        """Take in the forecasts of a moment that was decided before a restart."""
        if self._bins is not None:
            self._bins.update(time, np.array(forecasts, dtype=np.float64))

    def window(self) -> pl.DataFrame:
        """Return the bars that are kept."""
        return self._window.bars()

    def push(self, moment: Moment) -> None:
        """Take in bars without scoring them."""
        self._window.push(moment)

    @property
    def rows(self) -> pl.DataFrame:
        """Features and sigma of the newest moment, one row per symbol."""
        return self._rows.table()

    def score(self, moment: Moment) -> list[Scored]:
        """Take in a moment and return its rows in the order of symbols."""
        begun = time.perf_counter_ns()
        self.push(moment)
        rows = self._rows = self._newest_rows(moment)
        featured = time.perf_counter_ns()
        said, shadow = rows.said(self.champion), rows.said(self.challenger)
        told, bins = self._told(said, moment.time)
        paid = self._paid(moment)
        spans = (featured - begun, time.perf_counter_ns() - featured)
        self.took = dict(zip(("features", "forecast"), (span // 1000 for span in spans)))
        hashes, sigma = rows.hashes(), rows.sigma.tolist()
        forecast, in_shadow = said.columns["forecast"].tolist(), shadow.columns["forecast"].tolist()
        return [
            Scored(
                bar=bar,
                features=hashes[k],
                model=said.model[k],
                forecast=None if said.model[k] is None else forecast[k],
                told=told[k],
                bin=bins[k],
                sigma=sigma[k],
                half_spread=paid["half_spread"][k],
                impact=paid["impact"][k],
                challenger=None if shadow.model[k] is None else in_shadow[k],
            )
            for k, bar in enumerate(moment.bars)
        ]

    def _newest_rows(self, moment: Moment) -> Rows:
        """Features and sigma of the moment's bars, in their order."""
        names, symbols = self._names, [bar.symbol for bar in moment.bars]
        if self._newest is None:
            bars, interval = self._window.bars(), self._study.data.interval
            found = feature_room.latest(bars, self._set, interval=interval)
            now = found.filter(pl.col("time") == pl.lit(moment.time).cast(schema.TIME))
            known = now.select(pl.col(*names, "sigma").fill_null(math.nan)).to_numpy()
            return Rows(symbols, names, known[:, :-1], known[:, -1], moment.time)
        rows = [self._newest.row(symbol, *self._window.arrays(symbol)) for symbol in symbols]
        values, sigma = (np.array(part) for part in zip(*rows))
        return Rows(symbols, names, values, sigma, moment.time)

    def _told(self, said: models.Said, now: int) -> tuple[list[float], list[int]]:
        forecast = said.columns["forecast"]
        bins = np.zeros(len(forecast), np.int64)
        if self._bins is not None:
            bins = self._bins.update(now, forecast)
        if self._study.backtest.rule != "probability":
            return forecast.tolist(), bins.tolist()
        if not set(schema.CLASSES) <= said.columns.keys():
            return [math.nan] * len(forecast), bins.tolist()
        table = pl.DataFrame(
            [pl.Series(name, values, nan_to_null=True) for name, values in said.columns.items()]
        )
        told = table.select(tape.told(self._study, table)).to_series()
        return told.fill_null(math.nan).to_list(), bins.tolist()

    def _paid(self, moment: Moment) -> dict[str, list[float]]:
        """What a fill inside each of the moment's bars pays."""
        names = [bar.symbol for bar in moment.bars]
        hour = moment.bars[0].open_time // _HOUR
        if not self._study.costs.impact and self._hour == (hour, names):
            return self._charged  # only the hour matters then
        now = pl.col("time") == pl.lit(moment.time).cast(schema.TIME)
        found = charges.columns(self._study, self._window.bars(names))
        self._charged = found.filter(now).to_dict(as_series=False)
        self._hour = (hour, names)
        return self._charged


class Rows(NamedTuple):
    """Features and sigma of one moment, a row per symbol; NaN is not known."""

    symbols: list[str]
    names: list[str]
    values: np.ndarray
    sigma: np.ndarray
    time: int

    def table(self) -> pl.DataFrame:
        """Return them as `research.features.build` does."""
        found = {**dict(zip(self.names, self.values.T)), "sigma": self.sigma}
        columns = (pl.Series(name, made, nan_to_null=True) for name, made in found.items())
        now = pl.lit(self.time).cast(schema.TIME).alias("time")
        key = pl.DataFrame({"symbol": self.symbols}, schema={"symbol": pl.String})
        return key.with_columns(now).with_columns(columns)

    def said(self, found: Models) -> models.Said:
        """Ask models about the rows."""
        if found:
            return models.forecast_rows(found, self.symbols, self.names, self.values, self.sigma)
        unknown = np.full(len(self.symbols), math.nan)
        return models.Said({"forecast": unknown}, [None] * len(self.symbols))

    def hashes(self) -> list[str | None]:
        """Fingerprint each row of features; None where one is not known."""
        unknown = np.isnan(self.values).any(axis=1)
        return [
            None if lacks else hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest()
            for row, lacks in zip(self.values, unknown)
        ]


def _newest(chosen: feature_room.FeatureSet, study: Study) -> Newest | None:
    """The quick way to a row, where the set looks at one symbol at a time."""
    return None if chosen.cross else Newest(chosen, interval=study.data.interval)


def _trailing(study: Study) -> signals.Trailing | None:
    if study.backtest.rule != "quantile":
        return None
    if study.evaluation.scope != "trailing":
        raise UserError(
            f"study {study.name}: evaluation.scope {study.evaluation.scope!r} has no cut-points at "
            "the time of a forecast. Use 'trailing' to trade quantiles live."
        )
    return signals.Trailing(**pipeline.cuts(study))


def _floats(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
