"""Who may learn from whom: by time and by label interval, never by row count.

`walk_forward` cuts folds that only look back: what may be traded. `purged_kfold` and
`combinatorial` cut splits that train on both sides of their tests: what judges a way of learning.
"""

from research.validation.splits import Split, Splits, combinatorial, purged_kfold
from research.validation.walk import Fold, Folds, walk_forward
from research.validation.windows import Span, Windows

__all__ = [
    "Fold",
    "Folds",
    "Span",
    "Split",
    "Splits",
    "Windows",
    "combinatorial",
    "purged_kfold",
    "walk_forward",
]
