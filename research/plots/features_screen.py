"""A screening in pictures: IC by horizon and by day, spread over time, likeness, steadiness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.errors import UserError, nearest
from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def ic_by_horizon(table: Any, *, most: int = 60, ax: Axes | None = None) -> Axes:
    """Draw each feature's IC at each horizon; what is clear of zero is framed and bold.

    Parameters
    ----------
    table : polars or pandas frame
        feature, horizon (Duration), ic, low and high, as `Screening.ic`.
    most : int
        How many features are shown, those with the strongest IC at any horizon.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    rows = style.take(table, ("feature", "horizon", "ic", "low", "high"), "ic_by_horizon")
    rows = rows.drop_nulls("ic")
    if rows.is_empty():
        return style.dress(_blank(ax), "no feature has an IC")
    strongest = rows.group_by("feature", maintain_order=True).agg(pl.col("ic").abs().max())
    names = strongest.sort("ic", descending=True, maintain_order=True).head(most)["feature"]
    shown = rows.filter(pl.col("feature").is_in(names.to_list()))
    horizons = shown["horizon"].unique().sort()
    ax = style.canvas(ax, width=3.2 + 1.0 * len(horizons), height=1.6 + 0.24 * len(names))
    ax.grid(False)
    _cells(ax, shown, names.to_list(), horizons)
    clear = shown.filter((pl.col("low") > 0) | (pl.col("high") < 0)).height
    chance = f"{0.05 * shown.height:.0f} would be by chance"
    title = f"{clear} of {shown.height} ICs are clear of zero (framed); {chance}"
    return style.dress(ax, title, x="horizon (cells: IC in hundredths)")


def _cells(ax: Axes, rows: pl.DataFrame, names: list[str], horizons: pl.Series) -> None:
    from matplotlib.patches import Rectangle

    i = {name: k for k, name in enumerate(names)}
    j = {horizon: k for k, horizon in enumerate(horizons)}
    grid = np.full((len(i), len(j)), np.nan)
    for row in rows.iter_rows(named=True):
        grid[i[row["feature"]], j[row["horizon"]]] = row["ic"]
    reach = float(np.nanmax(np.abs(grid))) or 1.0
    ax.imshow(grid, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto", interpolation="nearest")
    for row in rows.iter_rows(named=True):
        x, y = j[row["horizon"]], i[row["feature"]]
        clear = (row["low"] or 0) > 0 or (row["high"] or 0) < 0
        light = abs(row["ic"]) <= 0.6 * reach
        ink = ("white", style.INK)[light] if clear else (style.PALE, style.GREY)[light]
        text = f"{100 * row['ic']:+.1f}".replace("-", "−")
        weight = "bold" if clear else "normal"
        ax.text(x, y, text, ha="center", va="center", fontsize=8, color=ink, fontweight=weight)
        if clear:
            box = Rectangle((x - 0.47, y - 0.44), 0.94, 0.88, fill=False, ec=style.INK, lw=0.9)
            ax.add_patch(box)
    ax.set_xticks(range(len(j)), [_span(h) for h in horizons])
    ax.set_yticks(range(len(i)), names, fontsize=8)
    ax.tick_params(length=0)


def _span(horizon: Any) -> str:
    minutes = horizon.total_seconds() / 60
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes >= size and minutes % size == 0:
            return f"{minutes / size:g} {unit}"
    return f"{minutes:g} min"


def feature_ic_by_day(
    by_day: Any, *, features: list[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the running mean of daily ICs, and for a single feature the days themselves.

    Parameters
    ----------
    by_day : polars or pandas frame
        feature, day, ic and, for intervals of a single one, low and high.
    features : list of str, optional
        Which, at most seven; the strongest five by mean daily IC if left out.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        One feature: a point a day with its interval and the mean so far. Several: the mean so
        far of each, which settles where a feature is steady.
    """
    rows = style.take(by_day, ("feature", "day", "ic"), "feature_ic_by_day").drop_nulls("ic")
    names = features or _strongest(rows, 5)
    _known(rows, names, "feature_ic_by_day")
    if len(names) > len(style.CYCLE):
        raise UserError(
            f"plots.feature_ic_by_day: at most {len(style.CYCLE)} lines can be told apart, "
            f"{len(names)} were asked for. Name fewer features."
        )
    ax = style.canvas(ax)
    for name, colour in zip(names, style.CYCLE):
        one = rows.filter(pl.col("feature") == name).sort("day")
        at, ic = style.times(one["day"]), one["ic"].to_numpy()
        if len(names) == 1:
            ax.errorbar(
                at, ic, yerr=style.reach(one, "ic"), fmt="o", ms=3, color=style.GREY,
                ecolor=style.PALE, label="day",
            )  # fmt: skip
        ax.plot(at, np.cumsum(ic) / np.arange(1, len(ic) + 1), color=colour, label=name)
    ax.axhline(0, color=style.INK, linewidth=0.8)
    style.utc(ax)
    if names:
        style.legend(ax, ncols=2)
    days = rows["day"].n_unique()
    return style.dress(ax, f"Mean daily IC so far, {days} days", x="day (UTC)", y="rank IC")


def feature_over_time(over_time: Any, feature: str, *, ax: Axes | None = None) -> Axes:
    """Draw how the spread of one feature moves: median, middle half, middle 98 %.

    Parameters
    ----------
    over_time : polars or pandas frame
        feature, period, q01, q25, q50, q75, q99, missing, as `Screening.over_time`.
    feature : str
        Which one.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    wanted = ("feature", "period", "q01", "q25", "q50", "q75", "q99", "missing")
    rows = style.take(over_time, wanted, "feature_over_time")
    _known(rows, [feature], "feature_over_time")
    rows = rows.filter(pl.col("feature") == feature).sort("period")
    ax = style.canvas(ax)
    missing = rows.select(pl.col("missing").mean()).item()
    known = rows.drop_nulls("q50")
    if known.is_empty():
        style.empty(ax, "no known value")
        return style.dress(ax, f"{feature}: null throughout")
    at = style.times(known["period"])
    for low, high, colour, label in (
        ("q01", "q99", style.PALE, "middle 98 %"),
        ("q25", "q75", style.SKY, "middle half"),
    ):
        edges = known[low].to_numpy(), known[high].to_numpy()
        ax.fill_between(at, *edges, color=colour, linewidth=0, label=label)
    ax.plot(at, known["q50"].to_numpy(), color=style.BLUE, marker="o", ms=3, label="median")
    style.utc(ax)
    style.legend(ax, ncols=3)
    return style.dress(ax, f"{feature} over time; {missing:.1%} missing", x="UTC", y=feature)


def redundancy(correlation: Any) -> Figure:
    """Draw rank correlations with their family tree; those that say the same stand together.

    Parameters
    ----------
    correlation : polars or pandas frame
        Square: feature, and a column for each in the same order, as `Screening.correlation`.

    Returns
    -------
    matplotlib Figure
        A figure of its own: a tree needs more than one Axes.

    Raises
    ------
    UserError
        If fewer than two features are there.
    """
    import seaborn as sns
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    rows = style.take(correlation, ("feature",), "redundancy")
    names = rows["feature"].to_list()
    if len(names) < 2:
        raise UserError(f"plots.redundancy: at least 2 features are needed, found {len(names)}.")
    matrix = style.take(rows, tuple(names), "redundancy").select(names).to_numpy()
    apart = np.clip(1 - np.abs(matrix), 0, None)
    np.fill_diagonal(apart, 0)
    tree = hierarchy.linkage(squareform(apart, checks=False), "average")
    size = max(4.5, 2.2 + 0.2 * len(names))
    grid = sns.clustermap(
        pl.DataFrame(matrix, schema=names, orient="row").to_pandas().set_axis(names),
        row_linkage=tree, col_linkage=tree, vmin=-1, vmax=1, cmap="RdBu_r",
        figsize=(size, size), dendrogram_ratio=0.12, linewidths=0.2,
        xticklabels=True, yticklabels=True,
    )  # fmt: skip
    grid.figure.set_dpi(style.SCREEN_DPI)
    grid.ax_heatmap.tick_params(axis="both", labelsize=8, length=0)
    grid.ax_heatmap.tick_params(axis="x", rotation=90)
    grid.ax_heatmap.tick_params(axis="y", rotation=0)
    grid.ax_cbar.tick_params(labelsize=7)
    grid.gs.update(top=1 - 0.6 / size)  # room for the title; moves the scale, which is put back
    grid.ax_cbar.set_position((0.03, 0.87, 0.02, 0.08))
    close = int((np.abs(matrix[np.triu_indices(len(names), 1)]) > 0.95).sum())
    title = f"{len(names)} features; pairs with a rank correlation beyond 0.95: {close}"
    grid.ax_col_dendrogram.set_title(title, loc="left", fontsize=11, color=style.INK, pad=10)
    return grid.figure


def feature_stability(parts: Any, *, most: int = 30, ax: Axes | None = None) -> Axes:
    """Draw each feature's IC in every month, or on every symbol, as dots about their mean.

    Parameters
    ----------
    parts : polars or pandas frame
        feature, ic, and month or symbol, as `Screening.by_month` and `Screening.by_symbol`.
    most : int
        How many features are shown, the strongest by mean.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Blue where every dot lies on the same side of zero.
    """
    rows = style.take(parts, ("feature", "ic"), "feature_stability").drop_nulls("ic")
    what = next((c for c in ("month", "symbol") if c in rows.columns), None)
    if what is None:
        raise UserError(
            "plots.feature_stability: a column month or symbol is needed. Hand in by_month or "
            "by_symbol of a screening."
        )
    names = _strongest(rows, most)[::-1]
    ax = style.canvas(ax, height=1.4 + 0.26 * len(names))
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=style.PALE)
    steady = 0
    for at, name in enumerate(names):
        ic = rows.filter(pl.col("feature") == name)["ic"].to_numpy()
        same = bool((ic > 0).all() or (ic < 0).all())
        steady += same
        colour = style.BLUE if same else style.GREY
        ax.plot([ic.min(), ic.max()], [at, at], color=style.PALE, linewidth=2, zorder=1)
        ax.scatter(ic, np.full(len(ic), at), s=16, color=colour, alpha=0.7, linewidth=0, zorder=2)
        ax.plot(ic.mean(), at, marker="|", ms=11, mew=2, color=style.INK, zorder=3)
    ax.axvline(0, color=style.INK, linewidth=0.8)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_ylim(-0.7, len(names) - 0.3)
    count = rows[what].n_unique()
    title = f"{steady} of {len(names)} features keep their sign in each of {count} {what}(s) (blue)"
    return style.dress(ax, title, x=f"IC, one dot a {what}, bar: mean")


def _blank(ax: Axes | None) -> Axes:
    ax = style.canvas(ax)
    style.empty(ax, "nothing to draw")
    return ax


def _strongest(rows: pl.DataFrame, most: int) -> list[str]:
    mean = rows.group_by("feature", maintain_order=True).agg(pl.col("ic").mean().abs())
    return mean.sort("ic", descending=True, maintain_order=True).head(most)["feature"].to_list()


def _known(rows: pl.DataFrame, names: list[str], picture: str) -> None:
    here = rows["feature"].unique(maintain_order=True).to_list()
    for name in names:
        if name not in here:
            raise UserError(f"plots.{picture}: no feature {name!r} here.{nearest(name, here)}")
