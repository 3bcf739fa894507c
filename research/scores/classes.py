"""How good forecasts of classes are: accuracy beside always saying the most common class."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.scores import blocks as _blocks
from research.scores.blocks import Blocks

NAMES = tuple(column.removeprefix("p_") for column in schema.CLASSES)
BINS = 10
_FLAT = NAMES.index("flat")


class Estimate(NamedTuple):
    """A share or a difference of shares, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2%} (95 % {self.low:.2%} to {self.high:.2%})"


@dataclass(frozen=True, slots=True)
class Classification:
    """What class forecasts got right, and what knowing nothing would have got.

    Attributes
    ----------
    accuracy : Estimate
        Share of rows whose likeliest class came true.
    majority : str
        The most common class among the scored rows: ``down``, ``flat`` or ``up``.
    baseline : float
        Its share: the accuracy of always saying it.
    beyond : Estimate
        Accuracy less baseline, row by row; its low end above 0 is skill.
    macro_f1 : float
        Mean over the classes met or said of the harmonic mean of precision and recall.
    log_loss, log_loss_baseline : float
        Mean of ``-ln p`` of the class that came, and the same for someone who always says the
        classes' shares among the scored rows; in nats.
    confusion : pl.DataFrame
        Row per class that came (`actual`), column per class said (`down`, `flat`, `up`): rows.
    calibration : pl.DataFrame
        Per class and bin of its predicted probability (ten bins of about equally many rows):
        `class`, `bin`, `left` and `right` (edges), `predicted` (mean), `observed` (share that
        came), `n`, `n_effective`, `low`, `high` (Wilson's 95 % interval of `observed`).
    by_symbol : pl.DataFrame
        `symbol`, `rows`, `accuracy`, `low`, `high`, `majority`, `baseline`, `beyond`,
        `beyond_low`, `beyond_high`, `macro_f1`, `log_loss`, `log_loss_baseline`.
    n_days, n_rows : int
        UTC days and rows that were scored.
    blocks : str
        How the intervals were made.
    """

    accuracy: Estimate
    majority: str
    baseline: float
    beyond: Estimate
    macro_f1: float
    log_loss: float
    log_loss_baseline: float
    confusion: pl.DataFrame
    calibration: pl.DataFrame
    by_symbol: pl.DataFrame
    n_days: int
    n_rows: int
    blocks: str

    def __str__(self) -> str:
        return f"accuracy {self.accuracy}; always {self.majority}: {self.baseline:.2%}"

    def _repr_html_(self) -> str:
        points = tuple(100 * part for part in self.beyond)
        head = "".join(f"<th>said {name}</th>" for name in NAMES)
        lines = "".join(
            "<tr>" + f"<th>{actual}</th>" + "".join(f"<td>{n:,}</td>" for n in said) + "</tr>"
            for actual, *said in self.confusion.iter_rows()
        )
        return (
            f"accuracy <b>{self.accuracy.value:.2%}</b> "
            f"({self.accuracy.low:.2%} to {self.accuracy.high:.2%}); "
            f"always {self.majority}: <b>{self.baseline:.2%}</b>; difference {points[0]:+.2f} "
            f"({points[1]:+.2f} to {points[2]:+.2f}) points<br>macro F1 {self.macro_f1:.3f}, "
            f"log loss {self.log_loss:.4f} against {self.log_loss_baseline:.4f} of the shares"
            f"<table><tr><th>came</th>{head}</tr>{lines}</table><small>{self.n_rows:,} rows, "
            f"{self.n_days:,} UTC days; {html.escape(self.blocks)}</small>"
        )


def classification(
    forecasts: Any, *, horizon: timedelta, draws: int = 1000, seed: int = 0
) -> Classification:
    """Score class probabilities against the classes that came, and both against knowing nothing.

    Parameters
    ----------
    forecasts : polars or pandas frame
        With `symbol`, `time`, `p_down`, `p_flat`, `p_up` (summing to 1) and `label` (-1, 0 or 1);
        rows without a label or a probability are left out.
    horizon : timedelta
        Longest span of a label; blocks are at least twice as long.
    draws, seed
        As for `ic`.

    Returns
    -------
    Classification

    Raises
    ------
    UserError
        If classes or their probabilities are missing, a label is none of the three, probabilities
        do not sum to 1 or lie outside 0 to 1, or fewer than two rows are known.

    Notes
    -----
    The class said is the likeliest one; where two are equally likely, flat.

    Accuracy is the share of all rows. Its interval comes from blocks of time drawn with all
    symbols together, cut as for `ic`; below three blocks it is all that is possible. The majority
    is known only afterwards, so the baseline is a little too good. `beyond` draws the same blocks
    for both, and is far narrower than two intervals side by side.

    Neighbouring rows of a calibration bin share most of their label, so Wilson's interval is
    taken at fewer rows than the bin holds: at `n` over the design effect, the variance of shares
    over blocks relative to that of independent rows, one for each class.

    References
    ----------
    .. [1] Wilson, E. B. (1927). Probable Inference, the Law of Succession, and Statistical
       Inference. Journal of the American Statistical Association 22(158).
    .. [2] Kish, L. (1965). Survey Sampling. Wiley. (Design effect.)

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> times = [datetime(2025, 1, 1, 0, m, tzinfo=UTC) for m in (1, 2, 3, 4)]
    >>> table = pl.DataFrame({"symbol": "A", "time": times, "p_down": [0.1, 0.2, 0.6, 0.4],
    ...     "p_flat": [0.2, 0.6, 0.3, 0.2], "p_up": [0.7, 0.2, 0.1, 0.4], "label": [1, 0, 0, 0]})
    >>> found = classification(table, horizon=timedelta(minutes=1))
    >>> found.accuracy.value, found.majority, found.baseline, found.beyond.value
    (0.75, 'flat', 0.75, 0.0)
    """
    if draws < 1:
        raise UserError(f"classification: draws must be at least 1, got {draws}.")
    table = _known(forecasts)
    rows = _Rows.of(table)
    cut = _blocks.cut(table["time"], horizon)
    symbols = table.partition_by("symbol", maintain_order=True)
    each = [_symbol(part, horizon, draws, seed) for part in symbols]
    return Classification(
        **_headline(rows, cut, draws, seed),
        confusion=_confusion(rows),
        calibration=_calibration(rows, cut),
        by_symbol=pl.DataFrame(each),
        n_days=cut.n_days,
        n_rows=table.height,
        blocks=cut.told(draws),
    )


class _Rows(NamedTuple):
    """Class that came and class said (0 down, 1 flat, 2 up) and probabilities, (n_rows, 3)."""

    came: np.ndarray
    said: np.ndarray
    p: np.ndarray

    @classmethod
    def of(cls, table: pl.DataFrame) -> _Rows:
        p = table.select(*schema.CLASSES).to_numpy()
        best = p == p.max(axis=1, keepdims=True)
        said = np.where(best.sum(axis=1) > 1, _FLAT, best.argmax(axis=1))
        return cls(table["label"].to_numpy().astype(np.int64) + 1, said, p)

    @property
    def shares(self) -> np.ndarray:
        return np.bincount(self.came, minlength=3) / len(self.came)


def _known(forecasts: Any) -> pl.DataFrame:
    """Return the rows with a label and probabilities, or say what is wrong with them."""
    keys = {"symbol": pl.String, "time": schema.TIME}
    probabilities = dict.fromkeys(schema.CLASSES, pl.Float64)
    table = schema.as_table(forecasts, keys, "forecasts")
    missing = [c for c in (*probabilities, "label") if c not in table.columns]
    if missing:
        raise UserError(
            f"classification: forecasts have no {', '.join(missing)}. They need labels of kind "
            "direction or barrier, and a learner of classes."
        )
    schema.check(table, keys | probabilities, "forecasts")
    rows = table.select(*keys, *probabilities, "label").drop_nulls()
    if rows.height < 2:
        raise UserError(
            f"classification: at least 2 rows with a known label are needed, found {rows.height} "
            f"of {table.height}. Wait until labels are known, or take a longer span."
        )
    p = pl.concat_list(list(schema.CLASSES))
    whole_one = (p.list.sum() - 1).abs() < 1e-6
    inside = (p.list.min() >= 0) & (p.list.max() <= 1 + 1e-6)
    _refuse(rows, whole_one & inside, "p_down, p_flat and p_up must be shares that sum to 1")
    classes = [float(label) for label in schema.CLASSES.values()]
    among = pl.col("label").cast(pl.Float64, strict=False).is_in(classes).fill_null(False)
    _refuse(rows, among, "label must be -1, 0 or 1")
    return rows.with_columns(pl.col("label").cast(pl.Int8))


def _refuse(rows: pl.DataFrame, holds: pl.Expr, law: str) -> None:
    bad = rows.filter(~holds)
    if bad.height:
        values = ", ".join(str(bad[c][0]) for c in (*schema.CLASSES, "label"))
        where = schema.at(bad, bad["time"].is_not_null())
        raise UserError(
            f"classification: {law}, found {values} (three probabilities, label) in {bad.height} "
            f"rows, first {where}."
        )


def _headline(rows: _Rows, cut: Blocks, draws: int, seed: int) -> dict[str, Any]:
    right = (rows.said == rows.came).astype(float)
    most = int(rows.shares.argmax())
    always = (rows.came == most).astype(float)
    shares = rows.shares[rows.shares > 0]
    return {
        "accuracy": _estimate(right, cut, draws, seed, least=0.0),
        "majority": NAMES[most],
        "baseline": float(always.mean()),
        "beyond": _estimate(right - always, cut, draws, seed, least=-1.0),
        "macro_f1": _macro_f1(rows),
        "log_loss": _log_loss(rows),
        "log_loss_baseline": float(-(shares * np.log(shares)).sum()),
    }


def _estimate(values: np.ndarray, cut: Blocks, draws: int, seed: int, *, least: float) -> Estimate:
    """Mean over all rows, with its interval from drawn blocks."""
    value = float(values.mean())
    if cut.count < _blocks.MIN_BLOCKS:
        return Estimate(value, least, 1.0)
    sums, counts = np.bincount(cut.block, values), np.bincount(cut.block).astype(float)
    low, high = value + _blocks.drawn_ends(sums, counts, value, draws, seed)
    return Estimate(value, max(float(low), least), min(float(high), 1.0))


def _macro_f1(rows: _Rows) -> float:
    """Mean of ``2 hits / (came + said)`` over classes that came or were said."""
    hits = np.bincount(rows.came[rows.came == rows.said], minlength=3)
    both = np.bincount(rows.came, minlength=3) + np.bincount(rows.said, minlength=3)
    return float((2 * hits[both > 0] / both[both > 0]).mean())


def _log_loss(rows: _Rows) -> float:
    came = rows.p[np.arange(len(rows.came)), rows.came]
    # a class held impossible that comes would cost without end; one rounding unit stands for never
    return float(-np.log(np.maximum(came, np.finfo(float).eps)).mean())


def _confusion(rows: _Rows) -> pl.DataFrame:
    counts = np.bincount(3 * rows.came + rows.said, minlength=9).reshape(3, 3)
    said = {name: counts[:, k] for k, name in enumerate(NAMES)}
    return pl.DataFrame({"actual": list(NAMES), **said})


def _symbol(part: pl.DataFrame, horizon: timedelta, draws: int, seed: int) -> dict[str, Any]:
    cut = _blocks.cut(part["time"], horizon)
    found = _headline(_Rows.of(part), cut, draws, seed)
    accuracy, beyond = found["accuracy"], found["beyond"]
    return {
        "symbol": part["symbol"][0],
        "rows": part.height,
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "majority": found["majority"],
        "baseline": found["baseline"],
        "beyond": beyond.value,
        "beyond_low": beyond.low,
        "beyond_high": beyond.high,
        **{name: found[name] for name in ("macro_f1", "log_loss", "log_loss_baseline")},
    }


def _calibration(rows: _Rows, cut: Blocks) -> pl.DataFrame:
    each = [_class_bins(rows.p[:, k], rows.came == k, cut, name) for k, name in enumerate(NAMES)]
    return pl.concat(each)


def _class_bins(p: np.ndarray, came: np.ndarray, cut: Blocks, name: str) -> pl.DataFrame:
    # edges are predictions that were made: equal ones share a bin, and no bin is empty
    edges = np.unique(np.quantile(p, np.linspace(0, 1, BINS + 1), method="inverted_cdf"))
    number = np.searchsorted(edges[1:-1], p)
    n = np.bincount(number)
    observed = np.bincount(number, came) / n
    effective = n / _design_effect(came - observed[number], number, cut)
    low, high = _wilson(observed, effective, float(_blocks.half_width_factor(cut.count)))
    unsure = cut.count < 3
    return pl.DataFrame(
        {
            "class": [name] * len(n),
            "bin": np.arange(1, len(n) + 1),
            "left": edges[: len(n)],
            "right": edges[-len(n) :],
            "predicted": np.bincount(number, p) / n,
            "observed": observed,
            "n": n,
            "n_effective": effective,
            "low": np.zeros(len(n)) if unsure else low,
            "high": np.ones(len(n)) if unsure else high,
        }
    )


def _design_effect(residual: np.ndarray, number: np.ndarray, cut: Blocks) -> float:
    """How many times the variance of independent rows the bins' counts vary over blocks."""
    independent = float((residual**2).sum())
    if cut.count < 3 or independent == 0:
        return 1.0
    sums = np.bincount(number * cut.count + cut.block, residual)
    return max(1.0, float((sums**2).sum()) / independent * cut.count / (cut.count - 1))


def _wilson(share: np.ndarray, n: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of Wilson's interval: the shares that lie within z standard errors of what was seen."""
    shrink = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / shrink
    half = z / shrink * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return centre - half, centre + half
