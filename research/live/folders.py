"""Run folders: where a paper run lives, who runs it, and how one talks to it from outside.

A run's folder is ``data/live/<run>/``. One process at a time may run it (`hold`). Commands are
files: they are put there in one step, and stay until the runner says that it has done them, so a
command is neither half read nor lost by a crash.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from research.errors import UserError, nearest, the_one
from research.store import atomic

COMMANDS = ("kill", "resume", "rollback", "stop")
"""What a runner can be told by a file."""

_TRIES, _PAUSE = 10, 0.02  # a second runner leaves well within a second
_WIDTH = 256  # bytes of the line that names a process


def root() -> Path:
    """Return the folder of all paper runs."""
    return atomic.data_root() / "live"


def run_id(study: str, now: int) -> str:
    """Return a new run's name: the time in UTC to the minute, its study and four random digits.

    >>> run_id("demo", 1_795_212_900_000_000)[:-4]
    '2026-11-20_2215_demo_'
    """
    moment = datetime.fromtimestamp(now // 1_000_000, UTC)
    return f"{moment:%Y-%m-%d_%H%M}_{study}_{secrets.token_hex(2)}"


def create(study: str, now: int, facts: dict[str, Any]) -> Path:
    """Make the folder of a new run and write `facts` to its ``run.json``; this process runs it.

    Folders of runs that ended before they began are cleared away.

    Parameters
    ----------
    study : str
        Name of the study that runs.
    now : int
        Real time, in microseconds since 1970 UTC.
    facts : dict
        Settings, feed and mode, as JSON can say them.

    Raises
    ------
    UserError
        If the disk refuses.
    """
    _clear()
    while True:
        folder = root() / run_id(study, now)
        with atomic.writing(folder):
            try:
                folder.mkdir(parents=True)
            except FileExistsError:  # drawn before in this very minute
                continue
            (folder / "commands").mkdir()
        runs_it(folder, os.getpid())
        atomic.write_json(folder / "run.json", {"run": folder.name, "created": now, **facts})
        return folder


def facts(folder: Path) -> dict[str, Any]:
    """Return what ``run.json`` says.

    Raises
    ------
    UserError
        If it is not there or cannot be read.
    """
    path = folder / "run.json"
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"run {folder.name}: run.json cannot be read ({error}). Start a new run."
        ) from error


def remaining(folder: Path, last: int, length: int | None) -> int | None:
    """Return the market time that a sitting trades, in microseconds; None: no bound.

    A time that is asked for is remembered: a run that goes on without one trades what is left of
    it, and one that has traded it all has no bound.

    Parameters
    ----------
    folder : Path
        The run's.
    last : int
        When the run's last bar closed, or when it begins, in microseconds since 1970 UTC.
    length : int, optional
        Asked for now, in microseconds.
    """
    known = facts(folder)
    if length is not None:
        atomic.write_json(folder / "run.json", {**known, "until": last + length})
        return length
    until = known.get("until")
    return until - last if until is not None and until > last else None


def runs() -> list[str]:
    """Return the names of all paper runs, the newest last.

    A folder without an event in its journal is a run only while a process prepares it.
    """
    made = (path for path in root().glob("*/run.json") if not never_began(path.parent))
    return [path.parent.name for path in sorted(made, key=_age)]


def never_began(folder: Path) -> bool:
    """Tell whether a run ended while it was prepared: nothing was decided, nobody is at it."""
    from research.live.journal import files

    return files.empty(folder) and runner(folder) is None


def _clear() -> None:
    """Take away what runs left that were killed while they were prepared."""
    for path in root().glob("*/run.json"):
        if never_began(path.parent):
            with suppress(BlockingIOError, UserError), hold(path.parent):
                shutil.rmtree(path.parent, ignore_errors=True)


def _age(path: Path) -> tuple[str, int, str]:
    return path.parent.name[:15], path.stat().st_mtime_ns, path.parent.name


def find(run: str | None = None) -> Path:
    """Return the folder of a run by its name, or by a part of it that fits it alone.

    Without a name, or for ``latest``, it is the newest.

    Raises
    ------
    UserError
        If there is no such run, the part fits several, or the run ended before it began.
    """
    known = runs()[::-1]
    if run and run not in known and (root() / run / "run.json").exists():
        raise UserError(f"run {run}: was stopped before it began. Start a new one.")
    if not known:
        raise UserError("paper runs: there is none yet. Start one with ./run live --study demo.")
    if run in (None, "latest"):
        return root() / known[0]
    return root() / the_one(str(run), known, what="paper run")


# -- who runs it ------------------------------------------------------------------------------


def hold(folder: Path) -> IO[str]:
    """Take the run for this process until the returned file is closed or the process ends.

    Raises
    ------
    BlockingIOError
        Within a second, if another process has it; the command line then leaves with exit code 75.
    UserError
        If the folder cannot be written to.
    """
    path = folder / "journal.lock"
    with atomic.writing(path):
        handle = path.open("a+")
    try:
        _flock(handle)
    except BlockingIOError:
        who = _owner(folder).get("pid", "unknown")
        handle.close()
        raise BlockingIOError(f"run {folder.name} is already running (process {who})") from None
    _sign(path, os.getpid())
    return handle


def runs_it(folder: Path, pid: int) -> None:
    """Say that process `pid` is about to run this folder; it keeps others out once it can `hold`.

    Raises
    ------
    UserError
        If the folder cannot be written to.
    """
    _sign(folder / "journal.lock", pid)


def _sign(path: Path, pid: int) -> None:
    """Name a process, in one piece over what stood there: whoever looks meanwhile finds either."""
    line = json.dumps(_process(pid)).ljust(_WIDTH).encode()
    with atomic.writing(path):
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.write(file, line)
        finally:
            os.close(file)


def _process(pid: int) -> dict[str, Any]:
    return {"pid": pid, "boot": _boot(), "born": _born(pid)}


def _flock(handle: IO[str]) -> None:
    if os.name != "posix":  # Windows has no flock: there two runs may work at once
        return
    import fcntl

    for left in reversed(range(_TRIES)):
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
            time.sleep(_PAUSE)


def runner(folder: Path) -> int | None:
    """Return the id of the process that runs this folder now; None where there is none."""
    owner = _owner(folder)
    pid = owner.get("pid")
    alive = pid is not None and owner == _process(pid)
    return pid if alive else None


def _owner(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "journal.lock").read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}


def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _born(pid: int) -> str | None:
    """When a process began, by the kernel's own count: ids are used again, this is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


# -- what is said to it -----------------------------------------------------------------------


class Command(NamedTuple):
    """Something the runner has been told."""

    id: str
    """Goes into the journal as ``command`` with what was done, so that it is done once."""
    name: str
    """One of `COMMANDS`."""
    body: dict[str, Any]
    path: Path


def send(folder: Path, name: str, **body: Any) -> str:
    """Tell the runner of a folder something and return the command's id.

    Raises
    ------
    UserError
        If there is no such command, or it cannot be written.
    """
    if name not in COMMANDS:
        hint = nearest(name, list(COMMANDS))
        raise UserError(f"command {name!r}: not known.{hint} Known: {', '.join(COMMANDS)}.")
    token = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    atomic.write_json(folder / "commands" / f"{token}.json", {"name": name, "body": body})
    return token


def commands(folder: Path) -> list[Command]:
    """Return what the runner has been told and has not `finish`-ed, the oldest first.

    A file that is no command counts as ``kill``: whoever put it there wanted something, and
    halting is the safe reading of what cannot be read.
    """
    paths = sorted(p for p in (folder / "commands").glob("*.json") if p.name[0] != ".")
    return [_command(path) for path in paths]


def _command(path: Path) -> Command:
    try:
        said = json.loads(path.read_text(encoding="utf8"))
        if said["name"] in COMMANDS:
            return Command(path.stem, said["name"], dict(said.get("body") or {}), path)
        why = f"unknown command {said['name']!r}"
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = f"unreadable command file: {type(error).__name__}"
    return Command(path.stem, "kill", {"why": why}, path)


def finish(command: Command) -> None:
    """Take a command away, once the journal says what was done."""
    command.path.unlink(missing_ok=True)


def kill(folder: Path) -> None:
    """Put the file ``KILL`` into the folder; it halts the run for as long as it lies there."""
    atomic.write_text(folder / "KILL", "Halts this run. Remove it and ./run resume to go on.\n")


def killed(folder: Path) -> bool:
    """Return whether the file ``KILL`` is there, or cannot be looked for (which halts as well)."""
    try:
        (folder / "KILL").lstat()
    except OSError as error:
        return error.errno != errno.ENOENT
    return True


# -- what it says -----------------------------------------------------------------------------


def beat(folder: Path, facts: dict[str, Any]) -> None:
    """Write ``heartbeat.json`` in one step; not forced to the disk, as it is old in a second.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    path, part = folder / "heartbeat.json", folder / ".heartbeat.part"
    part.write_text(json.dumps(facts, sort_keys=True), encoding="utf8")
    part.replace(path)


def heartbeat(folder: Path) -> dict[str, Any] | None:
    """Return the last heartbeat and, as ``age``, how many real seconds ago it was; else None."""
    path = folder / "heartbeat.json"
    try:
        said = json.loads(path.read_text(encoding="utf8"))
        return {**said, "age": max(time.time() - path.stat().st_mtime, 0.0)}
    except (OSError, ValueError):
        return None
