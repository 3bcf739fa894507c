"""Paper trading from a notebook: start a run, watch it in a cell, stop it.

A run is a process of its own in a session of its own: neither an interrupted cell nor a notebook
that is closed ends it. What a cell sees is read from the run's folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from research.errors import UserError
from research.live import folders
from research.live.record import CHILDREN, Run
from research.live.story import Story

if TYPE_CHECKING:
    from research.live.proof import Parity
    from research.study import Study

__all__ = ["Run", "open", "parity", "runs", "start", "stop", "watch"]

SAID = "runner.log"
REDRAW = 1.0
"""Real seconds between two drawings, at least."""
_ROOT = Path(__file__).resolve().parents[2]


def runs() -> list[str]:
    """Return the names of all paper runs, the newest last."""
    return folders.runs()


def open(run: str | Run | None = None) -> Run:
    """Return a run by its name; without one the newest.

    Raises
    ------
    UserError
        If there is no such run.
    """
    return run if isinstance(run, Run) else Run(folders.find(run))


def start(
    study: str | Study,
    options: dict[str, Any] | None = None,
    *,
    span: str | None = None,
    speed: float = 60.0,
    dry_run: bool = False,
) -> Run:
    """Begin to trade a study on paper, in a process of its own, and return at once.

    Parameters
    ----------
    study : str or Study
        Its name, or one that was read.
    options : dict, optional
        Dotted study options.
    span : str, optional
        Market time to trade, such as ``"24h"``; absent: until stopped, or the market ends.
    speed : float
        Of a simulated market: its seconds in a real one, an upper bound; 0: no bound.
    dry_run : bool
        Decide and journal, but fill nothing.

    Raises
    ------
    UserError
        If the study or an option is none, or it asks for real orders.
    """
    from research import pipeline
    from research.live import session

    if isinstance(study, str):
        chosen = pipeline.read(study, options or {})
    else:
        chosen = study.with_options(options) if options else study
    if chosen.live.mode != "paper":
        raise UserError("live.start: trades on paper alone; the study's live.mode must be 'paper'.")
    folder = session.create(chosen)
    words = ["--continue", folder.name, "--speed", repr(float(speed))]
    words += ["--for", span] if span else []
    _spawn(folder, words + (["--dry-run"] if dry_run else []))
    return Run(folder)


def _spawn(folder: Path, words: list[str]) -> None:
    """Start the runner; a thread waits for its end, so that it does not stay as a zombie."""
    with (folder / SAID).open("ab") as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "research", "live", *words],
            cwd=_ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    folders.runs_it(folder, child.pid)
    CHILDREN[folder.name] = child
    Thread(target=child.wait, name=f"wait {folder.name}", daemon=True).start()


def stop(run: str | Run | None = None, *, seconds: float = 30.0) -> Run:
    """End a run after the bar in hand and return it once its process is gone.

    Parameters
    ----------
    run : str or Run, optional
        Absent: the newest.
    seconds : float
        Real time that it is given.

    Raises
    ------
    UserError
        If it has not ended by then; it goes on trading until it reads that it is to stop.
    """
    found = open(run)
    if not found.running:
        return found
    folders.send(found.folder, "stop", why="told to in a notebook")
    until = time.monotonic() + seconds
    while found.running:
        if time.monotonic() > until:
            raise UserError(f"live.stop: run {found.name} has not ended after {seconds:g} s.")
        time.sleep(0.05)
    return found


def parity(run: str | Run | None = None) -> Parity:
    """Replay a run by the notebooks' way and account for every difference."""
    from research.live.proof import check

    return check(open(run).folder)


# -- in a cell -------------------------------------------------------------------------------------


def watch(run: str | Run | None = None, *, until_done: bool = True, every: float = REDRAW) -> Run:
    """Draw a run in the cell, again and again, until it has ended or the cell is interrupted.

    Interrupting the cell ends the drawing, never the trading.

    Parameters
    ----------
    run : str or Run, optional
        Absent: the newest.
    until_done : bool
        False: draw once.
    every : float
        Real seconds between two drawings, at least 1.

    Raises
    ------
    UserError
        If the run ended before its first bar: the message says why.
    """
    from research.live.cell import Screen

    found, screen, story = open(run), Screen(), Story()
    try:
        while True:
            running = found.running
            story.follow(found.folder)
            screen.show(found, story)
            if not running or not until_done:
                break
            _pause(found, max(every, REDRAW))
    except KeyboardInterrupt:
        return found
    if not running and not story.bars:
        raise UserError(f"run {found.name} ended before its first bar: {last_words(found.folder)}")
    return found


def _pause(run: Run, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and run.running:
        time.sleep(0.05)


def last_words(folder: Path) -> str:
    """Return the line in which a runner said why it ended, from what it wrote to its terminal."""
    try:
        lines = (folder / SAID).read_text(encoding="utf8", errors="replace").splitlines()
    except FileNotFoundError:
        return "it said nothing"
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if line.startswith("error:")]
    return (errors or said or ["it said nothing"])[-1]
