"""One file per learner, one contract: ``fit(X, y, ...) -> Model``, ``model.predict(X)``."""

from research.models.contract import Model
from research.models.learners import FITTERS, importance, load, settings
from research.models.oos import out_of_sample

__all__ = ["FITTERS", "Model", "importance", "load", "out_of_sample", "settings"]
