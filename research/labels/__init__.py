"""What happened after each bar, and when that became known: the answers a model learns from.

Every label row carries `known_at`; a row exists only where its answer is known without reaching
across a hole in the data, so nothing is filled. `y` is a simple return (of `volatility`, a standard
deviation); labels with classes have `label` beside it: -1, 0 or 1. The weights of rows, by how
little their labels overlap and by age, are here too.
"""

from research.labels.barriers import barrier
from research.labels.classes import direction, statistics
from research.labels.forward import forward_return, volatility
from research.labels.weights import age_decay, sequential_bootstrap, uniqueness

__all__ = [
    "age_decay",
    "barrier",
    "direction",
    "forward_return",
    "sequential_bootstrap",
    "statistics",
    "uniqueness",
    "volatility",
]
