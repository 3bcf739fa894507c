"""Guards of forecasts: what a stored model says of a row alone, and cut-points known in time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from research import models, pipeline
from research.audit.guards.seen import Seen
from research.audit.guards.tables import KEY, first

ALONE = 5
"""Rows per model that are forecast all by themselves."""


def forecasts(seen: Seen) -> Iterator[str]:
    """A forecast is what its fold's stored model says of its row of features alone.

    Ask the stored models again, about all their rows at once and about a few one by one.
    """
    made = seen.forecasts
    if made.is_empty() or not seen.fold_models or seen.study.model.meta is not None:
        return
    yield from _outside(seen)
    stored = {model.id: model for model in seen.fold_models}
    for (name,), rows in made.group_by("model", maintain_order=True):
        if name not in stored:
            yield f"forecasts: model {name} of fold {rows['fold'][0]} is not stored"
            continue
        inputs = seen.features.join(rows.select(KEY), on=KEY, how="semi")
        few = [inputs[int(i) : int(i) + 1] for i in np.linspace(0, inputs.height - 1, ALONE)]
        for part in (inputs, *few):
            if part.is_empty():
                continue
            said = models.forecast_table({models.ALL: stored[str(name)]}, part)
            both = rows.join(said.select(*KEY, again="forecast"), on=KEY, how="left")
            mine = both.join(part.select(KEY), on=KEY, how="semi")
            off = mine.filter(pl.col("forecast").ne_missing(pl.col("again")))
            line = "forecast of {symbol} {time}: {forecast}, but {model} says {again} of that row"
            yield from first(off, line)


def _outside(seen: Seen) -> Iterator[str]:
    """Every row must lie in the test window that its fold is named for."""
    spans = pl.DataFrame(
        [(f"{w.test_start:%Y-%m-%dT%H:%MZ}", w.test_start, w.test_end) for w in seen.windows],
        schema=["fold", "start", "end"],
        orient="row",
    )
    both = seen.forecasts.join(spans, on="fold", how="left")
    inside = (pl.col("time") >= pl.col("start")) & (pl.col("time") < pl.col("end"))
    stray = both.filter(~inside.fill_null(False))
    yield from first(stray, "forecast of {symbol} {time}: not in the test window of fold {fold}")


def cut_points(seen: Seen) -> Iterator[str]:
    """The bin of a forecast is the same when forecasts end with it.

    Cut anew with later forecasts left out, at moments inside days.
    """
    if "bin" not in seen.binned.columns or seen.binned.is_empty():
        return
    times = seen.binned["time"].unique().sort()
    for i in np.linspace(times.len() // 3, times.len() - 2, 6).astype(int).tolist():
        last = times[i]
        anew = pipeline.binned(seen.study, seen.forecasts.filter(pl.col("time") <= last))
        both = seen.binned.join(anew.select(*KEY, again="bin"), on=KEY, how="inner")
        off = both.filter(pl.col("bin").ne_missing(pl.col("again")))
        line = "bin of {symbol} {time}: {bin} becomes {again} without forecasts after "
        line += f"{last:%Y-%m-%d %H:%M}Z"
        yield from first(off, line)
