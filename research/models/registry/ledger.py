"""Which version is in force: one small file replaced whole, and a history that only grows.

Replacing the pointer is the moment of a promotion: a reader or a kill meets the old champion or
the new one, never none. The pointer holds the newest line of the history itself, so a kill between
the two loses nothing: the next writer brings the line in.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from research.errors import UserError
from research.models.registry import files

POINTER = "pointer.json"
HISTORY = "promotions.jsonl"
_NONE: dict[str, Any] = {"champion": None, "challenger": None, "before": [], "record": None}


@dataclass(frozen=True)
class Ledger:
    """Pointer and history in one folder."""

    folder: Path

    def pointer(self) -> dict[str, Any]:
        """Return ``champion, challenger``, who was champion ``before`` (newest last), ``record``.

        Raises
        ------
        UserError
            If the file is not what was written.
        """
        path = self.folder / POINTER
        try:
            found = json.loads(path.read_text(encoding="utf8"))
        except FileNotFoundError:
            return dict(_NONE)
        except (OSError, ValueError) as error:
            raise UserError(f"registry: {path} cannot be read: {error}.") from error
        if not isinstance(found, dict) or found.keys() != _NONE.keys():
            raise UserError(
                f"registry: {path} is not what was written. Delete it and promote a version anew."
            )
        return found

    def point(self, pointer: dict[str, Any]) -> None:
        """Replace the pointer."""
        with files.writing(self.folder):
            files.write(self.folder / POINTER, files.text(pointer, indent=1) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """Return every change of champion: ``number, model, was, at, why, evidence``."""
        lines, newest = self._lines(), self.pointer()["record"]
        if newest is not None and newest["number"] == len(lines) + 1:
            lines.append(newest)
        return lines

    def swap(
        self, version: str, before: list[str], *, at: int, why: str, evidence: dict[str, Any]
    ) -> None:
        """Make `version` the champion, and write down who was, when, why and on what evidence."""
        self._settle()
        pointer = self.pointer()
        challenger = pointer["challenger"]
        record = {
            "number": len(self._lines()) + 1,
            "model": version,
            "was": pointer["champion"],
            "at": at,
            "why": why,
            "evidence": evidence,
        }
        self.point(
            {
                "champion": version,
                "challenger": None if challenger == version else challenger,
                "before": before,
                "record": record,
            }
        )
        self._settle()

    def _settle(self) -> None:
        """Bring the pointer's newest record into the history, behind whole lines alone."""
        known, lines = self.history(), self._lines()
        whole = "".join(files.text(line) + "\n" for line in lines).encode()
        with files.writing(self.folder), (self.folder / HISTORY).open("ab") as file:
            if file.tell() != len(whole):
                file.truncate(len(whole))  # what a kill tore; the record is still in the pointer
            file.write("".join(files.text(line) + "\n" for line in known[len(lines) :]).encode())
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> list[dict[str, Any]]:
        path = self.folder / HISTORY
        text = path.read_bytes() if path.exists() else b""
        found: list[dict[str, Any]] = []
        for number, line in enumerate(text.split(b"\n")[:-1], 1):
            record = _record(line)
            if record.get("number") != number:
                raise UserError(
                    f"registry: line {number} of {path} is not what was written. Restore it from "
                    "a copy; the champion itself stands in the pointer."
                )
            found.append(record)
        return found


def _record(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
