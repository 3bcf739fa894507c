"""Features: what is known of each bar at its close, in frozen sets and in a user's own words.

``resolve`` names a set, ``build`` computes its table, ``latest`` the newest row live (bit-equal),
``study`` shows in a notebook cell what an idea is worth.
"""

from research.features.build import build, evaluate, latest, lookback
from research.features.causality import causality
from research.features.report import report
from research.features.sets import SETS, Feature, FeatureSet, resolve
from research.features.study import FeatureStudy, study
from research.features.warmup import warmup

__all__ = [
    "SETS",
    "Feature",
    "FeatureSet",
    "FeatureStudy",
    "build",
    "causality",
    "evaluate",
    "latest",
    "lookback",
    "report",
    "resolve",
    "study",
    "warmup",
]
