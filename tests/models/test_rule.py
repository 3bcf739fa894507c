"""Rules as learners: the column is the forecast, and nothing is learnt."""

import numpy as np
import polars as pl
import pytest

from research import models
from research.errors import UserError
from research.models import rule

X = pl.DataFrame({"trend": [1.0, 0.0, -1.0, 1.0]})
Y = np.array([0.1, -0.2, 0.3, 0.0])


def test_the_column_is_the_forecast_whatever_came_true(tmp_path):
    fit = models.learner("trend").fit
    model = fit(X, Y, seed=1, params={})
    assert model.forecast(X)["forecast"].tolist() == [1.0, 0.0, -1.0, 1.0]
    other = fit(X, -Y, seed=2, params={}, weight=np.ones(4), early=(X, Y))
    assert other.core.text == model.core.text
    model.save(tmp_path)
    loaded = models.load(tmp_path)
    assert (loaded.id, loaded.card) == (model.id, model.card)
    assert (loaded.predict(X) == model.predict(X)).all()
    assert models.importance(model).rows() == [("trend", 1.0)]


@pytest.mark.parametrize("name", rule.NAMES)
def test_the_four_rules_are_learners_without_settings(name):
    assert models.is_rule(name) and not models.is_rule("ridge")
    found = models.learner(name)
    assert (found.PARAMS, found.CONTINUES, found.CLASSES) == ({}, False, False)
    frame = X.rename({"trend": name})
    assert found.fit(frame, Y, seed=1, params={}).id.startswith(f"{name}-")


def test_mistakes_are_named():
    fit = models.learner("trend").fit
    with pytest.raises(UserError, match="looks at its one column 'trend', found a, b"):
        fit(pl.DataFrame({"a": [1.0], "b": [2.0]}), Y[:1], seed=1, params={})
    with pytest.raises(UserError, match="trend: unknown setting 'alpha'"):
        fit(X, Y, seed=1, params={"alpha": 1.0})
    with pytest.raises(UserError, match="a rule has no rounds to add"):
        fit(X, Y, seed=1, params={}, start_from=fit(X, Y, seed=1, params={}))
