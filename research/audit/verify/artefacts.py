"""What a run is made of, in the order of making, and how two of a kind are compared.

How exact a comparison is, by kind:

- **bytes**: every file of a run and every stored file it was made of, against the run's manifest.
- **values**: what is made anew (bars, features, labels, folds, models, forecasts, tables and
  numbers), bit for bit, null for null, in the same order.
  A certificate is not proven again: it must be about the bars and features made anew.
- **decisions**: where values differ: the same trades, reasons and positions, floats to one part in
  a million.
- **not compared**: clock times (in logs and in a run's name), the
  fingerprint of the code and the head of the trial ledger, which are facts about its day.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import polars as pl

CLASSES = {
    "bytes": "files of the run and of the store, against the hashes that the run was sealed with",
    "values": "what is made anew: every value bit for bit",
    "decisions": "where values differ: the same trades, reasons and positions",
    "not compared": "clock times, the fingerprint of the code, the head of the trial ledger",
}
ORDER = (
    "settings",
    "bars",
    "traded",
    "features",
    "labels",
    "folds",
    "models",
    "forecasts",
    "certificates",
    "certificate",
    "backtest",
    "oracle",
    "table",
    "numbers",
    "other",
    "figure",
    "notebook",
    "page",
)
"""Kinds of artefact, the first made first."""
CLOSE = 1e-6
"""Relative difference up to which a float decides the same."""
_BY_SUFFIX = {
    ".parquet": "table",
    ".csv": "table",
    ".png": "figure",
    ".svg": "figure",
    ".ipynb": "notebook",
    ".html": "page",
}


class Artefact(NamedTuple):
    """One thing that was compared.

    Attributes
    ----------
    name : str
        A file of the run, a file of the store, or a stage.
    kind : str
        One of `ORDER`.
    compared : str
        One of `CLASSES`.
    result : str
        ``same``, ``floats`` (the same decisions), ``differs``; of a file also ``gone``,
        ``grown``, ``renewed``, ``added``, see `manifest.check`.
    how : str
        How it differs; empty where it does not.
    """

    name: str
    kind: str
    compared: str
    result: str
    how: str = ""

    @property
    def order(self) -> int:
        """When its kind is made."""
        return ORDER.index(self.kind)

    def text(self) -> str:
        """The name, and how it differs."""
        return f"{self.name}: {self.how}"


def kind_of(name: str, *, stored: bool = False) -> str:
    """Tell what a file is by its path in the run's folder, or in the store.

    >>> kind_of("figures/equity.png"), kind_of("study.json")
    ('figure', 'settings')
    >>> kind_of("forecasts/1f0c/models/2025-05-18T0000Z/card.json", stored=True)
    'models'
    """
    path = PurePosixPath(name)
    if stored:
        stage = "models" if "models" in path.parts else path.parts[0]
        return stage if stage in ORDER else "other"
    named = {"study.json": "settings", "summary.json": "numbers", "certificate.json": "certificate"}
    if name in named:
        return named[name]
    return _BY_SUFFIX.get(path.suffix, "other")


def tables(was: pl.DataFrame, now: pl.DataFrame) -> tuple[str, str]:
    """Compare two tables bit for bit; return the result and how they differ.

    >>> a, b = pl.DataFrame({"x": [1.0, 2.0]}), pl.DataFrame({"x": [1.0, 2.0 + 1e-12]})
    >>> tables(a, a)
    ('same', '')
    >>> tables(a, b)[0]
    'floats'
    >>> tables(a, b.head(1))
    ('differs', '2 rows, made anew 1')
    """
    if was.schema != now.schema:
        return "differs", f"columns {dict(was.schema)}, made anew {dict(now.schema)}"
    if was.height != now.height:
        return "differs", f"{was.height:,} rows, made anew {now.height:,}"
    unlike = {c: ~was[c].eq_missing(now[c]) for c in was.columns}
    unlike = {name: rows for name, rows in unlike.items() if rows.any()}
    if not unlike:
        return "same", ""
    near = all(_close(was.filter(rows)[c], now.filter(rows)[c]) for c, rows in unlike.items())
    return "floats" if near else "differs", _first(was, now, unlike)


def _close(was: pl.Series, now: pl.Series) -> bool:
    if not was.dtype.is_float() or not (was.is_not_null() & now.is_not_null()).all():
        return False
    scale = max(abs(float(was.max() or 0.0)), abs(float(was.min() or 0.0)))  # type: ignore[arg-type]
    return bool(((was - now).abs() <= CLOSE * was.abs() + CLOSE**2 * scale).all())


def _first(was: pl.DataFrame, now: pl.DataFrame, unlike: dict[str, pl.Series]) -> str:
    """Say how many rows differ, and what the first of them says in the first column that does."""
    column, rows = next(iter(unlike.items()))
    row = int(rows.arg_max() or 0)
    keys = [name for name in ("symbol", "time", "entry_time", "fold", "bin") if name in was.columns]
    at = ", ".join(str(was[key][row]) for key in keys if key != column) or f"row {row}"
    return (
        f"{int(rows.sum()):,} of {was.height:,} rows differ in {column!r}, the first at {at}: "
        f"{was[column][row]!s}, made anew {now[column][row]!s}"
        + (f"; also {', '.join(list(unlike)[1:])}" if len(unlike) > 1 else "")
    )


def numbers(was: dict[str, Any], now: dict[str, Any], *, without: Collection[str]) -> Any:
    """Compare two nested dicts of JSON values; return the result and how they differ.

    >>> numbers({"a": {"b": 1}}, {"a": {"b": 2}}, without=())
    ('differs', 'a.b: 1, made anew 2')
    """
    first, second = (dict(flat(side)) for side in (was, now))
    for key in without:
        first.pop(key, None)
        second.pop(key, None)
    names = [k for k in {**first, **second} if first.get(k, "absent") != second.get(k, "absent")]
    if not names:
        return "same", ""
    pairs = [(first.get(name, "absent"), second.get(name, "absent")) for name in names]
    near = all(isinstance(a, float) and isinstance(b, float) and _near(a, b) for a, b in pairs)
    more = f"; also {', '.join(names[1:6])}" if len(names) > 1 else ""
    how = f"{names[0]}: {pairs[0][0]}, made anew {pairs[0][1]}{more}"
    return "floats" if near else "differs", how


def _near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE**2)


def flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """List the single values of nested JSON by dotted name.

    >>> flat({"a": [1, {"b": 2}]})
    [('a.0', 1), ('a.1.b', 2)]
    """
    if not isinstance(value, dict | list):
        return [(name, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    dot = f"{name}." if name else ""
    return [pair for key, inner in items for pair in flat(inner, f"{dot}{key}")]
