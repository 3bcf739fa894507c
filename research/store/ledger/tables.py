"""The ledger as a table to look at."""

from __future__ import annotations

from typing import Any

import polars as pl

from research.errors import UserError, nearest
from research.store.ledger import trials

COLUMNS: dict[str, Any] = {
    "lineage": pl.String,
    "config": pl.String,
    "note": pl.String,
    "begun": pl.Int64,
    "done": pl.Int64,
    "ic": pl.Float64,
    "ic_low": pl.Float64,
    "ic_high": pl.Float64,
    "net_return": pl.Float64,
    "sharpe": pl.Float64,
    "days": pl.Int64,
}


def table(lineage: str | None = None) -> pl.DataFrame:
    """Return one row per trial.

    Parameters
    ----------
    lineage : str, optional
        Only of this data, as in ``binance/um``.

    Returns
    -------
    pl.DataFrame
        ``lineage, config, note``, how often it was ``begun`` and ``done``, and what the newest
        runs found: ``ic, ic_low, ic_high, net_return, sharpe``, and ``days`` of daily returns.
        Null where nobody looked, or it was never done.

    Raises
    ------
    UserError
        If nothing was tried on that data.
    """
    found = trials.known(lineage)
    if lineage is not None and not found:
        known = sorted({trial.lineage for trial in trials.known()})
        raise UserError(
            f"trials: none on {lineage!r}.{nearest(lineage, known)} There are some on: "
            f"{', '.join(known) or 'nothing yet'}."
        )
    return pl.DataFrame([_row(trial) for trial in found], schema=COLUMNS)


def _row(known: trials.Known) -> dict[str, Any]:
    named = {key: getattr(known, key) for key in ("lineage", "config", "note", "begun", "done")}
    numbers = {key: known.found.get(key) for key in COLUMNS if key not in (*named, "days")}
    returns = known.found.get("returns")
    return {**named, **numbers, "days": None if returns is None else len(returns)}


def text(lineage: str | None = None) -> str:
    """Return the ledger as a terminal shows it: counts by lineage, then its last thirty trials."""
    found = table(lineage)
    if found.is_empty():
        return "no trials yet: every evaluation and backtest is written down"
    counts = found.group_by("lineage", maintain_order=True).agg(
        trials=pl.len(), never_done=(pl.col("done") == 0).sum()
    )
    end = trials.head()
    with pl.Config(
        tbl_rows=40,
        tbl_cols=12,
        tbl_width_chars=160,
        fmt_str_lengths=40,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
    ):
        return f"{counts}\n{found.tail(30)}\n{end['rows']} rows, head {end['hash'][:16]}"
