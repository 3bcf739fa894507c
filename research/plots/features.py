"""Features: what each one tells, how it is spread, and which ones say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def feature_ic(table: Any, *, most: int = 30, ax: Axes | None = None) -> Axes:
    """Draw each feature's IC with its interval, the strongest on top.

    Parameters
    ----------
    table : polars or pandas frame
        With `feature`, `ic`, and where known `low` and `high`.
    most : int
        How many are shown.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    rows = style.take(table, ("feature", "ic"), "feature_ic").drop_nulls("ic")
    rows = rows.sort(pl.col("ic").abs(), descending=True).head(most).reverse()
    ax = style.canvas(ax, height=1.2 + 0.26 * rows.height)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=style.PALE)
    colour = [style.BLUE if clear else style.GREY for clear in _clear(rows)]
    ax.barh(rows["feature"].to_list(), rows["ic"].to_numpy(), color=colour, height=0.7)
    spread = style.reach(rows, "ic")
    if spread is not None:
        at = np.arange(rows.height)
        ax.errorbar(
            rows["ic"].to_numpy(), at, xerr=spread, fmt="none", ecolor=style.INK, linewidth=1
        )
    ax.axvline(0, color=style.INK, linewidth=0.8)
    title = f"{sum(_clear(rows))} of {rows.height} features have an interval clear of zero (blue)"
    return style.dress(ax, title, x="IC (mean daily rank correlation), 95 % interval")


def _clear(rows: pl.DataFrame) -> list[bool]:
    if not {"low", "high"} <= set(rows.columns):
        return [False] * rows.height
    return ((rows["low"] > 0) | (rows["high"] < 0)).fill_null(False).to_list()


def distribution(features: Any, column: str, *, ax: Axes | None = None) -> Axes:
    """Draw how one column is spread; the outermost half percent on each side is left out.

    Parameters
    ----------
    features : polars or pandas frame
        With `column`; null is left out and counted.
    column : str
        Which one.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    series = style.take(features, (column,), "distribution")[column]
    values = series.drop_nulls().cast(pl.Float64).to_numpy()
    ax = style.canvas(ax)
    if not len(values):
        style.empty(ax, "no known value")
        return style.dress(ax, f"{column}: all of {len(series):,} rows are null")
    low, middle, high = np.quantile(values, [0.005, 0.5, 0.995])
    span = (low, high) if high > low else (low - 0.5, high + 0.5)
    ax.hist(values, bins=80, range=span, color=style.BLUE, linewidth=0)
    ax.axvline(middle, color=style.ORANGE, linewidth=1.5, label=f"median {middle:.4g}")
    style.legend(ax)
    title = f"{column}: middle 99 % from {low:.3g} to {high:.3g}; {series.null_count():,} null"
    return style.dress(ax, title, x=column, y=f"rows (of {len(values):,})")


def correlation(features: Any, *, columns: list[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw rank correlations of features, ordered so that those that say the same stand together.

    Parameters
    ----------
    features : polars or pandas frame
        Rows in which a column is null are left out.
    columns : list of str, optional
        Every number but `sigma` if left out.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    UserError
        If fewer than two columns, or fewer than three known rows, are there.
    """
    import seaborn as sns

    names, matrix = _rank_correlation(style.take(features, (), "correlation"), columns)
    order = _alike(matrix)
    size = 2.5 + 0.32 * len(names)
    ax = style.canvas(ax, width=size + 1.0, height=size)
    labels = [names[i] for i in order]
    sns.heatmap(
        matrix[np.ix_(order, order)],
        ax=ax, vmin=-1, vmax=1, cmap="RdBu_r", square=True, linewidths=0.4,
        xticklabels=labels, yticklabels=labels,
        cbar_kws={"shrink": 0.6, "label": "rank correlation"},
    )  # fmt: skip
    ax.grid(False)
    ax.tick_params(axis="x", rotation=90, labelsize=8)
    ax.tick_params(axis="y", rotation=0, labelsize=8)
    off = np.abs(matrix - np.eye(len(names)))
    i, j = np.unravel_index(off.argmax(), off.shape)
    pair = f"{names[i]} and {names[j]}"
    return style.dress(ax, f"closest: {pair} at {matrix[i, j]:+.2f}")


def _rank_correlation(
    table: pl.DataFrame, columns: list[str] | None
) -> tuple[list[str], np.ndarray]:
    numbers = [c for c in table.columns if table.schema[c].is_float() and c != "sigma"]
    names = columns or numbers
    rows = style.take(table, tuple(names), "correlation").select(names).drop_nulls()
    if len(names) < 2 or rows.height < 3:
        raise UserError(
            f"plots.correlation: at least 2 columns and 3 known rows are needed, found "
            f"{len(names)} and {rows.height}."
        )
    if rows.height > 100_000:  # enough for two digits
        rows = rows.gather_every(rows.height // 100_000 + 1)
    ranks = rows.select(pl.all().rank("average")).to_numpy()
    spread = ranks.std(axis=0)
    scaled = (ranks - ranks.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    matrix = scaled.T @ scaled / len(ranks)
    np.fill_diagonal(matrix, 1.0)
    return names, matrix


def _alike(matrix: np.ndarray) -> list[int]:
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    apart = np.clip(1 - np.abs(matrix), 0, None)
    np.fill_diagonal(apart, 0)
    tree = hierarchy.linkage(squareform(apart, checks=False), "average")
    return hierarchy.leaves_list(tree).tolist()
