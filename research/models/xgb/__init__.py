"""XGBoost: regression here, classes beside it, what they share in `trees`."""

from research.models.xgb.regression import (
    CLASSES,
    CONTINUES,
    FILE,
    PARAMS,
    XTrees,
    fit,
    read,
    versions,
)

__all__ = ["CLASSES", "CONTINUES", "FILE", "PARAMS", "XTrees", "fit", "read", "versions"]
