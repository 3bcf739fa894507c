"""What a model looks at: SHAP values of many rows, and importance over its folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS = 2_000  # more dots than that say nothing more and take seconds


def shap_bar(values: Any, *, most: int = 15, ax: Axes | None = None) -> Axes:
    """Draw how much each feature moves the forecast on average, the strongest on top.

    Parameters
    ----------
    values : polars or pandas frame
        SHAP values: one column per feature, and ``base``.
    most : int
        How many features are shown.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    table = style.take(values, ("base",), "shap_bar").drop("base")
    sizes = {name: float(table[name].abs().mean() or 0.0) for name in table.columns}  # type: ignore[arg-type]
    shown = sorted(sizes, key=lambda name: -sizes[name])[:most][::-1]
    ax = _bars(ax, shown, [sizes[name] for name in shown])
    title = f"How far each feature moves the forecast, mean of {table.height:,} rows"
    return style.dress(ax, title, x="mean |SHAP value|, in units of what is explained")


def shap_beeswarm(values: Any, features: Any, *, most: int = 15, ax: Axes | None = None) -> Axes:
    """Draw each row's SHAP values as dots, coloured by the feature's own value.

    Parameters
    ----------
    values : polars or pandas frame, shape (n_rows, n_features + 1)
        SHAP values: one column per feature, and ``base``.
    features : polars or pandas frame, shape (n_rows, at least n_features)
        The rows they explain, in the same order.
    most : int
        How many features are shown; the others' sum is a last line.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes

    Notes
    -----
    The picture is that of the ``shap`` package. Of more than 2,000 rows every n-th is drawn.
    """
    import shap

    table = style.take(values, ("base",), "shap_beeswarm")
    names = [c for c in table.columns if c != "base"]
    inputs = style.take(features, tuple(names), "shap_beeswarm").select(names)
    every = max(1, -(-table.height // _ROWS))
    table, inputs = table.gather_every(every), inputs.gather_every(every)
    told = shap.Explanation(
        table.select(names).to_numpy(),
        base_values=table["base"].to_numpy(),
        data=inputs.to_numpy(),
        feature_names=names,
    )
    ax = style.canvas(ax, height=1.6 + 0.32 * min(most, len(names)))
    _swarm(told, most, ax)
    ax.tick_params(labelsize=9)
    title = f"What each feature did to the forecast of {table.height:,} rows"
    return style.dress(ax, title, x="SHAP value, in units of what is explained")


def importance(table: Any, *, most: int = 15, ax: Axes | None = None) -> Axes:
    """Draw each feature's importance over the folds and how far the folds differ.

    Parameters
    ----------
    table : polars or pandas frame
        ``feature, mean, min, max, folds``: shares of importance over the models of many folds.
    most : int
        How many features are shown.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    rows = style.take(table, ("feature", "mean", "min", "max", "folds"), "importance")
    rows = rows.sort("mean", descending=True).head(most).reverse()
    ax = _bars(ax, rows["feature"].to_list(), rows["mean"].to_list())
    mean, low, high = (rows[c].to_numpy() for c in ("mean", "min", "max"))
    spread = np.clip([mean - low, high - mean], 0, None)
    ax.errorbar(mean, np.arange(rows.height), xerr=spread, fmt="none", ecolor=style.INK)
    style.as_percent(ax.xaxis)
    title = f"Importance over {_most_folds(rows)} models: mean, least and most"
    return style.dress(ax, title, x="share of the model's importance")


def _bars(ax: Axes | None, names: list[str], sizes: list[float]) -> Axes:
    ax = style.canvas(ax, height=1.2 + 0.26 * len(names))
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=style.PALE)
    ax.barh(names, sizes, color=style.BLUE, height=0.7)
    return ax


def _swarm(told: Any, most: int, ax: Axes) -> None:
    import shap

    # it scatters dots by numpy's global dice: lend it a seeded one, give the reader's own back
    dice = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        shap.plots.beeswarm(told, max_display=most, ax=ax, show=False, plot_size=None)
    finally:
        np.random.set_state(dice)  # noqa: NPY002


def _most_folds(rows: pl.DataFrame) -> int:
    return int(rows["folds"].to_numpy().max()) if rows.height else 0
