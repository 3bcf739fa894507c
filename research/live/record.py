"""A paper run as tables: what its journal holds, for a cell."""

from __future__ import annotations

import json
import subprocess
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from research.live import journal
from research.live.status import Status, process, status
from research.live.story import Story

if TYPE_CHECKING:
    import polars as pl

CHILDREN: dict[str, subprocess.Popen[bytes]] = {}
"""Runners that this process has started, by run."""
_TIMES = ("time", "at", "since", "effective", "open_time", "entry_time", "exit_time", "until")


class Run:
    """One paper run, read from its folder whenever it is asked; times are in UTC.

    Parameters
    ----------
    folder : Path
        The run's.

    Attributes
    ----------
    name : str
        The run's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        child = CHILDREN.get(self.name)
        return (child is not None and child.poll() is None) or process(self.folder) is not None

    def status(self) -> Status:
        """Return how it is doing."""
        return status(self.folder)

    def summary(self) -> dict[str, Any]:
        """Return its closing summary, or, while it runs, how it is doing."""
        last = journal.read(self.folder, last=1)
        if last and last[0].kind == "stop":
            return {name: value for name, value in last[0].body.items() if name != "time"}
        return self.status().to_dict()

    def decisions(self) -> pl.DataFrame:
        """Return one row per symbol and bar: ``time, symbol, reason, position``, bar, forecast."""
        first = ("symbol", "reason", "position", "forecast", "told", "bin", "model", "challenger")
        rows = [
            {"time": body["time"], **{name: row.get(name) for name in first}, **row}
            | {"late": body["late"], "control": body["control"]}
            for body in self._moments()
            for row in body["rows"]
        ]
        return table(rows, {"time": "us", "symbol": "text", "reason": "text", "position": "number"})

    def equity(self) -> pl.DataFrame:
        """Return ``time, equity, control``: one row per bar, equity at the closes."""
        kept = ("time", "equity", "control")
        rows = [{name: body[name] for name in kept} for body in self._moments()]
        return table(rows, {"time": "us", "equity": "number", "control": "count"})

    def trades(self) -> pl.DataFrame:
        """Return one row per round trip that has ended; money in quote currency."""
        rows = [trade for body in self._moments() for trade in body["trades"]]
        wanted = {"symbol": "text", "entry_time": "us", "exit_time": "us", "net": "number"}
        return table(rows, wanted)

    def latency(self) -> pl.DataFrame:
        """Return how long each bar took, hop by hop, in microseconds."""
        rows = [{"time": body["time"], **body["latency"]} for body in self._moments()]
        return table(rows, {"time": "us"})

    def evidence(self) -> pl.DataFrame:
        """Return ``time, e_value`` of the newest challenger; without rows: there was none."""
        story = Story()
        story.follow(self.folder)
        rows = [{"time": when, "e_value": value} for when, value in story.evidence]
        return table(rows, {"time": "us", "e_value": "number"})

    def events(self, kind: str | None = None) -> pl.DataFrame:
        """Return what the journal holds: of one kind its bodies, else every event as JSON.

        Parameters
        ----------
        kind : str, optional
            Such as ``swap``, ``control``, ``note`` or ``retrain``.
        """
        found = journal.read(self.folder, kinds=() if kind is None else (kind,))
        if kind is None:
            rows = [
                {"seq": e.seq, "time": e.time, "kind": e.kind, "body": json.dumps(e.body)}
                for e in found
            ]
        else:
            rows = [{"seq": e.seq, "time": e.time, **e.body} for e in found]
        return table(rows, {"seq": "count", "time": "us"})

    def _moments(self) -> list[dict[str, Any]]:
        return [event.body for event in journal.read(self.folder, kinds=("moment",))]

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {'running' if self.running else 'not running'})"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.status().text())}</pre>"


def table(rows: list[dict[str, Any]], least: dict[str, str]) -> pl.DataFrame:
    """Return rows as a table that has the columns `least` even if it is empty."""
    import polars as pl

    from research import schema

    kinds: dict[str, Any] = {
        "us": pl.Int64,
        "number": pl.Float64,
        "count": pl.Int64,
        "text": pl.String,
    }
    names = dict.fromkeys([*least, *(name for row in rows for name in row)])
    columns = {name: [_flat(row.get(name)) for row in rows] for name in names}
    known = {name: kinds[kind] for name, kind in least.items()}
    made = pl.DataFrame(
        [pl.Series(name, values, known.get(name), strict=False) for name, values in columns.items()]
    )
    whole = [name for name in _TIMES if name in made.columns and made[name].dtype == pl.Int64]
    return made.with_columns(pl.col(whole).cast(schema.TIME))


def _flat(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value
