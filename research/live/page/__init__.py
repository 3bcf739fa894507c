"""The live page of a run: served on this machine alone, it shows and cannot change anything but
halt the run, by whoever holds the page's token.

It is a process of its own and reads the journal and the heartbeat; so it stays when the runner is
gone, and knows it again when it is back.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["serve"]


def serve(folder: Path, port: int = 8765) -> None:
    """Serve the page of the run in `folder` until interrupted; its address goes to standard error.

    Parameters
    ----------
    folder : Path
        The run's.
    port : int
        On this machine alone; 0: a free one.

    Raises
    ------
    UserError
        If the port is taken.
    """
    from research.live.page import server

    server.serve(folder, port)
