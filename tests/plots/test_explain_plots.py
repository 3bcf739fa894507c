"""Pictures of what a model looks at: what is drawn is the table."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

from research import plots
from research.errors import UserError


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def told():
    rng = np.random.default_rng(0)
    X = pl.DataFrame({f"f{k}": rng.normal(size=300) for k in range(4)})
    return X.select(pl.col(f"f{k}") * (4 - k) for k in range(4)).with_columns(base=0.5), X


def test_bars_are_mean_sizes_the_strongest_on_top(told):
    values, _ = told
    ax = plots.shap_bar(values, most=3)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["f2", "f1", "f0"]
    expected = [values[f"f{k}"].abs().mean() for k in (2, 1, 0)]
    assert [patch.get_width() for patch in ax.patches] == pytest.approx(expected)
    assert "300 rows" in ax.get_title(loc="left") and "SHAP" in ax.get_xlabel()
    _, mine = plt.subplots()
    assert plots.shap_bar(values.to_pandas(), ax=mine) is mine


def test_a_beeswarm_draws_each_row_and_lends_the_readers_dice(told):
    values, X = told
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    drawn = []
    for _ in range(2):
        ax = plots.shap_beeswarm(values, X)
        dots = [c.get_offsets() for c in ax.collections if len(c.get_offsets()) == 300]
        assert len(dots) == 4
        drawn.append(np.concatenate(dots))
    assert (drawn[0] == drawn[1]).all()
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    strongest = np.sort(np.asarray(drawn[0])[-300:, 0])
    np.testing.assert_allclose(strongest, values["f0"].sort().to_numpy())
    assert "300 rows" in ax.get_title(loc="left")


def test_a_long_table_is_thinned(told):
    values, X = (pl.concat([table] * 20) for table in told)
    ax = plots.shap_beeswarm(values, X)
    assert "2,000 rows" in ax.get_title(loc="left")


def test_importance_has_the_spread_of_its_folds():
    table = pl.DataFrame(
        {
            "feature": ["a", "b"],
            "mean": [0.7, 0.3],
            "sd": [0.1, 0.1],
            "min": [0.5, 0.2],
            "max": [0.8, 0.5],
            "folds": [6, 6],
        }
    )
    ax = plots.importance(table)
    assert [patch.get_width() for patch in ax.patches] == [0.3, 0.7]
    segments = np.concatenate(ax.collections[0].get_segments())
    assert segments[:, 0].tolist() == pytest.approx([0.2, 0.5, 0.5, 0.8])
    assert "6 models" in ax.get_title(loc="left")


def test_a_missing_column_is_named(told):
    values, X = told
    with pytest.raises(UserError, match=r"plots.shap_bar: column 'base' is missing"):
        plots.shap_bar(X)
    with pytest.raises(UserError, match=r"plots.shap_beeswarm: column 'f3' is missing"):
        plots.shap_beeswarm(values, X.drop("f3"))
