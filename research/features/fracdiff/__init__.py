"""Fractional differences: a series made stationary while it keeps some of its memory.

``ffd`` differences a whole series over a fixed window, ``stream`` one value at a time, ``full``
over all the past; ``find_optimal_d`` chooses the order and says what that is worth.
"""

from research.features.fracdiff.arfima import Memory, autocovariance, local_whittle, sample
from research.features.fracdiff.choice import OptimalD, find_optimal_d, random_walk_rejections
from research.features.fracdiff.factories import fracdiff_price, fracdiff_volume
from research.features.fracdiff.full import full
from research.features.fracdiff.weights import THRESHOLD, weight_table, weights
from research.features.fracdiff.window import Rules, Window, ffd, ffd_exact, step, stream

__all__ = [
    "THRESHOLD",
    "Memory",
    "OptimalD",
    "Rules",
    "Window",
    "autocovariance",
    "ffd",
    "ffd_exact",
    "find_optimal_d",
    "fracdiff_price",
    "fracdiff_volume",
    "full",
    "local_whittle",
    "random_walk_rejections",
    "sample",
    "step",
    "stream",
    "weight_table",
    "weights",
]
