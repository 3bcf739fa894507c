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
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import Any

import polars as pl

from research.errors import UserError, nearest, the_one
from research.store.atomic import reports_root
from research.study import Study

RESULTS: dict[str, tuple[str, ...]] = {
    "ic": ("ic_low", "ic_high"),
    "ic_break_even": (),
    "net_return": ("net_low", "net_high"),
    "gross_return": (),
    "sharpe": ("sharpe_low", "sharpe_high"),
    "max_drawdown": (),
    "trades": (),
    "break_even_fee": (),
}
"""What two runs are compared by, and the ends of its interval."""
_WIDE = 100  # columns of a terminal


@dataclass(frozen=True)
class Run:
    """One stored run; its tables are read when first asked for.

    Attributes
    ----------
    folder : Path
        ``reports/<study>/<run>``.
    """

    folder: Path

    def __repr__(self) -> str:
        return f"Run({self.id!r})"  # where a reader keeps it is nobody else's business

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
            **{key: tested.get(key) for key in ("net_return", "net_low", "net_high", "trades")},
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
                *_trial_lines(s["trials"]),
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


def _trial_lines(trials: int | None) -> list[str]:
    return [] if trials is None else [f"trials   {trials} on this data so far"]


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
        narrow: dict[str, Any] = {"tbl_cols": 12, "tbl_width_chars": 160, "float_precision": 4}
        with pl.Config(tbl_rows=50, tbl_hide_dataframe_shape=True, **narrow):
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
    by_id = {r.id: r for r in known}
    return by_id[the_one(id, list(by_id), what="run")]


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
        parts = self._parts()
        label = max(len(row[0]) for rows in parts.values() for row in [("",), *rows]) + 2
        lines = [f"a  {self.a.id}", f"b  {self.b.id}"]
        for head, rows in parts.items():
            found = [line for row in rows for line in _lines(row, label)]
            lines += ["", f"{head}:", *_lines(("", "a", "b"), label), *found]
        return "\n".join([*lines, "", self._said()])

    def _parts(self) -> dict[str, list[tuple[str, str, str]]]:
        """Rows of name, a and b, by what they tell: settings first, then what came of them."""
        changed = [(name, _short(x), _short(y)) for name, (x, y) in self.changed.items()]
        words = (run.summary["verdict"]["word"] for run in (self.a, self.b))
        found = [(name, *(self._result(side, name) for side in (0, 1))) for name in RESULTS]
        differ = {"settings that differ": changed} if changed else {}
        return {**differ, "results": [("verdict", *words), *found]}

    def _result(self, side: int, name: str) -> str:
        value, *ends = (self.metrics[key][side] for key in (name, *RESULTS[name]))
        known = ends and None not in ends
        return _short(value) + (f" [{', '.join(map(_short, ends))}]" if known else "")

    def _said(self) -> str:
        d = self.difference
        if d["ic"] is None:
            return "IC difference: not known, the runs share no forecast rows"
        return (
            f"IC difference b - a on {d['rows']:,} shared rows: "
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
            f"<tr><td style='text-align:left'>{escape(name)}</td>"
            f"<td>{escape(x)}</td><td>{escape(y)}</td></tr>"
            for found in self._parts().values()
            for name, x, y in found
        )
        head = f"<tr><th></th><th>{escape(self.a.id)}</th><th>{escape(self.b.id)}</th></tr>"
        return f"<table>{head}{rows}</table><p>{escape(self._said())}</p>"


def _short(value: Any) -> str:
    """Write a value as a table shows it: what is absent, on or off in words."""
    if isinstance(value, list):
        return ", ".join(map(_short, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items()) or "none"
    if value is None or isinstance(value, bool):
        return {None: "-", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _lines(row: tuple[str, str, str], label: int) -> list[str]:
    """Lay a row out in two columns as wide as a terminal lets them be; what is longer goes on."""
    wide = (_WIDE - label) // 2
    left, right = (wrap(value, wide - 2) for value in row[1:])
    return [
        f"{name:{label}}{x:{wide}}{y}".rstrip()
        for name, x, y in zip_longest(row[:1], left, right, fillvalue="")
    ]


def compare(a: str | Run, b: str | Run) -> Comparison:
    """Hold run `b` against run `a`.

    Parameters
    ----------
    a, b : str or Run
        As `run` takes them.

    Returns
    -------
    Comparison
        Changed settings, metrics and their intervals side by side, and the difference in IC (b
        minus a) on the rows both forecast, with the 95 % interval of the paired difference.
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
    one, two = (r.summary["scores"] | (r.summary["backtest"] or {}) for r in (first, second))
    names = [key for name, ends in RESULTS.items() for key in (name, *ends)]
    metrics = {key: (one.get(key), two.get(key)) for key in names}
    return Comparison(first, second, changed, metrics, _paired(first, second))


def _paired(a: Run, b: Run) -> dict[str, Any]:
    from research import scores

    horizon = max(a.study.labels.horizon, b.study.labels.horizon)
    shared = a.forecasts.join(b.forecasts, on=["symbol", "time"], how="semi").drop_nulls("y")
    if shared.is_empty():
        return {"ic": None, "low": None, "high": None, "rows": 0}
    found = scores.paired(b.forecasts, a.forecasts, horizon=horizon, seed=a.study.seed)
    return {"ic": found.ic, "low": found.low, "high": found.high, "rows": found.n_rows}
