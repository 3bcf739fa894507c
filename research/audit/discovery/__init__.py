"""How often the whole pipeline finds an edge where there is none, and how often one that is there.

Every market is taken from bars to verdict with several settings tried, the best of them judged, as
a researcher would; in a store and with a ledger of its own. A market that was taken is kept under
``data/discovery/``, so that a campaign that was stopped goes on where it was.

Two things may be claimed. *An edge before costs*: the 95 % interval of the rank IC out of sample
lies above zero. It is one half of a test at 5 %, the other being an interval below zero, and both
are counted; costs do not come into it. *Deployable*: the verdict of `performance.verdict` on the
best setting, at the study's costs and at none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from research import batch, pipeline, study
from research.audit.discovery import nulls
from research.audit.discovery.market import Market, settings, take
from research.batch import Progress
from research.errors import UserError
from research.store import atomic, cards

__all__ = ["TRIALS", "WORDS", "run", "settings", "text"]

TRIALS = 10
"""Settings that are tried on every market."""
WORDS = ("deployable", "undecided", "nothing")


def run(
    name: str = "demo",
    options: dict[str, Any] | None = None,
    *,
    markets: int = 200,
    null: str = "simulated",
    planted: float | None = None,
    trials: int = TRIALS,
    workers: int = 2,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure how often a study's pipeline claims an edge.

    Parameters
    ----------
    name : str
        A study.
    options : dict, optional
        Dotted settings that win over the study's, and over the length of a simulated market.
    markets : int
        How many, with seeds 1, 2, 3, ... Those that were taken before, of the same study, settings,
        data and code, are not taken again.
    null : {"simulated", "flips", "blocks", "shifts"}
        Where the markets come from: a simulation, or the study's own bars with what could be
        forecast destroyed; see `nulls`.
    planted : float, optional
        IC of the edge in a simulated market; the rates are then power. Absent: no edge.
    trials : int
        Settings tried on each market.
    workers : int
        Processes.
    scheduler : str, optional
        Address of a Dask cluster that takes their place, as ``"tcp://127.0.0.1:8786"``.
    progress : callable, optional
        Takes (done, total, label), of the markets that are still to be taken.

    Returns
    -------
    dict
        ``markets, edge_claimed, deployable, undecided, nothing`` (at the study's costs), ``rate``
        with ``low`` and ``high`` (95 %) of being deployable, over the markets that did not fail;
        ``edge``, the rate of claims of an edge before costs; ``either``, of intervals that leave
        zero out on either side, 5 % of which is luck; ``free``, the verdicts at no cost and their
        rate; ``asked`` (markets), ``rows`` and ``failed``.

    Raises
    ------
    UserError
        If the null is not known, an edge is to be planted into real bars, or there is no such
        cluster.
    """
    nulls.kind(null)
    if planted and null != "simulated":
        raise UserError(
            "discovery: an edge can be planted into a simulated market only. Leave out --null."
        )
    asked = pipeline.read(name, {**(options or {}), "simulated.ic": planted or 0.0})
    tried = settings(asked, trials)
    items = [
        Market(name, options or {}, null, planted, seed, trials) for seed in range(1, markets + 1)
    ]
    rows, failed = [], []
    for item, found in _taken(items, asked, workers, scheduler, progress):
        if isinstance(found, Exception):
            failed.append(f"seed {item.seed}: {found!r}")
        else:
            rows.append(found)
    return {
        "study": name,
        "null": null,
        "planted": planted,
        "trials": len(tried),
        "asked": markets,
        **counted(sorted(rows, key=lambda row: row["seed"])),
        "failed": failed,
    }


def _taken(
    items: list[Market],
    asked: study.Study,
    workers: int,
    scheduler: str | None,
    progress: Progress | None,
) -> Iterator[tuple[Market, Any]]:
    """Yield each market and its row, or what went wrong; keep a row as soon as it is there."""
    made_of = _made_of(asked, null=items[0].null)
    places = {item.seed: _place(item, made_of) for item in items}
    kept = [item for item in items if places[item.seed].exists()]
    left = [item for item in items if item not in kept]
    for item in kept:
        yield item, json.loads(places[item.seed].read_text(encoding="utf8"))

    def watch(done: int, total: int, label: str) -> None:
        if progress:
            progress(done, total, f"{len(kept)} from before" if kept else label)

    how: dict[str, Any] = {"workers": workers, "scheduler": scheduler, "watch": watch}
    for item, found in batch.map_items(take, left, **how):
        if not isinstance(found, Exception):
            atomic.write_json(places[item.seed], found)
        yield item, found


def _made_of(asked: study.Study, *, null: str) -> list[Any]:
    """Return what decides every row of a campaign, its seed aside: settings, data and code."""
    # real bars are brought in once, before workers would all do it
    real = None if null == "simulated" else cards.fingerprint(pipeline.bars(asked))
    return [asked.settings(), real, cards.whole_package()]


def _place(item: Market, made_of: list[Any]) -> Path:
    return atomic.data_root() / "discovery" / f"{cards.digest([item._asdict(), made_of])}.json"


def counted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Count claims and verdicts.

    Examples
    --------
    >>> rows = [{"edge": False, "ic_high": 0.1, "word": "nothing", "word_free": "undecided"}] * 9
    >>> one = {"edge": True, "ic_high": 0.2, "word": "deployable", "word_free": "deployable"}
    >>> found = counted([*rows, one])
    >>> found["edge_claimed"], found["deployable"], found["nothing"], found["rate"]
    (1, 1, 9, 0.1)
    """
    claimed = sum(row["edge"] for row in rows)
    either = claimed + sum(row["ic_high"] < 0 for row in rows)
    words = {word: sum(row["word"] == word for row in rows) for word in WORDS}
    free = {word: sum(row["word_free"] == word for row in rows) for word in WORDS}
    return {
        "markets": len(rows),
        "edge_claimed": claimed,
        **words,
        **_rate(words["deployable"], len(rows)),
        "edge": _rate(claimed, len(rows)),
        "either": {"count": either, **_rate(either, len(rows))},
        "free": {"edge_claimed": claimed, **free, **_rate(free["deployable"], len(rows))},
        "rows": rows,
    }


def _rate(count: int, of: int) -> dict[str, float | None]:
    """Return a share with its exact 95 % interval (Clopper and Pearson, 1934)."""
    if not of:
        return {"rate": None, "low": None, "high": None}
    ends = binomtest(count, of).proportion_ci(0.95, method="exact")
    return {"rate": count / of, "low": float(ends.low), "high": float(ends.high)}


def text(found: dict[str, Any]) -> str:
    """Say the rates in lines."""
    what = f"planted IC {found['planted']:g}" if found["planted"] else "without an edge"
    lines = [
        f"{found['markets']} of {found['asked']} markets ({found['null']}) {what}, "
        f"best of {found['trials']} settings",
        _line("an edge before costs", found["edge_claimed"], found["edge"]),
        _line("zero left out", found["either"]["count"], found["either"]),
        _line("deployable", found["deployable"], found) + _others(found),
        _line("deployable at no cost", found["free"]["deployable"], found["free"])
        + _others(found["free"]),
    ]
    return "\n".join([*lines, *(f"failed: {one}" for one in found["failed"])])


def _line(what: str, count: int, rate: dict[str, Any]) -> str:
    if rate["rate"] is None:
        return f"{what:24}{count}"
    return f"{what:24}{count}  {rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"


def _others(words: dict[str, Any]) -> str:
    return f"; undecided {words['undecided']}, nothing {words['nothing']}"
