"""The HTML of a run and of the list of runs: plain files that open anywhere, with no network."""

from __future__ import annotations

import json
import logging
import math
import shlex
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from research import datasets, pipeline
from research.errors import UserError
from research.order_flow import studied as recorded
from research.performance import ANNUAL_DAYS
from research.store import atomic
from research.stored_runs import runs
from research.study import Study, read

TEMPLATES = Path(__file__).resolve().parent / "templates"
MOST_GAPS = 200
"""Gaps of a book that a page lists; all are among the run's tables."""
FILES = {
    "summary.json": "every number on this page",
    "study.json": "every setting",
    "trades.csv": "one row per trade",
    "equity.csv": "equity at every bar out of sample",
    "reasons.parquet": "one reason per symbol and bar",
    "forecasts.parquet": "out-of-sample forecasts, with their bins",
    "fee_surface.parquet": "break-even fee by bin and horizon",
    "certificate.json": "what was proven of each feature, of labels, folds and models",
}


def run(
    study: Study,
    summary: dict[str, Any],
    tested: pipeline.Backtest,
    found: pipeline.Evaluation,
    folder: Path,
    proof: list[str],
) -> Path:
    """Write the page of one run; `proof` is its certificate in lines."""
    tables = sorted(p.name for p in folder.glob("quantiles_*.csv"))
    html = _render(
        "run.html",
        s=summary,
        question=study.question,
        settings={k: v for k, v in study.settings().items() if k not in ("name", "question")},
        changed=study.changed(),
        fees=tested.fee_sweep.to_dicts(),
        quality=_worst_days(study),
        proof=proof,
        regression=found.regression.to_dicts(),
        by_symbol=found.by_symbol.to_dicts(),
        blocks=found.score.blocks,
        fee=study.fee,
        maker=study.costs.role == "maker",
        annual_days=ANNUAL_DAYS,
        calendar=_calendar(summary["tearsheet"]),
        twin=_twin(study, summary),
        twin_name=study.twin,
        twin_words=twin_words(study),
        notebooks=sorted(p.stem for p in (folder / "notebooks").glob("*.html")),
        figures=sorted(p.stem for p in (folder / "figures").glob("*.svg")),
        files={**FILES, **dict.fromkeys(tables, "mean return by quantile")},
        **_flow(study, summary),
    )
    atomic.write_text(folder / "index.html", html)
    return folder / "index.html"


def untrained(study: Study, summary: dict[str, Any], folder: Path) -> Path:
    """Write the page of a run whose recording is too short to be trained on."""
    html = _render(
        "untrained.html",
        s=summary,
        question=study.question,
        settings={k: v for k, v in study.settings().items() if k not in ("name", "question")},
        changed=study.changed(),
        notebooks=sorted(p.stem for p in (folder / "notebooks").glob("*.html")),
        figures=sorted(p.stem for p in (folder / "figures").glob("*.svg")),
        files={name: FILES[name] for name in ("summary.json", "study.json")},
        **_flow(study, summary),
    )
    atomic.write_text(folder / "index.html", html)
    return folder / "index.html"


def _flow(study: Study, summary: dict[str, Any]) -> dict[str, Any]:
    """Return what the page says of a recording's order flow; nothing of other bars."""
    if "order_flow" not in summary:
        return {"flow": None}
    known = recorded.kept(study)
    impact = known["impact"].filter(pl.col("flow").is_in(["ofi", "depth_delta"]))
    impact = impact.sort("symbol", "flow", "every", descending=[False, True, False])
    begun = known["watched"]["start_ns"].min() or 0
    holes = known["gaps"].with_columns(
        after=(pl.col("start_ns") - begun) / 1e9,
        lasts=(pl.col("end_ns") - pl.col("start_ns")) / 1e9,
    )
    return {
        "flow": summary["order_flow"],
        "impact": impact.to_dicts(),
        "holes": holes.head(MOST_GAPS).to_dicts(),
    }


def _twin(study: Study, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Lay this run beside the newest of the study's twin on the same data: one row per number."""
    others = [r for r in runs() if study.twin and r.summary["study"] == study.twin]
    others = [r for r in others if r.summary["scores"]]  # what was trained
    same = [r for r in others if r.summary["data"]["fingerprint"] == summary["data"]["fingerprint"]]
    if not same:
        return []
    rows = [("study", summary["study"], same[0].summary["study"])]
    for section, key, label, form in _BESIDE:
        mine, other = (s[section][key] for s in (summary, same[0].summary))
        rows.append((label, form(mine), form(other)))
    return [dict(zip(("label", "mine", "other"), row, strict=True)) for row in rows]


def twin_words(study: Study) -> str:
    """Write the command that runs the study's twin on this study's bars; empty without a twin.

    >>> from research.study import read
    >>> twin_words(read("trend", {"data.start": "2025-05-01"}))
    './run report trend_honest -o data.start=2025-05-01T00:00:00Z'
    """
    if not study.twin:
        return ""
    try:
        usual = read(study.twin).settings()
    except UserError:  # a run outlives the file of its twin
        usual = {}
    mine = {k: v for k, v in study.settings().items() if k.startswith(_BARS)}
    differs = {k: v for k, v in mine.items() if usual.get(k, v) != v}
    words = (f"{key}={_literal(value)}" for key, value in differs.items())
    return " ".join([f"./run report {study.twin}", *(f"-o {shlex.quote(word)}" for word in words)])


_BARS = ("data.", "simulated.")


def _literal(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _calendar(sheet: dict[str, Any]) -> list[dict[str, Any]]:
    """Lay monthly net returns out by year: twelve of them, None where there was none, and all."""
    if sheet["period"] != "month":
        return []
    years: dict[str, dict[int, float]] = {}
    for row in sheet["periods"]:
        years.setdefault(row["start"][:4], {})[int(row["start"][5:7])] = row["net_return"]
    return [
        {
            "year": year,
            "months": [months.get(m) for m in range(1, 13)],
            "whole": math.prod(1 + value for value in months.values()) - 1,
        }
        for year, months in years.items()
    ]


def _worst_days(study: Study) -> list[dict[str, Any]]:
    faults = ["missing", "zero_volume", "duplicates", "revised", "off_grid", "unsorted"]
    table = datasets.quality(study).group_by("symbol").agg(pl.col("rows", *faults).sum())
    return table.sort("symbol").to_dicts()


def index(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Write the page that lists all runs."""
    atomic.write_text(folder / "index.html", _render("index.html", rows=rows))
    return folder / "index.html"


def notebooks(folder: Path) -> list[Path]:
    """Write an HTML page beside every executed notebook."""
    from nbconvert import HTMLExporter

    quiet = logging.getLogger("research.nbconvert")
    quiet.setLevel(logging.ERROR)  # it warns of every figure without alternative text
    exporter = HTMLExporter(template_name="lab", exclude_input_prompt=True, log=quiet)
    pages = []
    for path in sorted(folder.glob("*.ipynb")):
        html, _ = exporter.from_filename(str(path))
        atomic.write_text(path.with_suffix(".html"), html)
        pages.append(path.with_suffix(".html"))
    return pages


def _render(template: str, **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    env = Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True)
    env.filters |= {"pct": percent, "bps": bps, "num": number, "share": _share, "day": _day}
    env.filters |= {"lasts": _lasts, "in_unit": _in_unit, "error": _error}
    return env.get_template(template).render(**values)


def percent(value: float | None, digits: int = 2) -> str:
    """Write a fraction as percent; a dash where it is not known."""
    return "–" if value is None else f"{value:+.{digits}%}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _lasts(minutes: float | None) -> str:
    """Write a span of time in its own unit."""
    if minutes is None:
        return "–"
    of = ((1440, "d"), (60, "h"), (1, "min"))
    size, unit = next(((size, unit) for size, unit in of if minutes >= 2 * size), of[-1])
    return f"{minutes / size:,.1f} {unit}"


def _in_unit(value: float | None, name: str) -> str:
    """Write what a check of the verdict asks for in its unit."""
    if name.startswith("net return"):
        return percent(value)
    if name.startswith("share"):
        return _share(value)
    return number(value, 0 if name.startswith("days") else 3)


def _error(value: float, metric: str) -> str:
    """Write an error of forecasts in basis points of return; a share of rows in percent."""
    return _share(value) if metric == "directional_accuracy" else f"{value * 1e4:.2f} bps"


def bps(value: float | None) -> str:
    """Write a fraction in basis points."""
    return "–" if value is None else f"{value * 1e4:+.2f} bps"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number; whole ones with thousands apart."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def _day(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


_BESIDE: tuple[tuple[str, str, str, Callable[[Any], str]], ...] = (
    ("scores", "ic", "IC", number),
    ("scores", "ic_low", "its interval from", number),
    ("scores", "ic_high", "to", number),
    ("scores", "ic_break_even", "break-even IC", number),
    ("scores", "league_rank", "rank in its league", number),
    ("backtest", "gross_return", "gross return", percent),
    ("backtest", "net_return", "net return", percent),
    ("backtest", "net_low", "its interval from", percent),
    ("backtest", "net_high", "to", percent),
    ("backtest", "break_even_fee", "break-even fee per side", bps),
    ("backtest", "trades", "trades", number),
    ("verdict", "word", "verdict", str),
)
