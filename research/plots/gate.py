"""What a gate saw at each retraining, beside what forecasts that know nothing would show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gate(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw each candidate's rank IC on the rows it was judged on, over the spread of pure chance.

    Parameters
    ----------
    table : polars or pandas frame
        With `time`, `ic`, `null_sd`, `null_pass` and `adopted`, as `models.out_of_sample` returns
        the decisions of a gate; rows without evidence (the first model of all) are left out.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Grey: two standard deviations to both sides of zero, where ICs lie that know nothing.
    """
    names = ("time", "ic", "null_sd", "null_pass", "adopted")
    rows = style.take(table, names, "gate").sort("time").drop_nulls(["ic", "null_sd"])
    ax = style.canvas(ax)
    if rows.is_empty():
        style.empty(ax, "no retraining was judged")
        return style.dress(ax, "The gate")
    band = style.drawn_points(rows)
    reach = 2 * band["null_sd"].to_numpy()
    ax.fill_between(
        style.times(band["time"]), -reach, reach, color=style.PALE, linewidth=0, label="chance"
    )
    for adopted, colour, name in ((False, style.GREY, "refused"), (True, style.BLUE, "adopted")):
        part = style.drawn_points(rows.filter(pl.col("adopted") == adopted))
        ax.scatter(style.times(part["time"]), part["ic"], s=7, color=colour, label=name)
    ax.axhline(0, color=style.INK, linewidth=0.8)
    style.legend_above(ax)
    style.utc(ax)
    return style.dress(ax, _title(rows), y="rank IC on the judged rows")


def _title(rows: pl.DataFrame) -> str:
    within = pl.col("ic").abs() <= 2 * pl.col("null_sd")
    shares = rows.select(pl.col("adopted").mean(), pl.col("null_pass").mean(), within.mean())
    adopted, chance, inside = (float(share) for share in shares.row(0))
    return f"{adopted:.0%} adopted, {chance:.0%} by chance alone; {inside:.0%} of ICs within chance"
