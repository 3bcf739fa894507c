"""Books against the venue's own best prices: two streams that must say the same."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.order_book.building import Built

REASON = "best price differs"


class Agreement(NamedTuple):
    """How often a proven book's best levels were those of the quote of the same update."""

    compared: int
    agreed: int
    gaps: pl.DataFrame
    """As `schema.GAPS`: from each state that differs to the next that agrees."""

    @property
    def share(self) -> float | None:
        """Share that agreed; None where there was nothing to compare."""
        return self.agreed / self.compared if self.compared else None


def agreement(
    built: Built, quotes: pl.DataFrame, *, by: Literal["update_id", "time"] = "update_id"
) -> Agreement:
    """Compare each proven state's best prices and quantities with the quote of the same update.

    Parameters
    ----------
    built : Built
        Of one symbol.
    quotes : pl.DataFrame
        As `schema.QUOTES`; those of other symbols are left alone.
    by : str
        What tells that a quote and a state belong together: one ``update_id``, as of Binance, or
        one ``time``, as of Bybit, whose topics count their updates each for itself.

    Returns
    -------
    Agreement

    Notes
    -----
    Quotes come for each change of the best level and states for each bundle of changes, so many a
    quote has no state of its own and is not compared. Of several quotes or states of one id or one
    moment the last is taken; by time two streams that are cut at different instants within one
    millisecond may differ without a fault.
    """
    ours = quotes.filter(pl.col("symbol") == built.symbol)
    said = (
        ours.drop_nulls(by)
        .unique(by, keep="last", maintain_order=True)
        .select(
            pl.col(by).cast(pl.Int64),
            *(pl.col(c).alias(f"quote {c}") for c in _BEST),
        )
    )
    both = _states(built, by).join(said, on=by, how="inner").sort("received_ns")
    same = both.select(pl.all_horizontal(pl.col(c) == pl.col(f"quote {c}") for c in _BEST))
    agreed = same.to_series().to_numpy() if both.height else np.zeros(0, bool)
    gaps = _spans(built.symbol, both["received_ns"].to_numpy(), agreed)
    return Agreement(both.height, int(agreed.sum()), gaps)


_BEST = ("bid", "bid_quantity", "ask", "ask_quantity")


def _states(built: Built, key: str) -> pl.DataFrame:
    best = built.levels[:, :, 0, :].reshape(-1, 4)
    found = pl.DataFrame(
        {
            key: built.update_id if key == "update_id" else built.time_us,
            "received_ns": built.received_ns,
            "proven": built.proven,
            **{name: best[:, place] for place, name in enumerate(_BEST)},
        }
    )
    return found.unique(key, keep="last", maintain_order=True).filter("proven").drop("proven")


def _spans(symbol: str, received: np.ndarray, agreed: np.ndarray) -> pl.DataFrame:
    """Lay a gap from each first disagreement to the next agreement."""
    rows = []
    turns = np.flatnonzero(np.diff(np.append(True, agreed).astype(np.int8)))
    for number in range(0, len(turns), 2):
        end = int(received[turns[number + 1]]) if number + 1 < len(turns) else None
        rows.append((symbol, "depth", int(received[turns[number]]), end, REASON, None))
    return pl.DataFrame(rows, schema=schema.GAPS, orient="row")
