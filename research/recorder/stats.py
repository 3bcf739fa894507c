"""What a recording says of itself while it runs, and at its end."""

from __future__ import annotations

from typing import Any, NamedTuple


class Statistics(NamedTuple):
    """A recording at one moment."""

    seconds: float
    """Since it began."""
    messages: dict[str, int]
    """Recorded, by stream."""
    rate: float
    """Messages a second, lately; in a summary: over all of it."""
    received: int
    """Bytes of frames recorded."""
    written: int
    """Bytes on disk, packed."""
    waiting: int
    """Bytes that wait for the disk."""
    gaps: int
    """Entries of the gap ledger, of this session."""
    open_gaps: int
    """Of these, not ended."""
    lost: int
    """Messages that are known to be missing."""
    unreadable: int
    """Frames that belong to no stream; they are kept all the same, up to a bound."""
    reconnects: int
    books: int
    """Whole books asked for and recorded."""
    lag_ms: dict[str, float]
    """By stream: from the venue's own time to the receipt, of the newest message; the difference of
    the two clocks is in it."""
    disk_free: int
    """Bytes."""
    stopped: str = ""
    """Why it ended; empty while it runs."""
    packing: int = 0
    """Segments that still become Parquet, once it has ended."""

    def line(self) -> str:
        """Return one line for a terminal.

        Examples
        --------
        >>> counts = (60, {"a@trade": 90}, 1.5, 8_000, 900, 0, 1, 0, 3, 0, 1, 0)
        >>> told = Statistics(*counts, lag_ms={}, disk_free=5 * 10**9)
        >>> told.line()
        '1 min: 90 messages, 1.5/s, 1 gap (3 lost), 0.0 MB on disk, 5.0 GB free'
        """
        count = sum(self.messages.values())
        gaps = f"{self.gaps} gap{'s' * (self.gaps != 1)}"
        gaps += f" ({self.lost:,} lost)" if self.lost else ""
        gaps += f", {self.open_gaps} open" if self.open_gaps else ""
        packing = f"; packing {self.packing} segment{'s' * (self.packing != 1)} into Parquet"
        lag = f", lag {max(self.lag_ms.values()):,.0f} ms" if self.lag_ms else ""
        return (
            f"{_span(self.seconds)}: {count:,} messages, {self.rate:,.1f}/s, {gaps}{lag}, "
            f"{self.written / 1e6:.1f} MB on disk, {self.disk_free / 1e9:.1f} GB free"
            f"{packing if self.packing else ''}"
        )

    def text(self) -> str:
        """Return the closing summary: one line for the whole, one for each stream."""
        width = max((len(name) for name in self.messages), default=0)
        streams = [
            f"  {name:{width}}  {count:>12,}  {count / max(self.seconds, 1e-9):>10,.1f}/s"
            for name, count in self.messages.items()
        ]
        rest = [
            f"  {self.reconnects} reconnects, {self.books} books asked for, "
            f"{self.unreadable:,} unreadable frames, {self.received / 1e6:,.1f} MB received"
        ]
        return "\n".join([f"recorded {self.line()}; {self.stopped}", *streams, *rest])

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return self._asdict()


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
