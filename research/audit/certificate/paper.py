"""The certificate itself: what was found of each feature, as a table, as JSON and in a cell."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from research.audit.certificate.stride import SAMPLED

COLUMNS: dict[str, Any] = {
    "feature": pl.String,
    "verdict": pl.String,
    "checked": pl.Int64,
    "mismatches": pl.Int64,
    "method": pl.String,
    "stride": pl.Int64,
    "memory": pl.Int64,
    "warmup": pl.Int64,
    "declared": pl.Int64,
    "moved": pl.Boolean,
    "far": pl.Int64,
    "first": pl.String,
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whether any feature looks ahead, and how that was found out.

    Attributes
    ----------
    name : str
        What was certified.
    bars : int
        Rows of the sample.
    table : pl.DataFrame
        One row per feature. verdict: ``causal``, ``looks ahead``, or ``not shown`` where nothing
        moved, nothing was there to compare, or not every bar was compared; checked: bars at which
        the value was compared after changes that begin at the very next bar; mismatches: bars at
        which it moved (a column that moved at more than 64 is not tried further); method: ``bit
        for bit``, ``to 1e-9`` of its spread (running sums keep the last bits of what has left
        them), ``bar by bar``, or ``sampled n of m`` where it never forgets and only n of the m bars
        that have a next one were checked; stride: bars from one change to the next, 0 where it is
        made anew for each; memory: bars after which a change is forgotten to the
        last bit; warmup: bars until it is forgotten to 1e-9 of the spread, as a model waits;
        declared: bars that the code says it looks back, null where it says none; moved: whether
        any change moved it later; far: comparisons before full-history cuts; first: the first
        value that moved.
    guards : dict
        Findings about the whole: streaming, symbols, gaps, availability, cuts.
    first : dict or None
        The smallest counter-example: feature, symbol, time, before, after, ahead (bars from there
        to the nearest later bar that moves it), reach (to the farthest), column, note.
    fingerprints : dict of str to str
        Of the features, the bars and the code of this certificate.
    seconds : float
        How long it took.
    """

    name: str
    bars: int
    table: pl.DataFrame
    guards: dict[str, Any]
    first: dict[str, Any] | None
    fingerprints: dict[str, str]
    comparisons: int
    cuts: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every feature is causal, shown at every bar, and every guard holds."""
        causal = bool(self.table.height) and bool((self.table["verdict"] == "causal").all())
        return causal and all(guard["ok"] is not False for guard in self.guards.values())

    @property
    def verdict(self) -> str:
        """Return ``causal``, ``looks ahead``, ``broken`` (a guard's finding) or ``not shown``."""
        found = self.table["verdict"]
        broken = any(guard["ok"] is False for guard in self.guards.values())
        if (found == "looks ahead").any() or broken:
            return "looks ahead" if (found == "looks ahead").any() else "broken"
        return "causal" if self.ok else "not shown"

    def found(self) -> dict[str, Any]:
        """Return all of it as plain values, ready for JSON."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "features": self.table.height,
            "bars": self.bars,
            "checked": int(self.table["checked"].sum()),
            "mismatches": int(self.table["mismatches"].sum()),
            "comparisons": self.comparisons,
            "cuts": self.cuts,
            "first": self.first,
            "guards": self.guards,
            "fingerprints": self.fingerprints,
            "seconds": round(self.seconds, 3),
            "table": self.table.to_dicts(),
        }

    def to_json(self) -> str:
        """Return `found` as JSON text."""
        return json.dumps(self.found(), indent=1, allow_nan=False)

    def save(self, folder: Path | str) -> Path:
        """Write ``certificate.json`` into a folder and return its path."""
        from research.store import atomic

        path = Path(folder) / "certificate.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(path, self.found())
        return path

    def _repr_html_(self) -> str:
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in summary(self))
        return f"<b>Certificate of {html.escape(self.name)}</b>{lines}{self.table._repr_html_()}"


def summary(certificate: Certificate | dict[str, Any]) -> list[str]:
    """Return a certificate in a few lines, for a page or a terminal.

    Parameters
    ----------
    certificate : Certificate or dict
        Or what its `found` gave.
    """
    found = certificate.found() if isinstance(certificate, Certificate) else certificate
    lines = [
        f"{found['name']}: {found['verdict']}. {found['features']} features at {found['bars']:,} "
        f"bars: {found['checked']:,} checks after a change that begins at the very next bar, "
        f"{found['mismatches']:,} mismatches."
    ]
    if found["first"]:
        lines.append(example(found["first"]))
    lines += [_sampled(row) for row in found["table"] if row["method"].startswith(SAMPLED)]
    lines += [f"{name}: {guard['note']}" for name, guard in found["guards"].items()]
    return lines


def _sampled(row: dict[str, Any]) -> str:
    return (
        f"{row['feature']}: {row['verdict']}, {row['method']} bars. It never forgets, so that each "
        "bar costs its whole history; certify fewer bars to check every one."
    )


def example(first: dict[str, Any]) -> str:
    """Return a counter-example as a sentence."""
    return (
        f"{first['feature']} at {first['symbol']} {first['time']} looks {first['ahead']} bar(s) "
        f"ahead: it is {first['before']}, and {first['after']} {first['note']}."
    )
