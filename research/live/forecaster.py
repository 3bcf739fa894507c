"""From closed bars to what the desk is told: features, forecast, bin and costs of one moment."""

from __future__ import annotations

import hashlib
import time
from datetime import timedelta
from typing import Any

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
    return max(feature_room.lookback(chosen, interval=interval), _DAY)


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
        self.rows = pl.DataFrame()
        """Features of the newest moment, one row per symbol."""
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

    def score(self, moment: Moment) -> list[Scored]:
        """Take in a moment and return its rows in the order of symbols."""
        begun = time.perf_counter_ns()
        self.push(moment)
        rows = self.rows = self._rows(moment)
        featured = time.perf_counter_ns()
        said, shadow = self._said(rows, self.champion), self._said(rows, self.challenger)
        told, bins = self._told(said, moment.time)
        paid = self._paid(moment)
        spans = (featured - begun, time.perf_counter_ns() - featured)
        self.took = dict(zip(("features", "forecast"), (span // 1000 for span in spans)))
        hashes, sigma = self._hashes(rows), _floats(rows["sigma"])
        return [
            Scored(
                bar=bar,
                features=hashes[k],
                model=said["model"][k],
                forecast=said["forecast"][k],
                told=float(told[k]),
                bin=int(bins[k]),
                sigma=float(sigma[k]),
                half_spread=paid["half_spread"][k],
                impact=paid["impact"][k],
                challenger=shadow["forecast"][k],
            )
            for k, bar in enumerate(moment.bars)
        ]

    def _rows(self, moment: Moment) -> pl.DataFrame:
        """Features and sigma of the moment's bars, in their order."""
        now = pl.lit(moment.time).cast(schema.TIME)
        if self._newest is None:
            bars, interval = self._window.bars(), self._study.data.interval
            found = feature_room.latest(bars, self._set, interval=interval)
            return found.filter(pl.col("time") == now)
        names = [bar.symbol for bar in moment.bars]
        rows = [self._newest.row(name, *self._window.arrays(name)) for name in names]
        values = np.array([[*features, sigma] for features, sigma in rows])
        columns = (
            pl.Series(name, values[:, k], nan_to_null=True)
            for k, name in enumerate([*self._set.names, "sigma"])
        )
        key = pl.DataFrame({"symbol": names}).with_columns(now.alias("time"))
        return key.with_columns(columns)

    def _said(self, rows: pl.DataFrame, found: Models) -> pl.DataFrame:
        """Forecasts of the rows that have every feature, beside all rows."""
        empty = {"forecast": pl.Float64, "model": pl.String}
        if not found:
            return rows.select(schema.KEY).with_columns(
                pl.lit(None, dtype).alias(name) for name, dtype in empty.items()
            )
        made = models.forecast_table(found, rows)
        keep = [name for name in made.columns if name not in ("sigma", *schema.KEY)]
        return rows.select(schema.KEY).join(
            made.select(*schema.KEY, *keep), on=schema.KEY, how="left", maintain_order="left"
        )

    def _told(self, said: pl.DataFrame, now: int) -> tuple[np.ndarray, np.ndarray]:
        forecast = _floats(said["forecast"])
        bins = np.zeros(len(forecast), np.int64)
        if self._bins is not None:
            bins = self._bins.update(now, forecast)
        if self._study.backtest.rule != "probability":
            return forecast, bins
        if not set(schema.CLASSES) <= set(said.columns):
            return np.full(len(forecast), np.nan), bins
        return _floats(said.select(tape.told(self._study, said)).to_series()), bins

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

    def _hashes(self, rows: pl.DataFrame) -> list[str | None]:
        values = rows.select(self._set.names).fill_null(float("nan")).to_numpy()
        return [
            None
            if np.isnan(row).any()
            else hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest()
            for row in np.ascontiguousarray(values)
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
