"""Recordings for others: plain Parquet, and the event files of hftbacktest."""

from __future__ import annotations

from pathlib import Path

from research.schema import Recording
from research.sources.recordings import hftbacktest, tables


def to_parquet(recording: Recording, folder: str | Path) -> Path:
    """Write a recording as plain Parquet, one table per kind, so that `read` takes it again.

    Parameters
    ----------
    recording : Recording
        Of any venue.
    folder : str or Path
        To be made: `messages`, `levels`, `quotes`, `trades` and `gaps`, each ``.parquet`` (zstd)
        with the columns of `schema`, and ``recording.json`` with venue, market, lines and bad.

    Returns
    -------
    Path
        The folder. It appears whole or not at all.

    Raises
    ------
    UserError
        If it is there already, or cannot be written.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from research.sources import recordings
    >>> frame = b'{"u":7,"s":"BTCUSDT","b":"1.5","B":"2","a":"1.6","A":"3"}'
    >>> made = recordings.from_frames([(1, 0, frame)], venue="binance", market="spot")
    >>> folder = to_parquet(made, Path(mkdtemp()) / "one")
    >>> recordings.read(folder).quotes.equals(made.quotes)
    True
    """
    return tables.store(recording, Path(folder))


def to_hftbacktest(recording: Recording, path: str | Path, *, base_latency_ns: int = 0) -> Path:
    """Write a recording as the ``.npz`` of events that hftbacktest replays.

    Parameters
    ----------
    recording : Recording
        Of one symbol.
    path : str or Path
        Ends with ``.npz``; replaced if it is there.
    base_latency_ns : int
        See `hftbacktest.events`: where the recorder's clock ran behind, times of receipt are moved
        so that the smallest latency is this.

    Returns
    -------
    Path
        The file: one array, ``data``, equal to what hftbacktest's own converter of Binance futures
        makes of the raw file.

    Raises
    ------
    UserError
        If it holds more than one symbol, or the file cannot be written.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from research.sources import recordings
    >>> frame = (b'{"e":"trade","E":1723161256322,"T":1723161256322,"s":"BTCUSDT","t":1,'
    ...          b'"p":"61800.30","q":"0.006","X":"MARKET","m":false}')
    >>> made = recordings.from_frames([(1723161256400000000, 0, frame)], venue="binance",
    ...                               market="um")
    >>> import numpy as np
    >>> file = np.load(to_hftbacktest(made, Path(mkdtemp()) / "one.npz"))
    >>> file["data"][["px", "qty"]].tolist()
    [(61800.3, 0.006)]
    """
    made = hftbacktest.events(recording, base_latency_ns=base_latency_ns)
    return hftbacktest.write(made, Path(path).expanduser())
