"""What a portfolio did: one account, its shares over time, and each component alone."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import polars as pl

from research import performance

_NAMED = 4
"""Shares that a line names; those of more components are counted."""


@dataclass(frozen=True)
class Portfolio:
    """One account over several components; shows itself in a cell.

    Attributes
    ----------
    equity : pl.DataFrame
        ``time, equity`` (net), ``gross`` (before costs) and each moment's flows.
    trades : pl.DataFrame
        Round trips of all components in the order in which they closed, with `component`.
    weights : pl.DataFrame
        ``start, days, component, weight``: shares of the account from `start` on, set from so many
        days before it; what is left is cash.
    components : pl.DataFrame
        ``component, mean_weight, net_return, net_low, net_high, sharpe, trades``: each one alone
        with the whole account over the same time.
    summary : dict
        Metrics of the account with intervals, as `performance.summary` and `intervals` give them.
    capital : float
        Cash at the start.
    counted : int
        Trials on its data so far, its own components and itself included.
    """

    equity: pl.DataFrame
    trades: pl.DataFrame
    weights: pl.DataFrame
    components: pl.DataFrame
    summary: dict[str, Any]
    capital: float
    counted: int

    @property
    def hindsight(self) -> dict[str, Any]:
        """The component that did best alone: known only afterwards, so nobody could choose it."""
        return self.components.sort("net_return", descending=True, maintain_order=True).row(
            0, named=True
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the account's equity, and below it its shares over time."""
        from research import plots

        return plots.portfolio(self.equity, self.weights, capital=self.capital, ax=ax)

    def shares(self) -> pl.DataFrame:
        """One line per period: the largest shares, and what is cash.

        Returns
        -------
        pl.DataFrame
            ``start`` (a UTC day), ``days`` looked at, ``shares``.
        """
        periods = self.weights.partition_by("start", maintain_order=True)
        rows = [(part["start"][0].date(), part["days"][0], _words(part)) for part in periods]
        return pl.DataFrame(rows, schema=["start", "days", "shares"], orient="row")

    def text(self) -> str:
        """The account's metrics, its shares, and each component alone."""
        with _wide():
            return "\n".join(
                [
                    performance.text(self.summary),
                    f"{'trials behind it':<22}{self.counted:>10}",
                    f"\nshares, each set from the days before:\n{self.shares()}",
                    f"\neach alone, over the same time:\n{self.components}",
                    self._hindsight(),
                ]
            )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        weights = self.weights.with_columns(pl.col("start").dt.to_string("iso:strict"))
        return {
            "summary": self.summary,
            "trials": self.counted,
            "components": self.components.to_dicts(),
            "hindsight": self.hindsight["component"],
            "weights": weights.to_dicts(),
        }

    def _hindsight(self) -> str:
        best = self.hindsight
        return (
            f"best with hindsight: {best['component']}, net {best['net_return']:+.2%}; known only "
            "at the end, so this is no result"
        )

    def _repr_html_(self) -> str:
        with _wide():
            return (
                f"<pre style='font-family: monospace'>{escape(performance.text(self.summary))}\n"
                f"{'trials behind it':<22}{self.counted:>10}</pre>"
                f"shares, each set from the days before{self.shares()._repr_html_()}"
                f"each alone, over the same time{self.components._repr_html_()}"
                f"<small>{escape(self._hindsight())}</small>"
            )


def _wide() -> pl.Config:
    return pl.Config(
        tbl_rows=40,
        tbl_cols=10,
        tbl_width_chars=150,
        fmt_str_lengths=110,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
    )


def _words(part: pl.DataFrame) -> str:
    """Say a period's shares, the largest first."""
    held = part.filter(pl.col("weight") > 0).sort("weight", descending=True, maintain_order=True)
    named = [f"{w:.0%} {name}" for name, w in held.select("component", "weight").rows()[:_NAMED]]
    more = [f"{held.height - _NAMED} more"] if held.height > _NAMED else []
    cash = 1 - part["weight"].sum()
    return ", ".join([*named, *more, *([f"{cash:.0%} cash"] if cash > 5e-3 else [])])
