"""Versions of a study's models: which one trades, which one is tried, and why it came to that.

A folder for each version, in the learner's own format with cards; one small file, replaced whole,
says which version is champion. That file is the moment of a promotion: a reader or a kill meets
the old champion or the new one, never none. `promotions.jsonl` only grows, and the pointer holds
its own newest line, so a kill between the two loses nothing. One process writes, any may read.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from research.errors import UserError
from research.models import contract, learners
from research.models.registry import files
from research.models.registry.ledger import Ledger

CARD = "version.json"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}-[0-9a-f]{16}")


@dataclass(frozen=True)
class Registry:
    """The versions in one folder.

    Attributes
    ----------
    folder : Path
        Made when the first version is added.
    own_folder : Path, optional
        Where the module of a user's own learner lies.
    """

    folder: Path
    own_folder: Path | None = None

    # -- versions ------------------------------------------------------------------------------

    def add(self, found: dict[str, contract.Model], facts: dict[str, Any]) -> str:
        """Store models as one version.

        Parameters
        ----------
        found : dict of str to Model
            By symbol, or under ``""`` one for all.
        facts : dict
            What is to be known of them: JSON without NaN, such as when and why they were trained.

        Returns
        -------
        str
            The version's id: the learner, and the fingerprint of models and facts together. The
            same content has the same id and is stored once; no other content can have it.

        Raises
        ------
        UserError
            If there is no model, one cannot be stored (a user's own without ``to_text``), a fact
            is not JSON, or the disk refuses.
        """
        for model in found.values():
            if model.core.file is None:
                raise UserError(
                    f"registry: a model of {model.card['learner']!r} cannot be stored. Give your "
                    "class to_text() and from_text(text)."
                )
        if not found:
            raise UserError("registry: a version needs a model, found none.")
        with files.writing(self.folder):
            return self._add(found, facts)

    def _add(self, found: dict[str, contract.Model], facts: dict[str, Any]) -> str:
        part = self.folder / f".part-{os.getpid()}"
        shutil.rmtree(part, ignore_errors=True)
        for symbol, model in found.items():
            model.save(part / files.place(symbol))
        cards = {
            symbol: files.sha(part / files.place(symbol) / contract.CARD)
            for symbol in sorted(found)
        }
        learner = next(iter(found.values())).card["learner"]
        text = files.text({"facts": facts, "learner": learner, "cards": cards}, indent=1) + "\n"
        name = f"{re.sub('[^A-Za-z0-9_.-]', '.', learner)[:60]}-{files.digest(text)}"
        files.write(part / CARD, text)
        place = self.folder / name
        if place.exists():
            if self._is_whole(name):  # the same bytes, for the name is their fingerprint
                shutil.rmtree(part)
                return name
            files.remove(place)
        part.rename(place)
        files.sync(self.folder)
        return name

    def _is_whole(self, version: str) -> bool:
        try:
            return bool(self.read(version))
        except UserError:
            return False

    def read(self, version: str, **expected: Any) -> dict[str, contract.Model]:
        """Read the models of a version, checked against their cards and the version's own.

        Parameters
        ----------
        version : str
            An id that `add` gave.
        **expected
            What each model's card must say, such as ``features=`` the card of the feature set
            that will be handed to it, or ``horizon_bars=10``.

        Returns
        -------
        dict of str to Model
            As they were added: the same predictions, bit for bit.

        Raises
        ------
        UserError
            If there is no such version, a byte of it has changed, or a card says otherwise.
        """
        cards = self.card(version)["cards"]
        found = {}
        for symbol, sha in cards.items():
            place = self._place(version) / files.place(symbol)
            card = place / contract.CARD
            if not card.is_file() or files.sha(card) != sha:
                raise _damaged(version, card)
            found[symbol] = learners.load(place, folder=self.own_folder)
            _refuse_other(version, found[symbol].card, expected)
        return found

    def card(self, version: str) -> dict[str, Any]:
        """Return ``facts``, ``learner`` and the fingerprints of the models' cards.

        Raises
        ------
        UserError
            If there is no such version, or its card is not the one its id was made of.
        """
        path = self._place(version) / CARD
        try:
            text = path.read_text(encoding="utf8")
        except (OSError, ValueError):
            known = ", ".join(self.versions()) or "none"
            raise UserError(f"registry: no version {version!r}. Here: {known}.") from None
        if files.digest(text) != version.rpartition("-")[2]:
            raise _damaged(version, path)
        card: dict[str, Any] = json.loads(text)
        return card

    def versions(self) -> list[str]:
        """List the stored versions, in the order in which they were added."""
        places = [path.parent for path in self.folder.glob(f"*/{CARD}")]
        whole = [place for place in places if not place.name.startswith(".")]
        return [p.name for p in sorted(whole, key=lambda p: ((p / CARD).stat().st_mtime_ns, p))]

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.folder)

    def _place(self, version: str) -> Path:
        if not _NAME.fullmatch(version):
            raise UserError(f"registry: {version[:80]!r} is not the id of a version.")
        return self.folder / version

    # -- who is in force -----------------------------------------------------------------------

    @property
    def champion(self) -> str | None:
        """The version in force; None before the first promotion."""
        name: str | None = self._ledger.pointer()["champion"]
        return name

    @property
    def challenger(self) -> str | None:
        """The version that is tried beside it."""
        name: str | None = self._ledger.pointer()["challenger"]
        return name

    def challenge(self, version: str | None) -> None:
        """Try `version` beside the champion; None: nobody is tried any more.

        Raises
        ------
        UserError
            If it cannot be read, or is the champion already.
        """
        pointer = self._ledger.pointer()
        if version is not None:
            self.read(version)
            if version == pointer["champion"]:
                raise UserError(f"registry: {version} is the champion already.")
        self._ledger.point({**pointer, "challenger": version})

    def promote(self, version: str, *, at: int, why: str, evidence: dict[str, Any]) -> None:
        """Make `version` the champion; a challenger it was until now is one no more.

        Parameters
        ----------
        version : str
            Read and checked first: a damaged one never becomes champion.
        at : int
            From when on, microseconds since 1970 UTC.
        why : str
            One word or line for the history.
        evidence : dict
            What spoke for it: JSON without NaN.

        Raises
        ------
        UserError
            If it cannot be read, or is the champion already.
        """
        self.read(version)
        pointer = self._ledger.pointer()
        was = pointer["champion"]
        if version == was:
            raise UserError(f"registry: {version} is the champion already.")
        before = [name for name in self._way_back() if name != version]
        before += [was] if was else []
        self._ledger.swap(version, before, at=at, why=why, evidence=evidence)

    def rollback(self, *, at: int, why: str = "rollback") -> str:
        """Make the champion before the present one champion again; twice goes back two.

        Returns
        -------
        str
            Who it is.

        Raises
        ------
        UserError
            If there was none before, or it is not stored any more.
        """
        before = self._way_back()
        if not before:
            raise UserError("registry: no earlier champion is stored; there is no way back.")
        self.read(before[-1])
        self._ledger.swap(before[-1], before[:-1], at=at, why=why, evidence={})
        return str(before[-1])

    def _way_back(self) -> list[str]:
        """Return earlier champions that are still stored, the newest last."""
        return [n for n in self._ledger.pointer()["before"] if self._place(n).is_dir()]

    def history(self) -> list[dict[str, Any]]:
        """Return every promotion and rollback: ``number, model, was, at, why, evidence``."""
        return self._ledger.history()

    def prune(self, keep: int, *, hold: Iterable[str] = ()) -> list[str]:
        """Delete old versions but the newest `keep` and those in use; return who is gone.

        In use are the champion, the challenger, the one before the champion (the way back) and
        those in `hold`.
        """
        pointer = self._ledger.pointer()
        used = {pointer["champion"], pointer["challenger"], *self._way_back()[-1:], *hold}
        rest = [name for name in self.versions() if name not in used]
        gone = rest[: max(len(rest) - keep, 0)]
        with files.writing(self.folder):
            for name in gone:
                files.remove(self._place(name))
            for left in [*self.folder.glob(".gone-*"), *self.folder.glob(".part-*")]:
                shutil.rmtree(left)
        return gone

    # -- to look at ----------------------------------------------------------------------------

    def table(self) -> pl.DataFrame:
        """Return one row per version, the oldest first.

        Returns
        -------
        pl.DataFrame
            ``version, state`` (champion, challenger, before, damaged, or empty), ``learner``,
            ``symbols`` (null: one model for all), ``trained_from, trained_to, rows``, and
            ``since``: when it last became champion, null if never.
        """
        pointer, since = self._ledger.pointer(), {r["model"]: r["at"] for r in self.history()}
        states = dict.fromkeys(pointer["before"], "before")
        states |= {pointer[word]: word for word in ("challenger", "champion") if pointer[word]}
        rows = [
            {"version": name, "state": states.get(name, ""), "since": _utc(since.get(name))}
            | self._summary(name)
            for name in self.versions()
        ]
        return pl.DataFrame(rows, schema=_TABLE)

    def _summary(self, version: str) -> dict[str, Any]:
        try:
            found = self.read(version)
        except UserError:
            return {"state": "damaged"}
        card = next(iter(found.values())).card
        return {
            "learner": card["learner"],
            "symbols": None if "" in found else len(found),
            "trained_from": card.get("fold", {}).get("train_start"),
            "trained_to": card.get("fold", {}).get("train_end"),
            "rows": sum(model.card["rows"] for model in found.values()),
        }

    def _repr_html_(self) -> str:
        rows = [[*_TABLE], *([*row] for row in self.table().iter_rows())]
        cells = ["".join(f"<td style='text-align:left'>{_cell(v)}</td>" for v in r) for r in rows]
        return f"<b>registry</b><table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


_TABLE: dict[str, Any] = {
    "version": pl.String,
    "state": pl.String,
    "learner": pl.String,
    "symbols": pl.Int64,
    "trained_from": pl.String,
    "trained_to": pl.String,
    "rows": pl.Int64,
    "since": pl.Datetime("us", "UTC"),
}


def _cell(value: Any) -> str:
    return "" if value is None else html.escape(str(value))


def _utc(micros: int | None) -> datetime | None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return None if micros is None else epoch + micros * timedelta(microseconds=1)


def _damaged(version: str, path: Path) -> UserError:
    return UserError(
        f"registry: {path} is not what was stored as {version}: changed or damaged. "
        "Roll back to another version, or train anew."
    )


def _refuse_other(version: str, card: dict[str, Any], expected: dict[str, Any]) -> None:
    expected = json.loads(files.text(expected))  # as a card reads back: tuples are lists
    for key, value in expected.items():
        if card.get(key) != value:
            raise UserError(
                f"registry: {version} has {key} {_short(card.get(key))}, but {_short(value)} is "
                "what it would be handed. Train it anew."
            )


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 120 else f"{shown[:117]}..."
