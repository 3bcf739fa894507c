"""A feed whose venue calls symbols something else: in and out of it, the study's names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from research.live.feed.assembly import Note
from research.live.moments import Moment

if TYPE_CHECKING:
    import polars as pl

    from research.live.feed import Feed


class Named:
    """Another feed, seen with the study's names.

    Parameters
    ----------
    made : callable
        Given the venue's names and whom to tell, returns the feed.
    names : mapping of str to str
        The study's names, and the venue's.
    note : callable
        Told what happens beside bars, with the study's names.
    """

    def __init__(
        self, made: Callable[[list[str], Note], Feed], names: Mapping[str, str], note: Note
    ) -> None:
        self._ours = {name: symbol for symbol, name in names.items()}
        self._note = note
        self._feed = made(sorted(self._ours), self._told)

    async def history(self, start_us: int, end_us: int) -> pl.DataFrame:
        """Return the closed bars with ``start_us < time <= end_us`` as `schema.BARS`."""
        import polars as pl

        from research import schema

        found = await self._feed.history(start_us, end_us)
        return found.with_columns(pl.col("symbol").replace(self._ours)).sort(schema.KEY)

    async def moments(self, after_us: int) -> AsyncIterator[Moment]:
        """Yield each close after `after_us`, see `Feed.moments`."""
        async for moment in self._feed.moments(after_us):
            bars = (bar._replace(symbol=self._ours[bar.symbol]) for bar in moment.bars)
            levels = moment.levels
            yield moment._replace(
                bars=tuple(sorted(bars, key=lambda bar: bar.symbol)),
                levels=levels and {self._ours[name]: book for name, book in levels.items()},
            )

    def health(self) -> list[dict[str, Any]]:
        """Return for each stream how it is; streams are named as the venue does."""
        return self._feed.health()

    def checks(self) -> dict[str, int]:
        """Return how bars and trades agree."""
        return self._feed.checks()

    async def close(self) -> None:
        """End all connections and tasks."""
        await self._feed.close()

    def _told(self, kind: str, body: dict[str, Any]) -> object:
        return self._note(kind, self._renamed(body))

    def _renamed(self, body: dict[str, Any]) -> dict[str, Any]:
        inner: dict[str, Any] = {
            k: self._renamed(v) for k, v in body.items() if isinstance(v, dict)
        }
        if (name := body.get("symbol")) in self._ours:
            inner["symbol"] = self._ours[name]
        return {**body, **inner}
