"""A study at a glance: its folds, its league of learners, and truth beside what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def folds(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw what each fold trains and tests on.

    Parameters
    ----------
    table : polars or pandas frame
        With `train_start`, `train_end`, `test_start`, `test_end`; `fold` names them where there.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    columns = ("train_start", "train_end", "test_start", "test_end")
    rows = style.take(table, columns, "folds").sort("test_start")
    ax = style.canvas(ax, height=1.4 + 0.22 * min(rows.height, 30))
    ax.grid(axis="y", visible=False)
    at = np.arange(rows.height)
    for part, colour in (("train", style.SKY), ("test", style.ORANGE)):
        start, end = (style.times(rows[f"{part}_{edge}"]) for edge in ("start", "end"))
        ax.barh(at, end - start, left=start, height=0.7, color=colour, label=part)
    ax.invert_yaxis()
    ax.xaxis_date()
    style.utc(ax)
    few = rows.height <= 30
    names = rows["fold"].to_list() if "fold" in rows.columns else [f"{n + 1}" for n in at]
    ax.set_yticks(at if few else [], [n[:10] for n in names] if few else [])
    style.legend_above(ax)
    days = rows.select(
        (pl.col("test_end").max() - pl.col("test_start").min()).dt.total_days()
    ).item()
    title = f"{rows.height} folds test {days} days, each after what it trained on"
    return style.dress(ax, title, x="time (UTC)", y="fold")


def league(table: Any, *, break_even: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw the net return of every entry with its interval, and write its IC beside it.

    Parameters
    ----------
    table : polars or pandas frame
        With `name`, `ic` (null for entries that forecast nothing) and `net_return` (fraction);
        where known `net_low` and `net_high`, its 95 % interval, and `mine`, the study's own entry.
    break_even : float, optional
        The IC that pays the costs; named in the title.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    rows = style.take(table, ("name", "ic", "net_return"), "league")
    rows = rows.sort("net_return", nulls_last=False)
    ax = style.canvas(ax, height=1.3 + 0.42 * rows.height)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=style.PALE)
    net = rows["net_return"].cast(pl.Float64).fill_null(0.0).to_numpy()
    ax.barh(rows["name"].to_list(), net, color=style.SKY, height=0.6)
    ax.axvline(0, color=style.INK, linewidth=0.8)
    ends = _league_intervals(ax, rows, net)
    _league_own(ax, rows)
    for at, (value, ic, end) in enumerate(zip(net, rows["ic"], ends, strict=True)):
        text = f" {value:+.1%}" + ("" if ic is None else f"  IC {ic:+.3f} ")
        side = "left" if value >= 0 else "right"
        ax.text(end, at, text, va="center", ha=side, fontsize=9, color=style.INK)
    ax.margins(x=0.4)
    style.as_percent(ax.xaxis)
    best = rows.row(-1, named=True)
    title = f"best: {best['name']} at {best['net_return'] or 0:+.1%} net"
    if break_even is not None:
        needs = f"costs need an IC of {break_even:.3f}"
        title += f"; {needs if break_even < 1 else 'no IC pays the costs'}"
    return style.dress(ax, title, x="net return (%)")


def _league_intervals(ax: Axes, rows: pl.DataFrame, net: np.ndarray) -> np.ndarray:
    """Draw the intervals that are known, and return where each entry's text has room."""
    named = rows.rename({"net_low": "low", "net_high": "high"}, strict=False)
    reach = style.reach(named, "net_return")
    if reach is None:
        return net
    known = (reach > 0).any(axis=0)  # the others did nothing, or were not scored
    look: dict[str, Any] = {"fmt": "none", "ecolor": style.INK, "capsize": 4, "linewidth": 1.2}
    ax.errorbar(net[known], np.flatnonzero(known), xerr=reach[:, known], **look)
    return np.where(net >= 0, net + reach[1], net - reach[0])


def _league_own(ax: Axes, rows: pl.DataFrame) -> None:
    """Mark the study's own entry by its colour and its name, where it is known."""
    own = rows["mine"].fill_null(False) if "mine" in rows.columns else pl.Series([False])
    if not own.any():
        return
    at = own.arg_max() or 0
    bar = ax.patches[at]
    bar.set_color(style.ORANGE)
    ax.get_yticklabels()[at].set_fontweight("bold")
    key: dict[str, Any] = {"this study": bar}
    if rows.height > 1:
        key["other entries"] = ax.patches[at - 1]
    if len(ax.containers) > 1:
        key["95 % interval"] = ax.containers[1]
    style.legend_beside(ax, handles=[*key.values()], labels=[*key])


def truth(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw what was planted, what a perfect forecast scores, and what was found.

    Parameters
    ----------
    table : polars or pandas frame
        With `name` (such as planted, oracle, found), `ic`, and `low` and `high` (null where the
        number is exact).
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        The first row is the truth: a line that the others are read against.
    """
    rows = style.take(table, ("name", "ic", "low", "high"), "truth")
    ax = style.canvas(ax, width=7.0, height=1.3 + 0.5 * rows.height)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=style.PALE)
    at, ic = np.arange(rows.height), rows["ic"].cast(pl.Float64).to_numpy()
    reach = style.reach(rows, "ic")
    ax.errorbar(ic, at, xerr=reach, fmt="none", ecolor=style.INK, capsize=4, linewidth=1.4)
    colours = [style.ORANGE, *[style.BLUE] * (rows.height - 1)]
    ax.scatter(ic, at, color=colours, s=55, zorder=3)
    ax.axvline(ic[0], color=style.ORANGE, linestyle="--", linewidth=1.2)
    ax.axvline(0, color=style.INK, linewidth=0.8)
    ax.set_yticks(at, rows["name"].to_list())
    ax.set_ylim(rows.height - 0.5, -0.5)
    said = ", ".join(f"{n} {v:+.4f}" for n, v in zip(rows["name"], ic, strict=True))
    return style.dress(ax, said, x="IC, 95 % interval")
