"""LightGBM: regression here, classes and quantiles beside it, what they share in `trees`."""

from research.models.boosting.regression import (
    CLASSES,
    CONTINUES,
    FILE,
    PARAMS,
    Trees,
    fit,
    read,
    versions,
)
from research.models.rank import rank_ic, ranks

__all__ = [
    "CLASSES",
    "CONTINUES",
    "FILE",
    "PARAMS",
    "Trees",
    "fit",
    "rank_ic",
    "ranks",
    "read",
    "versions",
]
