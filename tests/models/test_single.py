"""LightGBM row by row: the bits of all rows at once, whoever asks and from whatever process."""

import copy

import numpy as np
import polars as pl
import pytest

from research import models
from research.models.boosting.single import FEW


@pytest.fixture(scope="module", params=["lightgbm", "lightgbm_classes", "lightgbm_quantiles"])
def model(request):
    rng = np.random.default_rng(3)
    X = pl.DataFrame({name: rng.standard_normal(1_500) for name in "abc"})
    y = X["a"].to_numpy() * X["b"].to_numpy() + rng.standard_normal(1_500)
    learner = models.learner(request.param)
    y = np.sign(np.round(y)) if learner.CLASSES else y
    params = {"rounds": 30, "min_data_in_leaf": 20}
    return learner.fit(X, y, seed=1, params=params), X


def test_a_few_rows_have_the_bits_of_many(model):
    made, X = model
    whole = made.forecast(X)
    for begin in (0, 7, 1_400):
        for rows in (1, 2, FEW, FEW + 1):
            some = made.forecast(X.slice(begin, rows))
            for name, values in some.items():
                assert values.tobytes() == whole[name][begin : begin + rows].tobytes()


def test_a_model_that_was_asked_can_be_copied(model):
    made, X = model
    first = made.predict(X.head(1))
    assert copy.deepcopy(made).predict(X.head(1)) == first


def test_numbers_of_other_columns_are_refused(model):
    made, X = model
    with pytest.raises(ValueError, match="3 columns expected, found 2"):
        made.core.predict(X.select("a", "b").head(1).to_numpy())
