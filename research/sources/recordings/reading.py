"""From a path to a recording."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from research.errors import UserError
from research.schema import Recording
from research.sources.recordings import forms, places, recorded, segments, tables
from research.sources.recordings.decoder import Decoder

Progress = Callable[[int, int, str], None]


def read(
    path: str | Path, *, symbols: list[str] | None = None, progress: Progress | None = None
) -> Recording:
    """Read what was recorded of a venue's order books; the form is told by the content.

    Parameters
    ----------
    path : str or Path
        A file, a folder or a pattern: lines of ``<nanoseconds> <message>`` as a recorder of raw
        streams writes them, packed with gzip or not; Bybit's order-book archive; a folder of our
        own recorder; or one written by `to_parquet`. Several files are put together in the order
        of their receipt, so that two days that join without loss are one recording.
    symbols : list of str, optional
        Those to keep, such as ``["BTCUSDT"]``; all when not given.
    progress : callable, optional
        Called as ``progress(done, total, file name)`` with bytes of all files.

    Returns
    -------
    Recording
        Of one venue's market. A line that cannot be read, for whatever reason, is counted in `bad`;
        so is the tail of a file that was cut off.

    Raises
    ------
    UserError
        If nothing is there, a file is no recording, files are of two markets, or a symbol is not
        in it.

    Notes
    -----
    Candles, mark prices and replies are counted in `lines` alone. Bybit's archive does not say
    when a message was received: `received_ns` is when it was sent. It does not say either whether
    a market is spot; a symbol that ends with USD is taken as inverse, any other as linear.
    Of our recorder's folder `progress` counts files instead of bytes.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "btcusdt.txt"
    >>> _ = path.write_text('1723161253937085768 {"u":7,"s":"BTCUSDT","b":"1.5","B":"2","a":"1.6",'
    ...                     '"A":"3"}\\n1723161253937')
    >>> found = read(path)
    >>> found.market, found.lines, found.bad, found.quotes["ask"].to_list()
    ('spot', 2, 1, [1.6])
    """
    place = Path(path).expanduser()
    if tables.is_stored(place):
        return tables.load(place, symbols)
    if segments.is_recording(place) and segments.parts(place):
        return recorded.load(place, symbols, progress)
    sources = [places.Source(file) for file in places.files(path)]
    total = sum(source.size for source in sources)
    decoder: Decoder | None = None
    for source in sources:
        done = sum(other.size for other in sources[: sources.index(source)])
        report = partial(_report, progress, done, total, source)
        decoder = _taken(source, decoder, report)
    assert decoder is not None  # there is one file or more, and each makes it or raises
    return decoder.recording(symbols=symbols)


def _report(progress: Progress | None, done: int, total: int, source: places.Source) -> None:
    if progress:
        progress(done + source.position, total, source.file.name)


def _taken(source: places.Source, decoder: Decoder | None, report: Callable[[], None]) -> Decoder:
    """Read one file into `decoder`, or into a new one."""
    form = None
    try:
        for piece in places.ahead(source.pieces()):
            form = form or _form(piece, source)
            decoder = decoder or Decoder(venue=form.venue, market=form.market)
            _check_same(decoder, form, source)
            decoder.take(form.batch(piece))
            report()
    except places.CutShort:
        if form is not None and decoder is not None:
            decoder.cut()
    if form is None or decoder is None:
        raise _no_recording(source)
    decoder.close()
    return decoder


def _form(piece: bytes, source: places.Source) -> forms.Form:
    form = forms.tell(piece)
    if form is None:
        raise _no_recording(source)
    return form


def _no_recording(source: places.Source) -> UserError:
    return UserError(
        f"recording: {source.file.name} holds no message of an order book, a quote or a trade that "
        "this project can read. Expected lines of '<nanoseconds> <message>', Bybit's archive or a "
        "folder that to_parquet wrote."
    )


def _check_same(decoder: Decoder, form: forms.Form, source: places.Source) -> None:
    if (form.venue, form.market) != (decoder.venue, decoder.market):
        raise UserError(
            f"recording: {source.file.name} is of {form.venue} {form.market}, files before it of "
            f"{decoder.venue} {decoder.market}. Read each market on its own."
        )
