"""Order flow: what changes of quotes, books and trades say, event by event and in bins.

``frame`` has features at every quote and ``aggregate`` sums them up in bins; the ``streaming_...``
objects are fed one event at a time and say the same, bit for bit. ``explains`` measures what flow
explains of the price, and how little it predicts.
"""

from research.features.order_flow.bins import aggregate
from research.features.order_flow.clocks import clock_of
from research.features.order_flow.events import streaming_ofi
from research.features.order_flow.explain import explains, lagged, next_move, r_squared
from research.features.order_flow.integrated import fit_integrated, integrated, multi_level
from research.features.order_flow.levels import streaming_book_flow
from research.features.order_flow.live import StreamingFeatures
from research.features.order_flow.prices import fit_microprice, quotes_of, realised_spread
from research.features.order_flow.table import frame
from research.features.order_flow.toxicity import kyle_lambda, streaming_vpin
from research.features.order_flow.trades import streaming_taker_flow
from research.features.order_flow.windows import HALF_LIFE, WINDOWS

__all__ = [
    "HALF_LIFE",
    "WINDOWS",
    "StreamingFeatures",
    "aggregate",
    "clock_of",
    "explains",
    "fit_integrated",
    "fit_microprice",
    "frame",
    "integrated",
    "kyle_lambda",
    "lagged",
    "multi_level",
    "next_move",
    "quotes_of",
    "r_squared",
    "realised_spread",
    "streaming_book_flow",
    "streaming_ofi",
    "streaming_taker_flow",
    "streaming_vpin",
]
