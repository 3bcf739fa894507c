"""A study's recording: which it is, what was made of it once and stored, and its part of a report.

Bars made of a recording lie in the store as any others; its order flow lies beside them, in a table
of its own with a card, and joins them where a study's bars are loaded. So features see one table,
and a changed recording, interval or formula is another key all the way down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from research import schema, units
from research.batch import Progress
from research.errors import UserError
from research.order_flow import candles, measured
from research.store import cards, tables
from research.study import ROOT, Study

SOURCES = ("recording", "simulated_flow")
"""Kinds of `data.source` that are recordings of order books."""
SET = "order_flow"
"""The feature set that reads what only a recording has."""
NO_BARS = (
    "study {}: the recording holds no whole bar of {}: it is too short, or has no trades to make "
    "bars of. Bring a longer one with trades, or shorten data.interval."
)
NOTEBOOK = "07_order_flow"
"""What looks at a recording itself."""
_CODE = (
    "order_flow/candles.py",
    "order_flow/measured.py",
    "order_book",
    "features/order_flow",
    "features/aggregates.py",
    "bars",
)


Recorded = tuple[schema.Recording, pl.DataFrame | None]
"""A recording, and of a simulated one what will come: ``symbol, time, forecast``."""


@dataclass(frozen=True)
class Source:
    """One recording: how it is called, all that decides it, and the way to it."""

    name: str
    parts: dict[str, Any]
    read: Callable[[], Recorded]


def asked(study: Study) -> bool:
    """Tell whether a study is about order flow."""
    return study.data.source in SOURCES or study.features.set == SET


def source(study: Study, progress: Progress | None = None) -> Source:
    """Return the recording that a study reads.

    Raises
    ------
    UserError
        If nothing is at its path.
    """
    if study.data.source == "simulated_flow":
        made = {**study.simulated_flow.model_dump(mode="json"), "seed": study.simulated.seed}
        code = cards.code("sources/simulated/flow")
        return Source("flow", {**made, "code": code}, lambda: _simulated(study))
    files = _files(study)
    parts = {
        "files": _digest(tuple((f, f.stat().st_size, f.stat().st_mtime_ns) for f in files)),
        "symbols": study.data.symbols,
        "code": cards.code("sources/recordings"),
    }
    name = Path(study.data.path or "").name.split(".")[0].replace("*", "_").replace("?", "_")
    return Source(name or "recording", parts, lambda: _recorded(study, progress))


def _simulated(study: Study) -> Recorded:
    from research.sources.simulated import flow

    made = flow.market(**dict(study.simulated_flow), seed=study.simulated.seed)
    ahead = pl.col("drift") / pl.col("mid")
    return made.recording, made.planted.select("symbol", "time", forecast=ahead)


def _recorded(study: Study, progress: Progress | None) -> Recorded:
    from research.sources import recordings

    return recordings.read(_path(study), symbols=study.data.symbols, progress=progress), None


def _path(study: Study) -> Path:
    path = Path(study.data.path or "").expanduser()
    return path if path.is_absolute() else ROOT / path


def _files(study: Study) -> list[Path]:
    from research.sources.recordings import places

    _refuse_unfinished(_path(study))
    return places.files(_path(study))


def _refuse_unfinished(folder: Path) -> None:
    """Refuse what a recorder still writes to: each step would see another recording."""
    lock = folder / "lock"
    if not lock.is_file():
        return
    import fcntl

    with lock.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"recording: {folder.name} is still being recorded. Stop the recorder (ctrl-C), or "
                "hand over a copy of the folder."
            ) from error


@cache
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Hash names and bytes; read again when size or time of a file is another."""
    total = sha256()
    for file, _, _ in files:
        with file.open("rb") as content:
            while piece := content.read(1 << 20):
                total.update(piece)
        total.update(f"\0{file.name}\n".encode())
    return total.hexdigest()[:16]


def place(study: Study) -> tuple[str, str]:
    """Return venue and market under which the bars of a study's recording are stored."""
    found = source(study)
    made_of = cards.digest([found.parts, cards.code(*_CODE)])
    venue = "simulated" if study.data.source == "simulated_flow" else "recording"
    return venue, f"{found.name}-{made_of}"


def kept(study: Study, *, progress: Progress | None = None) -> tables.Tables:
    """Return all that is made of a study's recording, once, from the store.

    Returns
    -------
    dict of str to pl.DataFrame
        ``bars`` (`schema.BARS`), ``flow`` (as `measured.flow`), ``numbers`` (``name, value`` of
        `measured.measure`, as JSON), ``impact``, ``lagged`` and ``next_move`` (as `measured` has
        them), ``book`` (the last proven levels: ``symbol, time, side, price, quantity``),
        ``gaps`` (`schema.GAPS`: where a book is not proven) and ``watched`` (``symbol, start_ns,
        end_ns``: when messages about its book were received). Of a simulated market also
        ``oracle``.
    """
    found = source(study, progress)
    parts = {
        "recording": found.parts,
        "interval": str(study.data.interval),
        "code": cards.code(*_CODE),
    }
    return tables.keep(SET, parts, lambda _: _made(found.read(), study.data.interval))


def _made(recorded: Recorded, every: timedelta) -> tables.Tables:
    recording, oracle = recorded
    known = measured.read(recording)
    return {
        "bars": candles.bars(recording, every),
        "flow": measured.aggregated(known, every),
        "numbers": measured.as_rows(measured.summary(known)),
        "impact": measured.impact(known),
        "lagged": measured.lagged(known),
        "next_move": measured.next_move(known),
        "book": measured.last_book(known),
        "gaps": measured.gaps(known),
        "watched": measured.watched(known),
        **({} if oracle is None else {"oracle": oracle}),
    }


def of_first(known: tables.Tables) -> tables.Tables:
    """Return what was made of a recording, of its first symbol alone: to be drawn."""
    of_all = [name for name in known if "symbol" not in known[name].columns]
    symbols = known["flow"]["symbol"].unique().sort()
    if symbols.is_empty():
        return known
    mine = (pl.col("symbol") == symbols[0]) | pl.col("symbol").is_null()
    return {n: t if n in of_all else t.filter(mine) for n, t in known.items()}


def bars(study: Study, *, progress: Progress | None = None) -> pl.DataFrame:
    """Return the bars of a study's recording, to be stored.

    Raises
    ------
    UserError
        If there is none: the recording is shorter than a bar, or has no trades.
    """
    made = kept(study, progress=progress)["bars"]
    if made.is_empty():
        raise UserError(NO_BARS.format(study.name, units.show(study.data.interval)))
    return made


def numbers(study: Study) -> dict[str, Any]:
    """Return the numbers of a study's recording, as `measured.measure` does."""
    return measured.from_rows(kept(study)["numbers"])


def check_market(study: Study) -> None:
    """Refuse to train and trade a recording as one of another kind of market: costs would lie.

    Raises
    ------
    UserError
        If the study is of a spot market and its recording is not, or the other way round.
    """
    if study.data.source not in SOURCES:
        return
    found = numbers(study)["market"]
    if (found == "spot") != (study.data.market == "spot"):
        fits = {"linear": "um", "inverse": "cm"}.get(found, found)
        raise UserError(
            f"study {study.name}: the recording is of market {found!r}, the study of "
            f"{study.data.market!r}, which sides and fees hang on. Set data.market={fits}."
        )


def beside(study: Study, bars: pl.DataFrame) -> pl.DataFrame:
    """Lay the order flow of a study's recording beside its bars, null where there is none."""
    flow = kept(study)["flow"]
    return bars.join(flow, on=schema.KEY, how="left", maintain_order="left")
