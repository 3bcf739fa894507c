"""What is an idea worth? One call in a cell: IC by horizon, causality, coverage, likeness to S2."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research import schema, units
from research.errors import UserError
from research.features.build import build, evaluate
from research.features.causality import causality
from research.features.extra import check_usable, feature
from research.features.sets import SETS, FeatureSet
from research.features.warmup import by_column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HORIZONS = (1, 5, 10, 30, 60)
_ALIKE_ROWS = 50_000
_SLOW_ROWS = 60_000


@dataclass(frozen=True, slots=True)
class FeatureStudy:
    """What `study` found; shows itself in a cell.

    Attributes
    ----------
    ic : pl.DataFrame
        feature, horizon (duration), ic, low, high (95 % interval), ic_break_even, days, rows.
    facts : pl.DataFrame
        feature, causal, warmup (bars; null if it looks ahead), coverage (share of rows known),
        twin (the S2 column most alike) and alike (rank correlation with it).
    causality : pl.DataFrame
        As `features.causality` returns it.
    values : pl.DataFrame
        symbol, time, the columns, sigma: from `build`; of one that looks ahead, from `evaluate`.
    """

    ic: pl.DataFrame
    facts: pl.DataFrame
    causality: pl.DataFrame
    values: pl.DataFrame

    @property
    def names(self) -> list[str]:
        """The features studied."""
        return self.facts["feature"].to_list()

    def plot(self, name: str | None = None) -> Figure:
        """Draw the IC over horizons of one feature, the first if none is named."""
        from matplotlib.figure import Figure

        from research.plots import ic_decay

        figure = Figure(figsize=(7.5, 3.2), layout="constrained")
        rows = self.ic.filter(pl.col("feature") == (name or self.names[0]))
        ic_decay(rows, ax=figure.subplots())
        return figure

    def _repr_html_(self) -> str:
        return "".join(map(self._sheet, self.facts.rows(named=True)))

    def _sheet(self, fact: dict[str, Any]) -> str:
        name = fact["feature"]
        image = io.BytesIO()
        self.plot(name).savefig(image, format="png", dpi=110)
        lines = "".join(
            f"<tr><td>{units.show(row['horizon'])}</td><td>{row['ic']:+.4f}</td>"
            f"<td>{row['low']:+.4f} to {row['high']:+.4f}</td>"
            f"<td>{_needed(row['ic_break_even'])}</td><td>{row['days']}</td></tr>"
            for row in self.ic.filter(pl.col("feature") == name).rows(named=True)
        )
        return (
            f"<h4>{html.escape(name)}</h4>{_verdict(fact, self.causality)}"
            "<table><tr><th>horizon</th><th>IC</th><th>95 % interval</th>"
            f"<th>break-even IC</th><th>days</th></tr>{lines}</table>"
            f'<img alt="IC by horizon" src="data:image/png;base64,'
            f'{base64.b64encode(image.getvalue()).decode()}"/>'
        )


def _needed(ic: float) -> str:
    return f"{ic:.3f}" if ic < 1 else "no IC pays"


def study(
    bars: Any,
    *,
    horizons: Sequence[int] = HORIZONS,
    cost: float | str = "12 bps",
    draws: int = 500,
    seed: int = 0,
    **features: Any,
) -> FeatureStudy:
    """Try features of one's own on `bars`: one call in a notebook cell.

    Parameters
    ----------
    bars : pl.DataFrame or pd.DataFrame
        `schema.BARS`, of any number of symbols and any one interval.
    horizons : sequence of int
        Bars ahead, from the next open to the close.
    cost : float or str
        Round trip, for the break-even IC.
    draws, seed : int
        Of the bootstrap behind the intervals.
    **features : pl.Expr or callable
        ``mine=expression`` over one symbol's bars, or ``mine=function`` with ``f(bars) -> Series``
        that takes a pandas frame of one symbol, indexed by time.

    Returns
    -------
    FeatureStudy
        IC with 95 % interval by horizon, causality, warm-up, coverage, nearest S2 column.

    Raises
    ------
    UserError
        If no feature is given, or one cannot be used.

    Notes
    -----
    The IC is against raw forward returns, in sample, of every bar: a first look. A feature that
    looks ahead is shown, and said to.

    Examples
    --------
    >>> from research.features.warmup import canonical
    >>> bars = canonical(4_000, interval=timedelta(minutes=1))
    >>> mine = pl.col("close") / pl.col("close").rolling_mean(20) - 1
    >>> found = study(bars, horizons=(1, 10), draws=50, mine=mine)
    >>> found.facts.select("feature", "causal", "warmup").row(0)
    ('mine', True, 19)
    """
    if not features:
        raise UserError("features.study: no feature given. Write features.study(bars, mine=...).")
    table = schema.as_table(bars, schema.BARS, "bars")
    if table.is_empty():
        raise UserError("features.study: no bars. Load some first.")
    interval = table["time"][0] - table["open_time"][0]
    mine = {name: feature(name, thing) for name, thing in features.items()}
    for name, candidate in mine.items():
        check_usable(name, candidate)
    chosen = FeatureSet("study", "0", mine)
    verdicts = _causality(table, chosen, interval)
    warm = _warmups(chosen, verdicts, interval)
    values = _values(table, chosen, warm, interval)
    ahead = _answers(table, horizons, interval)
    scored = [_scored(values, name, ahead, units.fraction(cost), draws, seed) for name in mine]
    return FeatureStudy(pl.concat(scored), _facts(table, values, warm), verdicts, values)


def _causality(table: pl.DataFrame, chosen: FeatureSet, interval: timedelta) -> pl.DataFrame:
    verdicts = causality(table, chosen, interval=interval)
    if verdicts["causal"].null_count():  # a slow feature has no value in so few bars
        verdicts = causality(table, chosen, interval=interval, rows=_SLOW_ROWS)
    for name in verdicts.filter(pl.col("causal").is_null())["feature"]:
        raise UserError(
            f"feature {name!r}: no value in the longest stretch of bars without a gap. "
            "Hand in more bars, or see where it is null."
        )
    return verdicts


def _warmups(
    chosen: FeatureSet, verdicts: pl.DataFrame, interval: timedelta
) -> dict[str, int | None]:
    # one that looks ahead has no warm-up: its values change at the other end
    causal = set(verdicts.filter("causal")["feature"])
    honest = FeatureSet("study", "0", {n: f for n, f in chosen.columns.items() if n in causal})
    measured = by_column(honest, interval=interval) if causal else {}
    return {name: measured.get(name) for name in chosen.names}


def _values(
    table: pl.DataFrame, chosen: FeatureSet, warm: dict[str, int | None], interval: timedelta
) -> pl.DataFrame:
    """One column at a time: a feature's gaps must not hide another's values."""
    columns = []
    for name, bars in warm.items():
        alone = FeatureSet("study", "0", {name: chosen.columns[name]})
        made = evaluate(table, alone) if bars is None else build(table, alone, interval=interval)
        columns.append(made[name])
    return table.select(schema.KEY).with_columns(columns)


def _answers(
    table: pl.DataFrame, horizons: Sequence[int], interval: timedelta
) -> dict[timedelta, pl.DataFrame]:
    from research.labels import forward_return

    return {
        h * interval: forward_return(
            table, horizon=h * interval, interval=interval, entry="next_open"
        )
        for h in horizons
    }


def _scored(
    values: pl.DataFrame,
    name: str,
    ahead: dict[timedelta, pl.DataFrame],
    cost: float,
    draws: int,
    seed: int,
) -> pl.DataFrame:
    from research.scores import decay

    known = values.select(*schema.KEY, pl.col(name).alias("forecast")).drop_nulls()
    if known.height < 2:
        raise UserError(
            f"feature {name!r}: known in {known.height} of {values.height:,} bars. "
            "Hand in more bars than its warm-up, or see where it is null."
        )
    rows = decay(known, ahead, cost=cost, draws=draws, seed=seed)
    return rows.select(pl.lit(name).alias("feature"), pl.all())


def _facts(table: pl.DataFrame, values: pl.DataFrame, warm: dict[str, int | None]) -> pl.DataFrame:
    thinned = max(values.height // _ALIKE_ROWS, 1)
    house = evaluate(table, SETS["S2"]).select(SETS["S2"].names).gather_every(thinned)
    rows = []
    for name, bars in warm.items():
        twin, alike = _twin(values[name].gather_every(thinned), house)
        coverage = 1 - values[name].null_count() / values.height
        rows.append((name, bars is not None, bars, coverage, twin, alike))
    columns = {
        "feature": pl.String,
        "causal": pl.Boolean,
        "warmup": pl.Int64,
        "coverage": pl.Float64,
        "twin": pl.String,
        "alike": pl.Float64,
    }
    return pl.DataFrame(rows, schema=columns, orient="row")


def _twin(mine: pl.Series, house: pl.DataFrame) -> tuple[str | None, float | None]:
    """Return the house column of highest absolute rank correlation, and that correlation."""
    ranked = house.with_columns(mine.alias(" mine")).drop_nulls().select(pl.all().rank())
    if ranked.height < 3 or ranked[" mine"].n_unique() < 2:
        return None, None
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant column is like nothing
        row = np.corrcoef(ranked.to_numpy(), rowvar=False)[-1, :-1]
    best = int(np.nanargmax(np.abs(row)))
    return house.columns[best], float(row[best])


def _verdict(fact: dict[str, Any], verdicts: pl.DataFrame) -> str:
    causal = verdicts.row(by_predicate=pl.col("feature") == fact["feature"], named=True)
    if not fact["causal"]:
        said = f"<b style='color:#b00'>Looks ahead</b>: changed at {html.escape(causal['first'])}."
        return f"<p>{said} What follows is worth nothing.</p>"
    seen = f"Causal in {causal['compared']:,} comparisons"
    if not causal["moved"]:
        seen += " (but no later value moved either: it looks at no number)"
    alike = (
        f"; most like <code>{fact['twin']}</code> ({fact['alike']:+.2f})" if fact["twin"] else ""
    )
    return (
        f"<p>{seen}. Warm-up {fact['warmup']:,} bars; known in {fact['coverage']:.1%} of the rows"
        f"{alike}.</p>"
    )
