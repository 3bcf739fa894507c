"""Where a study's bars lie in the store, and how they get there.

Files and simulations are named by their content and brought in when first asked for. Only
`download` reaches the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from research import bars as bar_room
from research.batch import Progress
from research.errors import UserError
from research.store import atomic, cards, lake, tables, trials
from research.study import ROOT, Study

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Dataset:
    """One body of stored bars."""

    venue: str
    market: str
    interval: timedelta

    @property
    def lineage(self) -> str:
        """The data that trials are counted on; files keep theirs when days are added to them."""
        name = self.market.rpartition("-")[0] if self.venue == "files" else self.market
        return f"{self.venue}/{name}"

    def where(self) -> dict[str, Any]:
        """As the store's functions take it."""
        return {"venue": self.venue, "market": self.market, "interval": self.interval}


def dataset(study: Study) -> Dataset:
    """Name the stored bars that `study` reads."""
    if study.data.source == "binance":
        return Dataset(study.data.venue, study.data.market, MINUTE)
    if study.data.source == "simulated":
        return Dataset("simulated", cards.digest(_simulation(study)), MINUTE)
    from research.sources import files

    path = source_path(study)
    made_of = [files.fingerprint(path), cards.code("sources/files", "bars")]
    return Dataset("files", f"{path.stem}-{cards.digest(made_of)}", files.interval(path))


def _simulation(study: Study) -> dict[str, Any]:
    made = study.simulated.model_dump(mode="json")
    return {**made, "code": cards.code("sources/simulated", "bars")}


def source_path(study: Study) -> Path:
    """Return the path a study names; a relative one counts from the project root."""
    path = Path(study.data.path or "").expanduser()
    return path if path.is_absolute() else ROOT / path


def acquire(study: Study, *, progress: Progress | None = None) -> Dataset:
    """Bring files or a simulation into the store, once; Binance is `download`'s to fetch."""
    place = dataset(study)
    if study.data.source == "binance" or lake.is_complete(**place.where()):
        return place
    # two notebooks may want the same bars at once: the second waits and finds them
    with atomic.only_one(f"import-{place.venue}-{place.market}", wait=True):
        if not lake.is_complete(**place.where()):
            raw = _read_source(study, place, progress)
            table, quality = bar_room.clean(raw, interval=place.interval, name=place.lineage)
            lake.write(table, quality, **place.where())
            lake.mark_complete(**place.where())
    return place


def _read_source(study: Study, place: Dataset, progress: Progress | None) -> pl.DataFrame:
    if study.data.source == "simulated":
        return _market(study).bars
    from research.sources import files

    path = source_path(study)
    return files.history(path, symbols=None, interval=place.interval, progress=progress)


def _market(study: Study) -> Any:
    from research.sources import simulated

    return simulated.market(**dict(study.simulated))


def download(study: Study, *, progress: Progress | None = None) -> Any:
    """Fetch what is missing from Binance, or bring another source in.

    Parameters
    ----------
    study : Study
        With ``data.source = "binance"`` its `data.symbols` and `data.start` say what to fetch.
    progress : callable, optional
        Takes (done, total, label).

    Returns
    -------
    Account or Dataset
        What was fetched and what was found wrong on the way; shows itself in a cell.

    Raises
    ------
    UserError
        If symbols or start are not named, or the venue cannot be reached.
    """
    if study.data.source != "binance":
        return acquire(study, progress=progress)
    from research.sources import binance

    data, place = study.data, dataset(study)
    if not data.symbols or not data.start:
        raise UserError(
            f"study {study.name}: say what to download, as in "
            f"./run download {study.name} --symbols BTCUSDT,ETHUSDT -o data.start=2025-01-01"
        )
    return binance.download(
        data.symbols,
        start=data.start,
        end=data.end or datetime.now(UTC),
        interval=place.interval,
        market=data.market,
        archive=data.archive,
        rest=data.rest,
        cache=atomic.data_root() / "cache" / "binance",
        have=lambda symbol, month: lake.opened(symbol, month, **place.where()),
        save=lambda symbol, month, raw: _save(place, raw),
        progress=progress,
    )


def _save(place: Dataset, raw: pl.DataFrame) -> None:
    table, quality = bar_room.clean(raw, interval=place.interval, name=place.lineage)
    lake.write(table, quality, **place.where())


def quality(study: Study) -> pl.DataFrame:
    """Return what was found wrong with the bars, per symbol and day."""
    place, data = acquire(study), study.data
    chosen: dict[str, Any] = {"symbols": data.symbols, "start": data.start, "end": data.end}
    kept = lake.load(**place.where(), **chosen)
    return bar_room.recount(lake.quality(**place.where(), **chosen), kept, place.interval)


def count_trial(study: Study, forecasts: pl.DataFrame, ic: float) -> int:
    """Count one evaluation: other settings or other forecasts are another trial.

    Returns
    -------
    int
        Trials on this lineage so far.
    """
    chosen = study.settings() | {"forecasts": cards.fingerprint(forecasts)}
    return trials.record(chosen, lineage=dataset(study).lineage, ic=ic)


def oracle(study: Study) -> tuple[pl.DataFrame, float]:
    """Return a simulated market's true expected returns, and what they score on average.

    Returns
    -------
    pl.DataFrame
        ``symbol, time, forecast``: the expected simple return over the study's horizon.
    float
        The theoretical value of `scores.ic` for it; at the planted horizon it is the planted IC.
    """
    from research.sources import simulated

    horizon, market = study.labels.horizon, dict(study.simulated)
    parts = {**_simulation(study), "at": str(horizon)}

    def build(_: Path) -> tables.Tables:
        value = simulated.theoretical_ic(horizon, **market) if study.simulated.ic else 0.0
        best = simulated.oracle(horizon, **market)
        return {"oracle": best, "theory": pl.DataFrame({"ic": [value]})}

    kept = tables.keep("oracle", parts, build)
    return kept["oracle"], float(kept["theory"]["ic"][0])
