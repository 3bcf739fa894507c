import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))

from flows import books, slow_ofi

from research.errors import UserError
from research.features import order_flow
from research.features.order_flow import levels
from research.steps import scan, streaming


def flows_of(shown):
    return scan(
        levels.multi_level_ofi, levels.book_memory(shown.levels.shape[2]),
        (shown.time_us, shown.levels), 0,
    )[1]  # fmt: skip


def said_of(shown, fade=levels.FADE):
    memory = levels.book_memory(shown.levels.shape[2])
    _, said = scan(levels.book_flow, memory, (shown.time_us, shown.levels), fade)
    return dict(zip(levels.BookFlow._fields, said.T))


def test_each_level_has_the_flow_of_its_own_price():
    shown = books(80)
    found = flows_of(shown)
    for level in (0, 1, 7, 19):
        (bid, bought), (ask, sold) = (shown.levels[:, side, level].T for side in (0, 1))
        assert found[:, level] == pytest.approx(slow_ofi(bid, bought, ask, sold), abs=1e-12)


def test_a_level_that_is_gone_and_back():
    shown = books(3, depth=2)
    shown.levels[1, 1, 1] = 0.0  # the second ask goes, and comes back as it was
    shown.levels[1:, 0], shown.levels[2, 1] = shown.levels[0, 0], shown.levels[0, 1]
    shown.levels[1, 1, 0] = shown.levels[0, 1, 0]
    size = shown.levels[0, 1, 1, 1]
    assert flows_of(shown).tolist() == [[0.0, 0.0], [0.0, size], [0.0, -size]]


def test_sums_of_levels_by_hand():
    shown = books(60)
    found, said = flows_of(shown), said_of(shown, math.exp(-1 / 3.0))
    stock = shown.levels[:, 0, :, 1] - shown.levels[:, 1, :, 1]
    for count, name in ((1, ""), (5, "_5"), (10, "_10"), (20, "_20")):
        assert said[f"ofi{name}"] == pytest.approx(found[:, :count].sum(axis=1), abs=1e-9)
        wanted = stock[:, :count].sum(axis=1)
        assert said[f"depth_imbalance{name}"] == pytest.approx(wanted, abs=1e-9)
    weights = np.exp(-np.arange(20) / 3.0)
    assert said["weighted_ofi"] == pytest.approx(found @ weights, abs=1e-9)
    assert said["depth_delta"] == pytest.approx(np.diff(stock[:, 0], prepend=stock[0, 0]))


def test_quantity_near_the_mid_weighs_more():
    shown = books(20)
    mid = (shown.levels[:, 0, 0, 0] + shown.levels[:, 1, 0, 0])[:, None] / 2
    near = [
        (q / (1 + 100 * np.abs(p - mid) / mid)).sum(axis=1)
        for p, q in np.moveaxis(shown.levels, (1, 3), (0, 1))
    ]
    assert said_of(shown)["vw_depth_imbalance"] == pytest.approx(near[0] - near[1])


def test_depth_delta_telescopes_whatever_happened_between():
    said = said_of(books(50))
    stock = said["depth_imbalance"]
    assert said["depth_delta"].sum() == pytest.approx(stock[-1] - stock[0])
    assert said["ofi"].sum() != pytest.approx(stock[-1] - stock[0])


def test_books_with_fewer_levels_know_less():
    said = said_of(books(5, depth=7))
    assert np.isnan(said["ofi_10"]).all() and np.isnan(said["depth_imbalance_20"]).all()
    assert np.isfinite(said["ofi_5"]).all() and np.isfinite(said["weighted_ofi"]).all()


def test_the_mirror_image_of_books_has_the_opposite_flow():
    shown = books(40)
    mirror = shown._replace(levels=shown.levels[:, ::-1].copy())
    mirror.levels[..., 0] = 300 - mirror.levels[..., 0]
    assert flows_of(mirror) == pytest.approx(-flows_of(shown))


def test_live_equals_batch_bit_for_bit():
    shown = books(50)
    plain = streaming(levels.book_flow.py_func, levels.book_memory(20), levels.FADE)
    live = order_flow.streaming_book_flow()
    for said in (plain, live):
        rows = [said.update(int(t), book) for t, book in zip(shown.time_us, shown.levels)]
        assert np.array_equal(np.array(rows).T, list(said_of(shown).values()))


# -- one number from many levels --------------------------------------------------------------


def test_a_first_component_is_found_again():
    random = np.random.default_rng(1)
    true = np.array([0.5, 0.3, 0.2])
    flows = random.normal(0, 3, (4_000, 1)) * true + random.normal(0, 0.05, (4_000, 3))
    weights = order_flow.fit_integrated(flows[:2_000])
    assert weights == pytest.approx(true, abs=0.01)
    assert np.abs(weights).sum() == pytest.approx(1.0)
    whole = order_flow.integrated(flows[2_000:], weights)
    assert whole.to_numpy() == pytest.approx(flows[2_000:] @ weights)


def test_levels_in_bins_are_scaled_by_their_mean_depth():
    shown = books(300, depth=12)
    bins = order_flow.multi_level({"X": shown}, every="1 s", levels=10)
    flow, second = flows_of(shown), shown.time_us // 1_000_000
    for row in bins.rows(named=True)[1:]:  # the first began before the first book
        inside = second == second[0] + bins["time"].to_list().index(row["time"])
        depth = shown.levels[inside, :, :10, 1].mean()
        assert row["level_3"] == pytest.approx(flow[inside, 3].sum() / depth)
    assert bins["level_3"][0] is None and bins["book_coverage"][0] < 1


def test_weights_and_levels_must_go_together():
    with pytest.raises(UserError, match="3 levels and 2 weights"):
        order_flow.integrated(np.zeros((5, 3)), np.array([0.5, 0.5]))
    with pytest.raises(UserError, match="flows vary, found 5"):
        order_flow.fit_integrated(np.ones((5, 3)))
    with pytest.raises(UserError, match="X has 4 levels, 10 are asked for"):
        order_flow.multi_level({"X": books(9, depth=4)}, every="1 s")
    assert math.isnan(
        order_flow.streaming_book_flow(4).update(0, books(1, depth=4).levels[0]).ofi_5
    )
