"""One symbol's stored bars: a folder of monthly Parquet and the card that vouches for them.

New months are staged beside the old ones, then a card that names them is put down as the commit,
then they are moved into place. Killed at any moment, a folder holds all of a write or none of it:
whoever comes next finishes the moves, or never sees what was only staged.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from research.errors import UserError
from research.schema import BARS
from research.store import atomic

CARD, COMMIT, STAGED = "card.json", "commit.json", ".new"
COUNTERS = ("duplicates", "revised", "off_grid", "unsorted")
DAYS: dict[str, Any] = {"day": pl.Date} | dict.fromkeys(
    ("rows", "missing", "zero_volume", *COUNTERS), pl.Int64
)

_VALUES = list(BARS)[3:]


@dataclass(frozen=True)
class Shelf:
    """The folder of one symbol's bars of one length.

    Attributes
    ----------
    folder : Path
        Where months and card lie.
    card : dict
        What the folder holds; ``files`` is empty when nothing is stored yet.
    """

    folder: Path
    card: dict[str, Any]

    @property
    def symbol(self) -> str:
        """Whose bars these are."""
        return self.card["symbol"]

    def months(self) -> list[str]:
        """Name the stored months, as ``2025-05``, in order."""
        return sorted(self.card["files"])

    def file(self, month: str) -> Path:
        """Say where a month lies."""
        return self.folder / f"{month}.parquet"

    def is_whole(self) -> bool:
        """Tell whether every file the card names is there."""
        return all(self.file(month).exists() for month in self.months())

    def verified(self, month: str) -> Path:
        """Return a month's file once its bytes are those the card vouches for.

        Raises
        ------
        UserError
            If the file is gone or any byte differs.
        """
        file = self.file(month)
        if not file.exists():
            raise UserError(f"{file}: is gone, though its card names it. {_AGAIN}")
        if atomic.sha256(file) != self.card["files"][month]["sha256"]:
            raise UserError(
                f"{file}: is not what was stored (its SHA-256 differs from its card). "
                f"Delete it (rm '{file}'). {_AGAIN}"
            )
        return file

    def quality(self) -> pl.DataFrame:
        """Return the counts per UTC day, columns `DAYS`."""
        days = pl.DataFrame(self.card["quality"], schema=DAYS | {"day": pl.String})
        return days.with_columns(pl.col("day").str.to_date("%Y-%m-%d"))


@dataclass(frozen=True)
class Card:
    """What one write left in the lake.

    Attributes
    ----------
    venue, market, interval : str
        Where, and how long a bar is, as ``1 min``.
    symbols : tuple of str
        Those written.
    rows : int
        Bars these symbols now hold in all.
    first, last : str
        Open times of their first and last bar, ISO in UTC.
    written : tuple of str
        ``SYMBOL/2025-05`` for every month whose bars changed; empty when all were there.
    revised : int
        Stored bars that were replaced by other values.
    fingerprint : str
        Of these symbols' stored bars; see `fingerprint`.
    """

    venue: str
    market: str
    interval: str
    symbols: tuple[str, ...]
    rows: int
    first: str
    last: str
    written: tuple[str, ...]
    revised: int
    fingerprint: str


_AGAIN = "Then import or download that month again: ./run download, or lake.write(bars, ...)."


def open_shelf(folder: Path) -> Shelf | None:
    """Return what a folder holds, None when that is nothing; first finish an interrupted write.

    Raises
    ------
    UserError
        If the card is damaged.
    """
    if not (folder / CARD).exists() and not (folder / COMMIT).exists():
        return None
    try:
        if (folder / COMMIT).exists():
            _settle(folder)
        card = json.loads((folder / CARD).read_text(encoding="utf8"))
        is_sound = card.pop("seal") == _seal(card)
    except (ValueError, KeyError, AttributeError, TypeError):
        is_sound = False
    if not is_sound:
        raise UserError(
            f"{folder / CARD}: is damaged (its seal does not fit). Delete the folder "
            f"(rm -r '{folder}'). {_AGAIN}"
        )
    return Shelf(folder, card)


def put(
    shelf: Shelf, bars: pl.DataFrame, quality: pl.DataFrame, interval: timedelta, inputs: Any
) -> tuple[Shelf, list[str], int]:
    """Merge one symbol's bars into its folder; a new row wins over the stored one.

    Returns
    -------
    shelf : Shelf
        As it is now.
    written : list of str
        The months whose bars changed; a file that would stay the same is not touched.
    revised : int
        Stored rows that were replaced by other values.
    """
    changed: dict[str, pl.DataFrame] = {}
    revised = [pl.Series("day", [], pl.Date)]
    for month, new in _by_month(bars).items():
        stored = _stored(shelf, month)
        table, replaced = (new, revised[0]) if stored is None else _merged(stored, new)
        if stored is None or not table.equals(stored):
            changed[month] = table
        revised.append(replaced)
    files = dict(shelf.card["files"]) | _stage(shelf, changed, inputs)
    card = shelf.card | _summary(files)
    counts = pl.concat([_counted(table) for table in (*changed.values(), bars.clear())])
    days = _days(shelf, list(changed), counts, pl.concat(revised), quality)
    card["quality"] = _as_text(_with_missing(days, card, interval))
    if changed or card != shelf.card:
        _commit(shelf.folder, card)
    return Shelf(shelf.folder, card), sorted(changed), sum(map(len, revised))


def _by_month(bars: pl.DataFrame) -> dict[str, pl.DataFrame]:
    first_days = bars["open_time"].dt.truncate("1mo")
    names = {day: f"{day:%Y-%m}" for day in first_days.unique().sort()}
    return {name: bars.filter(first_days == day).rechunk() for day, name in names.items()}


def _stored(shelf: Shelf, month: str) -> pl.DataFrame | None:
    # a file that is gone is mended by this write, one that is damaged is the user's to look at
    if month not in shelf.card["files"] or not shelf.file(month).exists():
        return None
    return pl.read_parquet(shelf.verified(month))


def _merged(stored: pl.DataFrame, new: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Return all rows, the newer of each time, and the day of each that had other values."""
    both = pl.concat([stored, new]).sort("open_time", maintain_order=True)
    again = (both["open_time"] == both["open_time"].shift(1)).fill_null(False)
    same = both.select(
        pl.all_horizontal(pl.col(c).eq_missing(pl.col(c).shift(1)) for c in _VALUES)
    ).to_series()
    kept = both.filter(~again.shift(-1, fill_value=False)).rechunk()
    return kept, both.filter(again & ~same)["open_time"].dt.date().alias("day")


# -- the commit -----------------------------------------------------------------------------------


def _stage(shelf: Shelf, changed: dict[str, pl.DataFrame], inputs: Any) -> dict[str, Any]:
    files = {}
    for month, table in changed.items():
        staged = shelf.folder / f"{month}.parquet{STAGED}"
        atomic.write_parquet(staged, table)
        files[month] = {
            "sha256": atomic.sha256(staged),
            "rows": table.height,
            "first": _moment(table["open_time"][0]),
            "last": _moment(table["open_time"][-1]),
            "inputs": inputs,
        }
    return files


def _commit(folder: Path, card: dict[str, Any]) -> None:
    atomic.write_json(folder / COMMIT, card | {"seal": _seal(card)})
    _settle(folder)


def _settle(folder: Path) -> None:
    """Move what the commit names into place, and only that; safe to do twice."""
    commit = folder / COMMIT
    with atomic.writing(folder):
        named = json.loads(commit.read_text(encoding="utf8"))["files"]
        for staged in folder.glob(f"*.parquet{STAGED}"):
            final = staged.with_suffix("")
            if atomic.sha256(staged) == named.get(final.stem, {}).get("sha256"):
                staged.replace(final)
            else:
                staged.unlink()
        commit.replace(folder / CARD)
        atomic.sync(folder)


def _seal(card: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def _summary(files: dict[str, Any]) -> dict[str, Any]:
    months = [files[month] for month in sorted(files)]
    return {
        "files": files,
        "rows": sum(month["rows"] for month in months),
        "first": months[0]["first"],
        "last": months[-1]["last"],
    }


def _moment(time: Any) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}Z" if not time.microsecond else f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"


# -- what is wrong with the bars, by day ----------------------------------------------------------


def _counted(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.group_by(pl.col("open_time").dt.date().alias("day")).agg(
        pl.len().cast(pl.Int64).alias("rows"),
        (pl.col("volume") == 0).sum().cast(pl.Int64).alias("zero_volume"),
    )


def _days(
    shelf: Shelf,
    changed: list[str],
    counts: pl.DataFrame,
    revised: pl.Series,
    quality: pl.DataFrame,
) -> pl.DataFrame:
    """Join the counts of unchanged months, of changed ones, and what imports have met.

    A counter keeps the most that any one import met on that day, so that the same import twice
    counts once.
    """
    old = shelf.quality()
    stale = pl.col("day").dt.strftime("%Y-%m").is_in(changed)
    rows = pl.concat([old.filter(~stale).select(counts.columns), counts])
    again = revised.to_frame().group_by("day").agg(pl.len().cast(pl.Int64).alias("again"))
    old = old.join(again, on="day", how="left").with_columns(
        revised=pl.col("revised") + pl.col("again").fill_null(0)
    )
    columns = ["day", *COUNTERS]
    met = pl.concat([old.select(columns), quality.select(columns)])
    met = met.group_by("day").agg(pl.col(COUNTERS).max())
    return rows.join(met, on="day", how="full", coalesce=True)


def _with_missing(days: pl.DataFrame, card: dict[str, Any], interval: timedelta) -> pl.DataFrame:
    first, last = pl.Series([card["first"], card["last"]]).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us"
    )
    grid = pl.datetime_range(first, last, interval, time_unit="us", eager=True).alias("day")
    slots = grid.dt.date().value_counts(name="slots").with_columns(pl.col("slots").cast(pl.Int64))
    every = days.join(slots, on="day", how="full", coalesce=True)
    every = every.with_columns(pl.exclude("day").fill_null(0))
    every = every.with_columns(missing=pl.col("slots") - pl.col("rows"))
    tells = pl.any_horizontal(pl.exclude("day", "slots") != 0)
    return every.filter(tells).select(list(DAYS)).sort("day")


def _as_text(days: pl.DataFrame) -> dict[str, list[Any]]:
    return days.with_columns(pl.col("day").dt.strftime("%Y-%m-%d")).to_dict(as_series=False)
