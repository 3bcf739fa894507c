"""Where a study's bars lie in the store, and how they get there.

Files and simulations are named by their content and brought in when first asked for. Only
`download` reaches the network, for Binance, Kraken and Polygon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from research import bars as bar_room
from research import units
from research.batch import Progress
from research.errors import UserError
from research.order_flow import studied as recorded
from research.store import atomic, cards, lake, ledger, tables, where
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
        named = self.venue in ("files", "polygon", "recording") and self.market.rpartition("-")[0]
        return f"{self.venue}/{named or self.market}"

    @property
    def sparse(self) -> bool:
        """Whether an absent minute is one in which nothing was traded: a fact of the format."""
        return self.venue == "polygon"

    def where(self) -> dict[str, Any]:
        """As the store's functions take it."""
        return {"venue": self.venue, "market": self.market, "interval": self.interval}


def dataset(study: Study) -> Dataset:
    """Name the stored bars that `study` reads."""
    if study.data.source == "binance":
        return Dataset(study.data.venue, study.data.market, MINUTE)
    if study.data.source == "simulated":
        return Dataset("simulated", cards.digest(_simulation(study)), MINUTE)
    if study.data.source == "kraken":  # it tells 720 bars of each length, so hours reach further
        return Dataset("kraken", "spot", study.data.interval)
    if study.data.source == "polygon" and not study.data.path:
        return Dataset("polygon", "spot", MINUTE)
    if study.data.source in recorded.SOURCES:
        return Dataset(*recorded.place(study), study.data.interval)
    return _of_files(study)


def _of_files(study: Study) -> Dataset:
    from research.sources import files, polygon

    path, code = source_path(study), cards.code(f"sources/{study.data.source}", "bars")
    if study.data.source == "files":
        made_of = cards.digest([files.fingerprint(path), code])
        return Dataset("files", f"{path.stem}-{made_of}", files.interval(path))
    # a day's file holds hundreds of pairs, so only those asked for are brought in
    made_of = cards.digest([polygon.fingerprint(path), code, symbols(study)])
    return Dataset("polygon", f"{path.stem}-{made_of}", MINUTE)


def symbols(study: Study) -> list[str] | None:
    """Return the symbols a study names, as the store writes them; None for all there are."""
    named = study.data.symbols
    if named is None or study.data.source != "polygon":
        return named
    from research.sources import polygon

    return list(dict.fromkeys(map(polygon.symbol, named)))


def held(study: Study) -> list[str]:
    """Return all symbols that are stored where a study's bars lie, whether it names them or not."""
    place = dataset(study)
    return [s.symbol for s in where.shelves(place.venue, place.market, place.interval, None)]


def _simulation(study: Study) -> dict[str, Any]:
    made = study.simulated.model_dump(mode="json")
    return {**made, "code": cards.code("sources/simulated", "bars")}


def source_path(study: Study) -> Path:
    """Return the path a study names; a relative one counts from the project root."""
    path = Path(study.data.path or "").expanduser()
    return path if path.is_absolute() else ROOT / path


def acquire(study: Study, *, progress: Progress | None = None) -> Dataset:
    """Bring files or a simulation into the store, once; a venue's are `download`'s to fetch."""
    place = dataset(study)
    if _is_fetched(study) or lake.is_complete(**place.where()):
        return place
    # two notebooks may want the same bars at once: the second waits and finds them
    with atomic.only_one(f"import-{place.venue}-{place.market}", wait=True):
        if not lake.is_complete(**place.where()):
            for raw in _read_source(study, place, progress):
                _save(place, raw)
            lake.mark_complete(**place.where())
    return place


def _is_fetched(study: Study) -> bool:
    """Tell whether a study's bars come over the network."""
    data = study.data
    return data.source in ("binance", "kraken") or (data.source == "polygon" and not data.path)


def _read_source(study: Study, place: Dataset, progress: Progress | None) -> Iterator[pl.DataFrame]:
    """Yield raw bars in pieces that fit into memory."""
    if study.data.source == "simulated":
        from research.sources import simulated

        yield simulated.market(**dict(study.simulated)).bars
        return
    if study.data.source in recorded.SOURCES:
        yield recorded.bars(study, progress=progress)
        return
    from research.sources import files, polygon

    path = source_path(study)
    if study.data.source == "polygon":
        yield from polygon.read(path, symbols=symbols(study), progress=progress)
    else:
        yield files.history(path, symbols=None, interval=place.interval, progress=progress)


def load(study: Study, *, progress: Progress | None = None) -> pl.DataFrame:
    """Return a study's bars at the study's interval, from the store.

    Parameters
    ----------
    study : Study
        Its `data` says which.
    progress : callable, optional
        Takes (done, total, label).

    Returns
    -------
    pl.DataFrame
        As `schema.BARS`; without rows where the store holds none of the span. A longer bar of
        Polygon is made of the minutes that were traded in; see ``bars.resample(sparse=True)``.
        Bars of a recording have its order flow beside them, see `order_flow.flow`.

    Raises
    ------
    UserError
        As for `traded`, if the study asks for volume, dollar or imbalance bars; if bars of a
        stated `data.bar_size` are more than four times longer or shorter than `data.interval`,
        in which the other stages count them.
    """
    place, data = acquire(study, progress=progress), study.data
    if data.bars != "time":
        made = traded(study, progress=progress)
        if data.bar_size is not None:
            _check_length(study, made, place.interval)
        return made
    if place.interval == data.interval:
        made = _stored(study, place, data.start, data.end)
        return recorded.beside(study, made) if data.source in recorded.SOURCES else made
    if not place.sparse:
        return bar_room.resample(_stored(study, place, data.start, data.end), data.interval)
    # a bucket that the span cuts would look like one with few trades: whole days first
    start, end = data.start and _midnight(data.start), data.end and _midnight(data.end, days=1)
    longer = bar_room.resample(_stored(study, place, start, end), data.interval, sparse=True)
    inside = (pl.col("open_time") >= pl.lit(data.start)) if data.start else pl.lit(True)
    return longer.filter(inside, pl.col("time") <= pl.lit(data.end) if data.end else pl.lit(True))


def _stored(study: Study, place: Dataset, start: Any, end: Any) -> pl.DataFrame:
    return lake.load(**place.where(), symbols=symbols(study), start=start, end=end)


def _midnight(moment: datetime, *, days: int = 0) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)


def traded(study: Study, *, progress: Progress | None = None) -> pl.DataFrame:
    """Return a study's volume, dollar or imbalance bars, made of its stored minutes; keep them.

    Parameters
    ----------
    study : Study
        Its `data.bars` says which. Volume and dollar bars without `data.bar_size`: each symbol's
        size is what makes its bars last `data.interval` on average over its first day, and no bar
        is made of that day. Imbalance bars begin with an expected length of `data.interval`.
    progress : callable, optional
        Takes (done, total, label).

    Returns
    -------
    pl.DataFrame
        As `bars.volume_bars` and `bars.imbalance_bars` make them.

    Raises
    ------
    UserError
        If `data.bars` is ``time``; if a symbol has no size; if imbalance bars are to be no longer
        than the bars they are made of.

    Examples
    --------
    >>> from research import study
    >>> traded(study.read("demo"))
    Traceback (most recent call last):
    research.errors.UserError: study demo: data.bars is time. Say volume or dollar ...
    """
    data, kind = study.data, study.data.bars
    if kind == "time":
        raise UserError(
            f"study {study.name}: data.bars is time. Say volume or dollar to get traded bars."
        )
    place = acquire(study, progress=progress)
    minutes = _stored(study, place, data.start, data.end)
    parts = {
        "bars": cards.fingerprint(minutes),
        "kind": kind,
        "size": data.bar_size,
        "interval": str(data.interval),
        "code": cards.code("bars"),
    }

    def build(_: Path) -> tables.Tables:
        return {"table": _made(data, minutes, place)}

    return tables.keep("traded", parts, build)["table"]


def _made(data: Any, minutes: pl.DataFrame, place: Dataset) -> pl.DataFrame:
    kind, sparse = data.bars, place.sparse
    if kind.endswith("_imbalance"):
        kind = kind.removesuffix("_imbalance")
        length = data.interval // place.interval
        return bar_room.imbalance_bars(minutes, length, kind=kind, sparse=sparse)
    if data.bar_size is not None:
        return bar_room.volume_bars(minutes, data.bar_size, kind=kind, sparse=sparse)
    size = dict(bar_room.typical_size(minutes, data.interval, kind=kind))
    return bar_room.volume_bars(bar_room.after_first_day(minutes), size, kind=kind, sparse=sparse)


def _check_length(study: Study, made: pl.DataFrame, step: timedelta) -> None:
    """Refuse a size whose bars are far from `data.interval`: horizons are counted in that."""
    usual = study.data.interval
    for symbol, parts in made.group_by("symbol").agg(pl.col("parts").mean()).sort("symbol").rows():
        lasts = timedelta(seconds=round(parts * step.total_seconds()))
        if not usual / 4 <= lasts <= usual * 4:
            raise UserError(
                f"study {study.name}: {study.data.bars} bars of {symbol} of this data.bar_size "
                f"last {units.show(lasts)} on average, but stages count them in data.interval = "
                f"{units.show(usual)}. Set data.interval to about that, or leave out data.bar_size."
            )


def download(study: Study, *, progress: Progress | None = None) -> Any:
    """Fetch what is missing from Binance, Kraken or Polygon, or bring another source in.

    Parameters
    ----------
    study : Study
        With ``data.source = "binance"`` or ``"kraken"``, or ``"polygon"`` without a path, its
        `data.symbols` and `data.start` say what to fetch.
    progress : callable, optional
        Takes (done, total, label).

    Returns
    -------
    Account or Dataset
        What was fetched and what was found wrong on the way; shows itself in a cell.

    Raises
    ------
    UserError
        If symbols or start are not named, there are no credentials for Polygon, or the venue
        cannot be reached.
    """
    if not _is_fetched(study):
        return acquire(study, progress=progress)
    data, place = study.data, dataset(study)
    if not data.symbols or not data.start:
        pair = {"polygon": "X:BTC-USD", "kraken": "BTC-USD"}.get(data.source, "BTCUSDT")
        raise UserError(
            f"study {study.name}: say what to download, as in "
            f"./run download {study.name} --symbols {pair} -o data.start=2025-01-01"
        )
    wish: dict[str, Any] = {
        "start": data.start,
        "end": data.end or datetime.now(UTC),
        "have": lambda symbol, month: lake.opened(symbol, month, **place.where()),
        "save": lambda symbol, month, raw: _save(place, raw),
        "progress": progress,
    }
    if data.source == "kraken":
        from research.sources import kraken

        return kraken.download(data.symbols, interval=place.interval, rest=data.rest, **wish)
    wish["cache"] = atomic.data_root() / "cache" / data.source
    if data.source == "polygon":
        from research.sources import polygon

        return polygon.download(data.symbols, endpoint=data.flat_files, **wish)
    from research.sources import binance

    wish |= {"interval": place.interval, "market": data.market, "rest": data.rest}
    return binance.download(data.symbols, archive=data.archive, **wish)


def _save(place: Dataset, raw: pl.DataFrame) -> None:
    table, quality = bar_room.clean(
        raw, interval=place.interval, name=place.lineage, sparse=place.sparse
    )
    lake.write(table, quality, **place.where())


def quality(study: Study) -> pl.DataFrame:
    """Return what was found wrong with the bars, per symbol and day."""
    place, data = acquire(study), study.data
    chosen: dict[str, Any] = {"symbols": symbols(study), "start": data.start, "end": data.end}
    kept = lake.load(**place.where(), **chosen)
    return bar_room.recount(lake.quality(**place.where(), **chosen), kept, place.interval)


_DECIDE = ("features", "labels", "validation", "models", "scores", "signals", "trading", "tape.py")
"""Rooms that decide what a trial finds."""


def begin_trial(study: Study, bars: pl.DataFrame, what: str) -> ledger.Begun:
    """Write into the ledger that `study` is about to be tried; what it returns says when done.

    Parameters
    ----------
    study : Study
        Its settings, seed and folds are what is tried.
    bars : pl.DataFrame
        What it reads.
    what : str
        ``training``, ``evaluation`` or ``backtest``.
    """
    settings = study.tried()
    return ledger.begin(
        settings,
        lineage=dataset(study).lineage,
        what=what,
        study=study.name,
        data=cards.fingerprint(bars),
        code=cards.code(*_DECIDE)["source"],
        seed=study.seed,
        folds={k: v for k, v in settings.items() if k.startswith("validation.")},
    )


def count_trial(study: Study, bars: pl.DataFrame, forecasts: pl.DataFrame, ic: float) -> int:
    """Count one look at the score of some forecasts; return the trials on this lineage so far."""
    begun = begin_trial(study, bars, "evaluation")
    return begun.done(cards.fingerprint(forecasts), ic=ic)


def oracle(study: Study) -> tuple[pl.DataFrame, float]:
    """Return a simulated market's true expected returns, and what they score on average.

    Of simulated order flow the expected change of the mid-price over the planted horizon, and the
    correlation that is planted.

    Returns
    -------
    pl.DataFrame
        ``symbol, time, forecast``: the expected simple return over the study's horizon.
    float
        The theoretical value of `scores.ic` for it; at the planted horizon it is the planted IC.
    """
    if study.data.source == "simulated_flow":
        return recorded.kept(study)["oracle"], study.simulated_flow.ic
    from research.sources import simulated

    horizon, market = study.labels.horizon, dict(study.simulated)
    parts = {**_simulation(study), "at": str(horizon)}

    def build(_: Path) -> tables.Tables:
        value = simulated.theoretical_ic(horizon, **market) if study.simulated.ic else 0.0
        best = simulated.oracle(horizon, **market)
        return {"oracle": best, "theory": pl.DataFrame({"ic": [value]})}

    kept = tables.keep("oracle", parts, build)
    return kept["oracle"], float(kept["theory"]["ic"][0])
