"""How long a decision takes to be filled: stated, or as the newest paper run was seen to take."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np

from research.errors import UserError
from research.store import atomic
from research.study import Study

SHARE = 0.95
"""Of decisions, that were as quick as the latency that is charged."""


def latency(study: Study) -> timedelta:
    """Return the time from the close that decides to the fill.

    Raises
    ------
    UserError
        If it is to be that of the newest paper run, and there is none on the study's feed.

    Examples
    --------
    >>> from research.study import Study
    >>> latency(Study().with_options({"costs.latency": "2 s"}))
    datetime.timedelta(seconds=2)
    """
    stated = study.costs.latency
    if not isinstance(stated, str):
        return stated
    known = _read()
    if study.feed not in known:
        raise UserError(
            f"study {study.name}: costs.latency 'measured' needs a paper run on the feed "
            f"{study.feed!r}, of which there is none yet. Run ./run live {study.name}, or state a "
            "span as in '2 s'."
        )
    return timedelta(microseconds=known[study.feed]["latency"])


def measure_latency(feed: str, run: str, taken: list[int]) -> None:
    """Keep what the decisions of a paper run took, in microseconds, for later backtests."""
    if not taken:
        return
    seen = round(float(np.quantile(taken, SHARE)))
    found = {**_read(), feed: {"latency": seen, "decisions": len(taken), "run": run}}
    atomic.write_json(_path(), found)


def _path() -> Path:
    return atomic.data_root() / "live" / "latency.json"


def _read() -> dict[str, dict[str, int]]:
    try:
        found: dict[str, dict[str, int]] = json.loads(_path().read_text(encoding="utf8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{_path()}: cannot be read. Remove it and run ./run live.") from error
    return found
