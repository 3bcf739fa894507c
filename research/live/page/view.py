"""What the page shows, as one small piece of JSON: the run's status, curves thinned to pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from research.errors import UserError
from research.live import folders, journal, log
from research.live.status import process, told
from research.live.story import Story

CURVE = 400
"""Points of a curve."""
_WATCHED = ("journal.lock", "heartbeat.json", "journal.sqlite", "journal.sqlite-wal", "KILL")


class View:
    """One run, looked at again and again.

    Parameters
    ----------
    folder : Path
        The run's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._story, self._damage = folder, Story(), ""
        self._secrets = log.Secrets(hidden(folder))
        self._checked: tuple[int | None, int] | None = None

    def news(self) -> tuple[Any, ...]:
        """Return what changes when there is anything new to see."""
        return tuple(_mark(self._folder / name) for name in _WATCHED)

    def now(self) -> dict[str, Any]:
        """Return what is to be shown, without secrets."""
        self._look()
        story = self._story
        found = told(self._folder, story, damage=self._damage)
        shown = found.to_dict()
        shown["positions"] = [
            {"symbol": symbol, "size": size, "price": story.prices.get(symbol)}
            for symbol, size in sorted(story.positions.items())
        ]
        shown["alarms"] = shown["alarms"][::-1]
        shown["decisions"] = [*story.decisions][::-1]
        shown["model_since"] = story.since
        shown["seq"] = story.seq
        curves = {"curve": thin(story.equity), "evidence": thin(story.evidence)}
        return log.redacted(shown, self._secrets) | curves

    def _look(self) -> None:
        """Follow the journal; check all of it once for each process that has had the run."""
        journaled = self._folder / "journal.sqlite"
        try:
            found = (process(self._folder), journaled.stat().st_ino)
        except FileNotFoundError:
            return
        if found != self._checked:
            self._story, self._damage = Story(), ""
        try:
            if found != self._checked and journal.read(self._folder, last=1):
                self._checked = found
                journal.verify(self._folder)
            if not self._damage:
                self._story.follow(self._folder)
        except UserError as error:
            self._damage = str(error)
        except (KeyError, TypeError, ValueError) as error:
            self._damage = f"the journal is of another version: {type(error).__name__} {error}"


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def thin(points: Sequence[tuple[int, float]], most: int = CURVE) -> list[list[float]]:
    """Return a curve of at most about `most` points: time in milliseconds, and value.

    Of each stretch the lowest and the highest point are kept, so that no dip goes unseen.

    >>> thin([(1000, 5.0), (2000, 6.0)])
    [[1, 5.0], [2, 6.0]]
    >>> len(thin([(n * 1000, float(n == 777)) for n in range(10_000)])) <= CURVE + 2
    True
    """
    if len(points) <= most:
        return [[us // 1000, value] for us, value in points]
    width = -(-len(points) // (most // 2))
    kept = {0, len(points) - 1}
    for begin in range(0, len(points), width):
        stretch = range(begin, min(begin + width, len(points)))
        kept |= {min(stretch, key=lambda n: points[n][1]), max(stretch, key=lambda n: points[n][1])}
    return [[points[n][0] // 1000, points[n][1]] for n in sorted(kept)]


def hidden(folder: Path) -> list[str]:
    """Return what of a run's settings must not be seen: the address that alerts go to."""
    try:
        named = folders.facts(folder).get("study", {}).get("live", {}).get("webhook")
    except UserError:
        return []
    if not named:
        return []
    return [os.environ.get(named[1:], "")] if named.startswith("$") else [named]
