"""A run in a notebook's cell: one picture and a few tables, drawn over as the run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from research.live.record import Run, table
from research.live.status import Status, moment, told
from research.live.story import Story


class Screen:
    """A picture and a few tables in a cell, drawn over as the run goes on."""

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def show(self, run: Run, story: Story) -> None:
        """Draw."""
        from IPython import get_ipython
        from IPython.display import HTML, Image, display

        if get_ipython() is None:  # nothing can be drawn here; the run's tables can be asked
            return
        seen = told(run.folder, story)
        parts = [Image(picture(story)), HTML(words(seen, story))]
        if self._handles:
            for handle, part in zip(self._handles, parts):
                handle.update(part)
        else:
            self._handles = [display(part, display_id=True) for part in parts]


def picture(story: Story) -> bytes:
    """Return equity and position as a PNG."""
    from io import BytesIO

    import matplotlib.pyplot as plt

    from research.plots.live import live_run

    equity = [{"time": when, "equity": value} for when, value, _ in story.path]
    held = [
        {"time": when, "symbol": symbol, "worth": worth}
        for when, _, places in story.path
        for symbol, worth in places.items()
    ]
    columns = {"time": "us", "symbol": "text", "worth": "number"}
    figure, ax = plt.subplots(figsize=(9, 4.2), dpi=72, layout="constrained")
    try:
        live_run(
            table(equity, {"time": "us", "equity": "number"}),
            table(held, columns),
            capital=story.capital or None,
            ax=ax,
        )
        made = BytesIO()
        figure.savefig(made, format="png")
    finally:
        plt.close(figure)
    return made.getvalue()


def words(seen: Status, story: Story) -> str:
    """Return status, last reasons and feed health as HTML, every text escaped."""
    lines = seen.text().splitlines()
    head = "\n".join(line for line in lines if line.split()[0] not in ("feed", "model"))
    last = [*story.decisions][:-9:-1]
    rows = [(moment(d["time"]), d["symbol"], d["reason"], f"{d['position']:+.6g}") for d in last]
    feed = [
        (str(s.get("name")), str(s.get("state")), f"{s.get('messages', 0):,}") for s in seen.feed
    ]
    tables = _html(("time", "symbol", "reason", "held"), rows)
    tables += _html(("stream", "state", "messages"), feed) if feed else ""
    return f"<pre>{escape(head)}</pre>{tables}"


def _html(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    def cells(kind: str, values: tuple[str, ...]) -> str:
        return "".join(f"<{kind}>{escape(str(value))}</{kind}>" for value in values)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', names)}</tr></thead><tbody>{body}</tbody></table>"
