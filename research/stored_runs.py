"""Stored runs: find one, look into it, hold two against each other.

>>> import research
>>> research.runs()  # doctest: +SKIP
>>> research.run("latest").trades  # doctest: +SKIP
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from research.errors import UserError, nearest
from research.store.atomic import reports_root
from research.study import Study

METRICS = ("net_return", "gross_return", "sharpe", "max_drawdown", "trades", "break_even_fee")


@dataclass(frozen=True)
class Run:
    """One stored run; its tables are read when first asked for.

    Attributes
    ----------
    folder : Path
        ``reports/<study>/<run>``.
    """

    folder: Path

    @property
    def id(self) -> str:
        """The run's name, as in ``2026-11-20_2215_quantiles_3f2a``."""
        return self.folder.name

    @cached_property
    def summary(self) -> dict[str, Any]:
        """``summary.json``: verdict, scores, quantiles, backtest, data, trials."""
        return json.loads((self.folder / "summary.json").read_text(encoding="utf8"))

    @cached_property
    def study(self) -> Study:
        """The study as it was run."""
        return Study.model_validate_json((self.folder / "study.json").read_text(encoding="utf8"))

    @property
    def trades(self) -> pl.DataFrame:
        """One row per closed trade, with costs."""
        return self._table("trades")

    @property
    def equity(self) -> pl.DataFrame:
        """Equity after and before costs at every bar out of sample."""
        return self._table("equity")

    @property
    def reasons(self) -> pl.DataFrame:
        """One reason per symbol and bar."""
        return self._table("reasons")

    @property
    def forecasts(self) -> pl.DataFrame:
        """The out-of-sample forecasts that were traded."""
        return self._table("forecasts")

    @cached_property
    def bars(self) -> pl.DataFrame:
        """The bars the run read, from the store."""
        from research import pipeline

        return pipeline.bars(self.study)

    @property
    def figures(self) -> dict[str, Path]:
        """Pictures of the run by name; `figure(name)` shows one in a cell."""
        return {p.stem: p for p in sorted((self.folder / "figures").glob("*.png"))}

    def figure(self, name: str) -> Any:
        """Show one of the run's figures in a cell."""
        from IPython.display import Image

        if name not in self.figures:
            known = list(self.figures)
            raise UserError(
                f"figure {name!r}: not in this run.{nearest(name, known)} Here: {known}."
            )
        return Image(filename=str(self.figures[name]))

    def _table(self, name: str) -> pl.DataFrame:
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            raise UserError(f"run {self.id}: {path.name} is not there; run the report again.")
        return pl.read_parquet(path)

    def row(self) -> dict[str, Any]:
        """One line of a list of runs."""
        s = self.summary
        score, tested = s["scores"] or {}, s["backtest"] or {}  # none of what was not trained
        return {
            "run": self.id,
            "study": s["study"],
            "verdict": s["verdict"]["word"],
            **{key: score.get(key) for key in ("ic", "ic_low", "ic_high")},
            **{key: tested.get(key) for key in ("net_return", "trades")},
            "trials": s["trials"],
        }

    def text(self) -> str:
        """The verdict and where to read on, for a terminal."""
        s = self.summary
        return "\n".join(
            [
                f"verdict  {s['verdict']['word']}: {s['verdict']['because']}",
                *_change_lines(s["verdict"].get("change")),
                *_truth_lines(s.get("truth")),
                f"report   {self.folder / 'index.html'}",
            ]
        )

    def _repr_html_(self) -> str:
        s = self.summary
        return (
            f"<b>{escape(self.id)}</b>: <b>{escape(s['verdict']['word'])}</b>, "
            f"{escape(s['verdict']['because'])}{pl.DataFrame([self.row()])._repr_html_()}"
        )


def _change_lines(change: list[str] | None) -> list[str]:
    return [f"change   {'; '.join(change[:3])}"] if change else []


def _truth_lines(truth: dict[str, Any] | None) -> list[str]:
    if not truth:
        return []
    lines = [f"planted  IC {truth['planted_ic']:.3f}"]
    for word, name in (("possible", "oracle_ic"), ("found", "found_ic")):
        if truth[name] is not None:
            low, high = truth[f"{name}_low"], truth[f"{name}_high"]
            lines.append(f"{word:8} IC {truth[name]:.3f} [{low:.3f}, {high:.3f}]")
    return lines


class Runs(list[Run]):
    """Runs, newest first; shows itself as a table."""

    def to_polars(self) -> pl.DataFrame:
        """One row per run."""
        return pl.DataFrame([run.row() for run in self])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"runs": [run.row() for run in self]}

    def text(self) -> str:
        """As a table for a terminal."""
        if not self:
            return "no runs yet: start with ./run demo"
        with pl.Config(
            tbl_rows=50, tbl_cols=12, tbl_width_chars=160, tbl_hide_dataframe_shape=True
        ):
            return str(self.to_polars())

    def _repr_html_(self) -> str:
        return self.to_polars()._repr_html_() if self else "no runs yet: <code>./run demo</code>"


def runs(study: str | None = None) -> Runs:
    """List the stored runs, newest first.

    Parameters
    ----------
    study : str, optional
        Only this study's.
    """
    found = reports_root().glob(f"{study or '*'}/*/summary.json")
    whole = (p.parent for p in found if not p.parent.is_symlink() and p.parent.name[0] != ".")
    return Runs(Run(p) for p in sorted(whole, key=_made_at, reverse=True))


def _made_at(folder: Path) -> tuple[str, int]:
    """Order by the minute in the id, then by when the summary was written."""
    return folder.name[:15], (folder / "summary.json").stat().st_mtime_ns


def run(id: str = "latest") -> Run:
    """Return one stored run by id, by a part of it, or the newest.

    Raises
    ------
    UserError
        If there is none, or the part fits several.
    """
    known = runs()
    if not known:
        raise UserError("no runs yet: make one with ./run demo")
    if id == "latest":
        return known[0]
    found = [r for r in known if r.id == id] or [r for r in known if id in r.id]
    if len(found) != 1:
        names = [r.id for r in (found or known)][:8]
        count = "several fit" if found else "no such run"
        raise UserError(f"run {id!r}: {count}. Choose one of: {', '.join(names)}.")
    return found[0]


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side."""

    a: Run
    b: Run
    changed: dict[str, tuple[Any, Any]]
    metrics: dict[str, tuple[Any, Any]]
    difference: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "a": self.a.id,
            "b": self.b.id,
            "changed": self.changed,
            "metrics": self.metrics,
            "ic_difference": self.difference,
        }

    def text(self) -> str:
        """As lines for a terminal."""
        rows = [f"{'':32}{'a':>24}{'b':>24}"]
        for name, (x, y) in {**self.changed, **self.metrics}.items():
            rows.append(f"{name:32}{_short(x):>24}{_short(y):>24}")
        return "\n".join([f"a  {self.a.id}", f"b  {self.b.id}", *rows, self._said()])

    def _said(self) -> str:
        d = self.difference
        if d["ic"] is None:
            return "IC difference: not known, the runs share no forecast rows"
        return (
            f"IC difference b - a on {d['rows']} shared rows: "
            f"{d['ic']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw both net equity curves."""
        from research import plots

        return plots.compare_equity(
            self.a.equity, self.b.equity, names=(self.a.id, self.b.id), ax=ax
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{escape(k)}</td>"
            f"<td>{escape(_short(x))}</td><td>{escape(_short(y))}</td></tr>"
            for k, (x, y) in {**self.changed, **self.metrics}.items()
        )
        head = f"<tr><th></th><th>{escape(self.a.id)}</th><th>{escape(self.b.id)}</th></tr>"
        return f"<table>{head}{rows}</table><p>{escape(self._said())}</p>"


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def compare(a: str | Run, b: str | Run) -> Comparison:
    """Hold run `b` against run `a`.

    Parameters
    ----------
    a, b : str or Run
        As `run` takes them.

    Returns
    -------
    Comparison
        Changed settings, metrics side by side, and the difference in IC (b minus a) on the rows
        both forecast, with the 95 % interval of the paired difference.
    """
    first, second = (x if isinstance(x, Run) else run(x) for x in (a, b))
    for one in (first, second):
        if one.summary["scores"] is None:
            raise UserError(f"run {one.id}: {one.summary['verdict']['because']}.")
    settings = first.study.settings(), second.study.settings()
    changed = {
        key: (settings[0][key], settings[1][key])
        for key in settings[0]
        if settings[0][key] != settings[1][key] and key not in ("name", "question")
    }
    tested = first.summary["backtest"], second.summary["backtest"]
    metrics = {key: (tested[0][key], tested[1][key]) for key in METRICS}
    metrics["ic"] = first.summary["scores"]["ic"], second.summary["scores"]["ic"]
    return Comparison(first, second, changed, metrics, _paired(first, second))


def _paired(a: Run, b: Run) -> dict[str, Any]:
    from research import scores

    horizon = max(a.study.labels.horizon, b.study.labels.horizon)
    shared = a.forecasts.join(b.forecasts, on=["symbol", "time"], how="semi").drop_nulls("y")
    if shared.is_empty():
        return {"ic": None, "low": None, "high": None, "rows": 0}
    found = scores.paired(b.forecasts, a.forecasts, horizon=horizon, seed=a.study.seed)
    return {"ic": found.ic, "low": found.low, "high": found.high, "rows": found.n_rows}
