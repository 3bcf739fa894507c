"""A model of your own: anything with fit and predict, as scikit-learn's have.

Name it in a study, ``model.name = "my_models:forest"``, or add it to ``model.league``. Arrays go
in, in the order of the feature columns; with ``predict_proba`` it is a model of classes. Give it
``to_text()`` and ``from_text(text)`` and its fold models are stored; without them they are trained
anew in each run.
"""


def forest():
    """Forty shallow trees on a third of the rows each; one seed, one thread: the same numbers."""
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(
        40, max_depth=4, min_samples_leaf=200, max_samples=0.33, random_state=1
    )
