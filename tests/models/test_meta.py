"""Meta-labelling: by hand, from no forecast that has seen its row, and on a market with regimes."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import rankdata

from research import models, schema, scores
from research.errors import UserError
from research.models import meta
from research.validation import walk_forward

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
START = datetime(2025, 5, 1, tzinfo=UTC)
HORIZON, COST = 2, 2e-4
COLUMNS = ["a", "b", "calm"]
CARD = {"name": "toy", "version": 1, "fingerprint": "f" * 64}


def market(edge, *, seed=0, rows=7200, symbols="AB"):
    """Two regimes of three hours on average; `a` foretells the return in one, in the other not."""
    rng, tables = np.random.default_rng(seed), []
    for symbol in symbols:
        calm = (np.cumsum(rng.random(rows) < 1 / 180) % 2).astype(float)
        inputs = {name: rng.normal(size=rows) for name in ("a", "b")}
        sigma = 0.001 * np.exp(rng.normal(0, 0.2, rows))
        y = sigma * np.sqrt(HORIZON) * (edge * calm * inputs["a"] + rng.normal(size=rows))
        time = pl.Series([START + k * MINUTE for k in range(1, rows + 1)], dtype=schema.TIME)
        columns = {"symbol": symbol, "time": time, "sigma": sigma, **inputs, "calm": calm}
        tables.append(pl.DataFrame(columns | {"y": y, "known_at": time + HORIZON * MINUTE}))
    table = pl.concat(tables)
    known = table.filter(pl.col("time") <= START + (rows - HORIZON) * MINUTE)
    labels = known.select(*schema.LABELS)
    return table.drop("y", "known_at"), labels


def cut(train=48, test=12, *, start=START, end=START + 120 * HOUR):
    return walk_forward(start, end, train=train * HOUR, test=test * HOUR, embargo=10 * MINUTE)


def staged(features, labels, *, learner="logistic", primary="ridge", folder=None, folds=None):
    folds = folds or cut()
    before = cut(24, 7, start=folds[0].train_start, end=folds[0].test_start)
    how = {
        "learner": primary,
        "columns": COLUMNS,
        "horizon_bars": HORIZON,
        "params": {},
        "seed": 1,
        "feature_card": CARD,
        "folder": folder,
    }
    made = models.out_of_sample(features, labels, folds, **how)
    how |= {"gate": "none", "own_folder": None}
    more = {"learner": learner, "params": {}, "cost": COST}
    found = meta.two_stage(features, labels, folds, before=before, primary=made, how=how, **more)
    return made.forecasts, found


def won(table):
    """Probability and outcome of every trade whose outcome is known."""
    known = table.filter(meta.side(table.drop(schema.CLASSES)) != 0).drop_nulls("y")
    p = known.select(pl.max_horizontal("p_up", "p_down")).to_series().to_numpy()
    way = known["forecast"].sign()
    return p, (way * known["y"] - COST > 0).to_numpy(), (way * known["y"] - COST).to_numpy()


def auc(p, hit):
    rank = rankdata(p)
    n = hit.sum()
    return (rank[hit].sum() - n * (n + 1) / 2) / (n * (len(hit) - n))


# -- by hand ----------------------------------------------------------------------------------


def forecasts(**columns):
    at = [START + k * MINUTE for k in range(5)]
    table = {"symbol": "A", "time": at[:4], "sigma": 0.001, "known_at": at[1:]}
    table |= {"fold": "f", "model": "m", "y": [0.02, 0.02, -0.003, None]}
    kinds = {"time": schema.TIME, "known_at": schema.TIME}
    return pl.DataFrame(table | columns, schema_overrides=kinds)


def test_a_trade_pays_by_its_side_and_its_costs():
    made = forecasts(forecast=[0.01, -0.01, -0.01, 0.01])
    found = meta.lesson(made, cost=0.005)
    assert found["y"].to_list() == pytest.approx([0.015, -0.025, -0.002])
    assert found["label"].to_list() == [1, 0, 0]
    assert meta.lesson(made, cost=0.001)["label"].to_list() == [1, 0, 1]


def test_the_side_of_classes_is_the_likeliest():
    made = forecasts(
        forecast=[0.1, 0.1, 0.1, 0.1],
        p_down=[0.2, 0.5, 0.4, 0.4],
        p_flat=[0.2, 0.2, 0.2, 0.4],
        p_up=[0.6, 0.3, 0.4, 0.2],
    )
    assert made.select(meta.side(made)).to_series().to_list() == [1, -1, 0, 0]
    assert meta.lesson(made, cost=0.0)["label"].to_list() == [1, 0]


def test_the_second_model_is_told_size_and_sign_in_volatilities():
    features = forecasts().select("symbol", "time", "sigma", a=pl.lit(1.0))
    made = forecasts(forecast=[0.003, -0.004, 0.0, None]).filter(pl.col("forecast").is_not_null())
    found = meta.inputs(features, made, horizon_bars=4)
    assert found["primary"].to_list() == pytest.approx([1.5, -2.0, 0.0])
    assert found["primary_size"].to_list() == pytest.approx([1.5, 2.0, 0.0])


def test_probabilities_stand_on_the_side_of_the_trade():
    made = forecasts(forecast=[0.01, -0.01, 0.0, 0.01])
    opinion = made.select("symbol", "time", model=pl.lit("n"), p_up=pl.lit(0.7)).head(4)
    found = meta.second(made, opinion, cost=0.005)
    assert found["p_up"].to_list() == pytest.approx([0.7, 0.0, 0.0, 0.7])
    assert found["p_down"].to_list() == pytest.approx([0.0, 0.7, 0.0, 0.0])
    assert found["p_flat"].to_list() == pytest.approx([0.3, 0.3, 1.0, 0.3])
    assert found["label"].to_list() == [1, 0, 0, None]
    assert found["model"].to_list() == ["m+n"] * 4
    assert found["forecast"].to_list() == made["forecast"].to_list()
    schema.check(found, schema.FORECASTS, "forecasts")
    # a row that the second model says nothing of is not there
    assert meta.second(made, opinion.head(2), cost=0.005).height == 2


@pytest.mark.parametrize(("cost", "what"), [(0.5, "all 3 trades .* lost"), (-0.5, "won")])
def test_where_all_trades_are_alike_there_is_nothing_to_learn(cost, what):
    with pytest.raises(UserError, match=what):
        meta.lesson(forecasts(forecast=[0.01, -0.01, -0.01, 0.01]), cost=cost)


def test_a_second_model_needs_probabilities():
    with pytest.raises(UserError, match="'ridge' gives no probabilities"):
        staged(*market(0.3, rows=7200), learner="ridge")


# -- what it has seen -------------------------------------------------------------------------


def test_every_lesson_was_out_of_fold_and_known_in_time(monkeypatch):
    """Spy on the second walk: what it is given was forecast by models that had not seen it."""
    given, walk = [], meta.out_of_sample
    monkeypatch.setattr(
        meta, "out_of_sample", lambda *a, **k: given.append((a, k)) or walk(*a, **k)
    )
    staged(*market(0.5))
    (_, _, before), _ = given[0]
    (table, lessons, folds), how = given[1]
    assert how["columns"] == [*COLUMNS, "primary", "primary_size"]
    first = folds[0]
    assert all(f.train_start >= first.train_start for f in before)
    assert min(f.test_start for f in before) == table["time"].min()
    # each row told of comes after the training of the one model that forecast it
    ends = [(f.train_end, f.test_start, f.test_end) for f in [*before, *folds]]
    for moment in table["time"].unique():
        made_by = [end for end, start, stop in ends if start <= moment < stop]
        assert made_by and min(made_by) <= moment
    assert not table.select(schema.KEY).is_duplicated().any()
    assert lessons.select(schema.KEY).join(table, on=schema.KEY, how="anti").is_empty()


def test_what_happens_later_changes_nothing_said_before():
    features, labels = market(0.5, symbols="A")
    folds = cut()
    later = folds[1].test_start
    _, one = staged(features, labels)
    changed = labels.with_columns(
        y=pl.when(pl.col("known_at") >= later).then(-3 * pl.col("y")).otherwise("y")
    )
    _, two = staged(features, changed)
    said = ["symbol", "time", "forecast", *schema.CLASSES, "model"]
    before = pl.col("time") < folds[1].test_end
    assert_frame_equal(one.filter(before).select(said), two.filter(before).select(said))
    after = pl.col("time") >= folds[2].test_start
    assert (one.filter(after)["p_up"] != two.filter(after)["p_up"]).any()


def test_stored_models_are_found_again_and_lie_apart(tmp_path):
    features, labels = market(0.5, symbols="A")
    _, one = staged(features, labels, folder=tmp_path / "models")
    kept = {p: p.read_bytes() for p in tmp_path.rglob("*.json")}
    _, two = staged(features, labels, folder=tmp_path / "models")
    assert_frame_equal(one, two)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.json")} == kept
    assert sorted(p.name for p in tmp_path.iterdir()) == ["before", "meta", "models"]
    assert len(list(models.stored(tmp_path / "models"))) == len(cut())
    newest = models.newest(tmp_path / "meta")
    assert newest.card["features"]["told"] == ["primary", "primary_size"]


# -- known answers ----------------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["logistic", "lightgbm_classes"])
def test_an_edge_of_one_regime_is_found(learner):
    features, labels = market(1.0, seed=3)
    made, found = staged(features, labels, learner=learner)
    assert found.height == made.height
    p, hit, net = won(found)
    known = found.drop_nulls("y").join(features.select(*schema.KEY, "calm"), on=schema.KEY)
    edge = known["calm"].to_numpy() == 1
    assert p[edge].mean() > p[~edge].mean() + 0.1
    assert auc(p, hit) > 0.6
    # the share that won is the probability said: in both regimes, within three standard errors
    for which in (edge, ~edge):
        error = np.sqrt(0.25 / (which.sum() / HORIZON))
        assert abs(p[which].mean() - hit[which].mean()) < 3 * error
    # trades it is for earn what the first model alone does not
    assert net[p > 0.5].mean() > net.mean() + 2 * net.std() / np.sqrt((p > 0.5).sum() / HORIZON)
    assert net[p <= 0.5].mean() < net.mean()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_there_is_no_edge_nothing_is_added(seed):
    _, found = staged(*market(0.0, seed=seed))
    p, hit, net = won(found)
    sd = np.sqrt((len(hit) + 1) / (12 * hit.sum() * (~hit).sum())) * np.sqrt(HORIZON)
    assert abs(auc(p, hit) - 0.5) < 4 * sd
    assert p.mean() == pytest.approx(hit.mean(), abs=4 * np.sqrt(0.25 / (len(hit) / HORIZON)))
    chosen = net[p > np.median(p)]
    assert abs(chosen.mean() - net.mean()) < 4 * net.std() / np.sqrt(len(chosen) / HORIZON)


def test_what_it_says_is_scored_as_classes_are():
    _, found = staged(*market(1.0, seed=3))
    judged = scores.classification(found, horizon=HORIZON * MINUTE, draws=100)
    assert judged.log_loss < judged.log_loss_baseline
