"""Closed segments become Parquet in a process of their own, so that no frame waits for it.

The process is there from the start and compiles what it needs while the first segment is recorded:
a recording's end waits for the packing of its last segment alone.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from research.recorder.parquet import DONE
from research.sources.recordings import segments

_CALL = "from research.recorder.parquet import main; main()"
_NICE = 10
_TELL_SECONDS = 1.0


class Converter:
    """Converts one segment after another; what could not be converted stays as it is.

    Parameters
    ----------
    folder : Path
        The recording's.
    venue, market : str
        Whose frames it will be given, as `Decoder` takes them.
    """

    def __init__(self, folder: Path, venue: str, market: str) -> None:
        self._folder, self._told = folder, (str(folder), venue, market)
        self._left = 0
        self._paths: list[Path] = []
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._log = structlog.get_logger("recorder")

    def pending(self) -> None:
        """Start the process, and take up the segments that an earlier session left."""
        self._paths = sorted(self._folder.glob(f"segments/*{segments.SUFFIX}"))
        self._left = len(self._paths)
        self._task = asyncio.create_task(self._run(), name="converting")

    def add(self, path: Path) -> None:
        """Convert a closed segment when its turn comes."""
        self._paths.append(path)
        self._left += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="converting")

    async def finish(self, tell: Callable[[int], object]) -> None:
        """Return when all are converted; tell each second how many are not."""
        await asyncio.sleep(0)  # the writing thread's last word may still be on its way
        while self._task is not None and not self._task.done():
            tell(self._left)
            try:
                await asyncio.wait([self._task], timeout=_TELL_SECONDS)
            except asyncio.CancelledError:
                self._task.cancel()
                raise
        if self._task is not None:
            self._task.result()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()  # it has nothing to do, or still compiles for nothing
            await self._process.wait()

    async def _run(self) -> None:
        self._process = self._process or await self._start()
        while self._paths:
            path = self._paths.pop(0)
            why = await self._convert(path.name)
            self._left -= 1
            if why:
                self._log.error("a segment stays unconverted", segment=path.name, why=why)

    async def _convert(self, name: str) -> str:
        """Return why a segment could not be converted; empty when it was."""
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
        assert process.stdin is not None and process.stdout is not None
        said = b""
        with suppress(ConnectionError):
            process.stdin.write(name.encode() + b"\n")
            await process.stdin.drain()
            said = await process.stdout.readline()
        if not said:  # its memory, or our patience, was not enough: the next one gets a new one
            return f"the converting process ended with {await process.wait()}"
        told = said.decode("utf8", "replace").strip()
        return "" if told == DONE else told

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", _CALL, *self._told),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"POLARS_MAX_THREADS": "1"},
            preexec_fn=_humbly if os.name == "posix" else None,
        )


def _humbly() -> None:
    os.setsid()  # ctrl-C in the terminal is for the recorder, which waits for this
    os.nice(_NICE)
