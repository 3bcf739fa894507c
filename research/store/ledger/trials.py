"""What the ledger's rows mean: which trials there were, on which data, and what they found.

A run is written down twice: ``begun`` before it works, with what is about to be tried, and ``done``
after it, with what came out. A trial is one distinct configuration, that is all settings that are a
choice and the forecasts they led to, on one lineage of data. Folds and rolling retrains are parts
of it; running it again adds rows, not a trial. What was begun and never done is a trial too, unless
the same settings were done at another time. Lineages that have given the very same bars are one, so
that no copy of the data begins a new count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from research.errors import UserError
from research.store import atomic
from research.store.cards import digest
from research.store.ledger import chain, heads

NOT_A_CHOICE = (
    "name",
    "question",
    "twin",
    "threads",
    "workers",
    "data.path",
    "data.archive",
    "data.rest",
    "evaluation.draws",
)
_HOW_IT_RUNS = ("jobs.", "live.", "retrain.")
_NOTE: ContextVar[str] = ContextVar("note", default="")
_WHOLE: ContextVar[str] = ContextVar("whole", default="")


@contextmanager
def exploring(note: str) -> Iterator[None]:
    """Write `note` beside every trial of the block, so that they can be told apart later.

    They count like any others. A block inside another has both notes.

    Examples
    --------
    >>> import research
    >>> with research.exploring("does the hour matter?"):  # doctest: +SKIP
    ...     research.report.keep(study)
    """
    if not note.strip():
        raise UserError("exploring: say in a few words what is being tried, found an empty note.")
    token = _NOTE.set(" / ".join(filter(None, [_NOTE.get(), note.strip()])))
    try:
        yield
    finally:
        _NOTE.reset(token)


def noted() -> str:
    """Return the note of the block that this is in; empty outside of any."""
    return _NOTE.get()


@contextmanager
def part_of(forecasts: str) -> Iterator[None]:
    """Count what is judged in the block on a part of some forecasts as the trial of them all.

    Parameters
    ----------
    forecasts : str
        Fingerprint of the whole table.
    """
    token = _WHOLE.set(forecasts)
    try:
        yield
    finally:
        _WHOLE.reset(token)


class Begun(NamedTuple):
    """A trial that was begun, and how to write down that it is done."""

    row: int
    lineage: str
    what: str
    chosen: dict[str, Any]

    def done(self, forecasts: str | None = None, **evidence: Any) -> int:
        """Write down what came out; return the trials on the lineage so far.

        Parameters
        ----------
        forecasts : str, optional
            Fingerprint of what was judged: with other forecasts the same settings are another
            trial.
        **evidence : JSON values
            What was found, and ``returns``, the daily net returns out of sample.
        """
        whole = _WHOLE.get() or forecasts
        known = self.chosen | ({} if whole is None else {"forecasts": whole})
        _append(
            {
                "kind": "done",
                "what": self.what,
                "begun": self.row,
                "lineage": self.lineage,
                "settings": digest(self.chosen),
                "config": digest(known),
                **evidence,
            }
        )
        return count(self.lineage)


def begin(settings: dict[str, Any], *, lineage: str, what: str, **evidence: Any) -> Begun:
    """Write down that a trial begins.

    Parameters
    ----------
    settings : dict of str to value
        Every setting of the study by dotted name; names, paths, threads and how it runs on paper
        do not count.
    lineage : str
        Which data: venue, market and interval.
    what : str
        ``training``, ``evaluation``, ``backtest`` or ``portfolio``.
    **evidence : JSON values
        Fingerprints of code and data, seed and folds, for whoever reads the file later.

    Raises
    ------
    UserError
        If the ledger is damaged, shorter than something has seen it, or cannot be written.
    """
    chosen = {k: v for k, v in settings.items() if _is_choice(k)}
    body = {"kind": "begun", "what": what, "lineage": lineage, "settings": digest(chosen)}
    row, _ = _append({**body, **evidence})
    return Begun(row, lineage, what, chosen)


def _is_choice(key: str) -> bool:
    return key not in NOT_A_CHOICE and not key.startswith(_HOW_IT_RUNS)


def _append(body: dict[str, Any]) -> tuple[int, str]:
    if not chain.read().rows:
        _take_over()
    note = {"note": _NOTE.get()} if _NOTE.get() else {}
    return chain.append({**body, **note})


def _take_over() -> None:
    """Begin with the trials that an earlier version counted in ``data/trials.jsonl``, if any."""
    old = atomic.data_root() / "trials.jsonl"
    with atomic.only_one("ledger-import", wait=True):
        if chain.read().rows or not old.exists():
            return
        found: dict[str, list[str]] = {}
        lines = old.read_text(encoding="utf8").splitlines()
        for row in _readable(lines):
            known = found.setdefault(row["lineage"], [])
            known += [row["config"]] if row["config"] not in known else []
        unread = len(lines) - len(list(_readable(lines)))
        body = {"kind": "imported", "from": old.name, "sha256_of_it": atomic.sha256(old)}
        chain.append({**body, "trials": found, "unreadable": unread})


def _readable(lines: list[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # cut off by a crash: counted as unreadable
            continue
        if isinstance(row, dict) and {"lineage", "config"} <= row.keys():
            yield row


class Known(NamedTuple):
    """One trial as far as the ledger tells."""

    config: str
    lineage: str
    settings: str
    found: dict[str, Any]
    """The newest of everything that its ``done`` rows say."""
    note: str = ""
    begun: int = 0
    """Rows that say that these settings began, reruns among them."""
    done: int = 0


_FACTS = ("kind", "what", "begun", "lineage", "settings", "config", "note", "n", "prev", "time")


class _Fold:
    """The trials of one file, taken in row by row as it grows."""

    def __init__(self) -> None:
        self.rows = 0
        self.trials: dict[str, dict[str, Known]] = {}
        self.settings: dict[str, set[str]] = {}
        """By lineage, the settings that were done with some forecasts."""
        self.open: dict[str, dict[str, Known]] = {}
        """By lineage, what was begun, by settings."""
        self.first: dict[str, str] = {}
        """By fingerprint of bars, the lineage that gave them first."""
        self.kin: dict[str, list[str]] = {}
        """By lineage, all that have given the same bars, itself among them."""

    def take(self, row: dict[str, Any]) -> None:
        self.rows += 1
        if row["kind"] == "imported":
            for lineage, configs in row["trials"].items():
                mine = self.trials.setdefault(lineage, {})
                for config in configs:
                    mine[config] = Known(config, lineage, "", {}, "imported", 1, 1)
        elif row["kind"] == "begun":
            self._begun(row)
        elif row["kind"] == "done":
            self._done(row)

    def _begun(self, row: dict[str, Any]) -> None:
        mine, key = self.open.setdefault(row["lineage"], {}), row["settings"]
        known = mine.get(key) or Known(key, row["lineage"], key, {})
        mine[key] = known._replace(begun=known.begun + 1, note=_both(known, row))
        if "data" in row:
            self._join(row["lineage"], row["data"])

    def _join(self, lineage: str, data: str) -> None:
        mine = self.kin.setdefault(lineage, [lineage])
        theirs = self.kin[self.first.setdefault(data, lineage)]
        if theirs is not mine:
            theirs += mine
            self.kin.update(dict.fromkeys(mine, theirs))

    def _done(self, row: dict[str, Any]) -> None:
        mine, key = self.trials.setdefault(row["lineage"], {}), row["config"]
        known = mine.get(key) or Known(key, row["lineage"], row["settings"], {})
        found = known.found | {k: v for k, v in row.items() if k not in _FACTS}
        mine[key] = known._replace(done=known.done + 1, note=_both(known, row), found=found)
        self.settings.setdefault(row["lineage"], set()).add(row["settings"])

    def of(self, lineage: str, *, kin: bool = True) -> list[Known]:
        """Return the trials of a lineage and its kin: those done, then those never done."""
        done, opened = dict[str, Known](), dict[str, Known]()
        finished: set[str] = set()
        for name in [lineage, *(self.kin.get(lineage, []) if kin else [])]:
            for mine, theirs in ((done, self.trials), (opened, self.open)):
                mine.update({k: v for k, v in theirs.get(name, {}).items() if k not in mine})
            finished |= self.settings.get(name, set())
        tried = [
            known._replace(begun=opened[known.settings].begun) if known.settings else known
            for known in done.values()
        ]
        return [*tried, *(known for key, known in opened.items() if key not in finished)]


def _both(known: Known, row: dict[str, Any]) -> str:
    notes = [*filter(None, known.note.split("; ")), *filter(None, [row.get("note")])]
    return "; ".join(dict.fromkeys(notes))


_folds: dict[Path, tuple[chain.Chain, _Fold]] = {}


def _folded() -> _Fold:
    """Return the trials of the ledger, with the rows that are new since the last call."""
    with chain.LOCK:
        now = chain.read()
        before, fold = _folds.get(now.path, (None, _Fold()))
        if before is not now:  # the file was read anew
            fold = _Fold()
        for row in now.rows[fold.rows :]:
            fold.take(row)
        _folds[now.path] = (now, fold)
        return fold


def count(lineage: str) -> int:
    """Return how many distinct configurations were tried on `lineage`."""
    return len(_folded().of(lineage))


def known(lineage: str | None = None) -> list[Known]:
    """Return the trials of a lineage and its kin, or of all, as they were first done."""
    fold = _folded()
    if lineage:
        return fold.of(lineage)
    names = dict.fromkeys([*fold.trials, *fold.open])
    return [trial for name in names for trial in fold.of(name, kin=False)]


def head(*, home: bool = False) -> dict[str, Any]:
    """Return the ledger's length and the hash of its last row, for a card to carry.

    Parameters
    ----------
    home : bool
        Name the folder it lies in as well: for what lies outside of it, such as a report.
    """
    now = chain.read()
    named = {"home": heads.home()} if home else {}
    return {"rows": len(now.rows), "hash": now.last, **named}
