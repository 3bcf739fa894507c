"""One function over many items: in this process, in several, and on a cluster of two workers."""

import io
import itertools
import math
import os
import re
import signal
import socket
import sys
import time

import joblib
import pytest
import small_cluster

from research import batch, notebooks
from research.errors import UserError

SQUARES = [4.0, -1.0, 9.0]


@pytest.fixture(scope="module")
def cluster(store):
    with small_cluster.cluster() as address:
        yield address


@pytest.fixture(params=["here", "processes", "cluster"])
def how(request):
    """Every way to work, as `batch` is told it."""
    if request.param == "cluster":
        return {"scheduler": request.getfixturevalue("cluster")}
    return {"workers": {"here": 1, "processes": 2}[request.param]}


def test_results_come_in_order_and_failures_in_their_place(how):
    seen = []
    found = batch.map(math.sqrt, SQUARES, watch=lambda *at: seen.append(at), **how)
    assert found[::2] == [2.0, 3.0] and isinstance(found[1], ValueError)
    assert seen == [(1, 3, ""), (2, 3, ""), (3, 3, "")]


def test_every_item_comes_with_its_result(how):
    found = dict(batch.map_items(abs, [-3, 2, -1], **how))
    assert found == {-3: 3, 2: 2, -1: 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_each_gives_results_in_order_and_raises_a_failure(workers):
    seen = []
    found = batch.each(abs, [-3, 2, -1], workers=workers, watch=lambda *at: seen.append(at))
    assert list(found) == [3, 2, 1]
    assert seen == [(1, 3, ""), (2, 3, ""), (3, 3, "")]
    with pytest.raises(ValueError, match="math domain error"):
        list(batch.each(math.sqrt, SQUARES, workers=workers))


@pytest.mark.parametrize("workers", [1, 2])
def test_each_asks_for_items_as_they_are_needed(workers):
    asked = []
    found = batch.each(_slowly, (asked.append(n) or n for n in range(30)), workers=workers)
    assert next(found) == 0
    assert 1 <= len(asked) <= 10
    assert list(found) == list(range(1, 30))


def _slowly(number):
    time.sleep(0.05)
    return number


def test_a_process_that_is_killed_is_told_in_one_line():
    with pytest.raises(UserError, match="one of 2 processes was killed"):
        list(batch.each(_killed, [0, 1], workers=2))
    assert list(batch.each(abs, [-1], workers=2)) == [1]


def _killed(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_works_for_another_has_no_hands_to_spare():
    assert batch.hands() == joblib.cpu_count()
    assert batch.map(_hands, [0, 1], workers=2) == [1, 1]


def _hands(_):
    return batch.hands()


class Screen(io.StringIO):
    """Standard error as a test wants it to be."""

    def __init__(self, terminal=False):
        super().__init__()
        self.isatty = lambda: terminal


@pytest.fixture
def clock(monkeypatch):
    """Seconds as `tqdm` sees them: they go on by three with each item."""
    passed = itertools.count(0.0, 3.0)
    now = [next(passed)]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return lambda: now.__setitem__(0, next(passed))


def shown(clock, screen, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen)
    watch = batch.progress("train")
    for done in range(1, 11):
        clock()
        watch(done, 10, f"fold {done}")
    return screen.getvalue()


def test_a_file_gets_lines_ten_seconds_apart_and_nothing_to_draw_over(clock, monkeypatch):
    """Three seconds an item: the first line after twelve, and then every twelve."""
    first, second = shown(clock, Screen(), monkeypatch).splitlines()
    assert re.fullmatch(r"train 4/10, 00:1[78] left, fold 4", first)
    assert re.fullmatch(r"train 8/10, 00:0[56] left, fold 8", second)


def test_a_terminal_and_a_notebook_have_a_bar(clock, monkeypatch):
    cell = type("OutStream", (Screen,), {"__module__": "ipykernel.iostream"})
    for screen in (Screen(terminal=True), cell()):
        said = shown(clock, screen, monkeypatch)
        assert said.count("\r") > 5 and "train:  40%|" in said and "\n" not in said


def test_a_stage_s_bar_is_drawn_alike(monkeypatch, tmp_path):
    """What papermill draws by is told it; no notebook is run for that."""
    told = {}
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **how: told.update(how) or stop())
    monkeypatch.setattr(sys, "stderr", Screen())
    with pytest.raises(KeyboardInterrupt):
        notebooks.execute("train", {}, tmp_path / "out.ipynb")
    assert told["progress_bar"]["mininterval"] == 10
    assert "{bar}" not in told["progress_bar"]["bar_format"]


def stop():
    raise KeyboardInterrupt


def test_no_items_are_no_work():
    assert batch.map(math.sqrt, [], scheduler="tcp://127.0.0.1:1") == []


def test_both_workers_work(cluster):
    seen = set(batch.map(os.readlink, ["/proc/self"] * 40, scheduler=cluster))
    assert len(seen) == 2 and str(os.getpid()) not in seen


def test_workers_read_and_write_where_this_process_does(cluster, tmp_path, monkeypatch):
    folders = {f"ALPHABOOK_{name.upper()}": str(tmp_path / name) for name in ("data", "reports")}
    for name, folder in folders.items():
        monkeypatch.setenv(name, folder)
    assert batch.map(os.getenv, list(folders), scheduler=cluster) == list(folders.values())


def test_a_worker_that_dies_is_named_and_the_cluster_lives_on(cluster):
    (found,) = batch.map(os._exit, [3], scheduler=cluster)
    assert isinstance(found, RuntimeError)
    assert "worker tcp://127.0.0.1:" in str(found) and "died over this item" in str(found)
    assert batch.map(abs, [-1, -2], scheduler=cluster) == [1, 2]


def test_what_nobody_waits_for_any_more_is_called_off(cluster):
    from distributed import Client

    found = batch.map_items(time.sleep, [0.0] + [0.2] * 100, scheduler=cluster)
    assert next(found)[1] is None
    found.close()
    with Client(cluster, set_as_default=False) as client:
        begun = time.monotonic()
        while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
            assert time.monotonic() - begun < 5  # a hundred would take ten
            time.sleep(0.05)


def test_workers_of_other_code_are_refused(cluster, monkeypatch):
    monkeypatch.setattr(batch, "_code", lambda: "another")
    with pytest.raises(UserError, match=r"worker tcp://\S+: runs other code than this process"):
        batch.map(abs, [1], scheduler=cluster)


def test_workers_that_do_not_see_the_data_are_refused(cluster, monkeypatch):
    monkeypatch.setattr(batch.Path, "mkdir", lambda *_, **__: None)
    monkeypatch.setattr(batch, "_roots", lambda: {"ALPHABOOK_DATA": "/not/there"})
    with pytest.raises(UserError, match=r"worker tcp://\S+: does not see /not/there"):
        batch.map(abs, [1], scheduler=cluster)


def test_an_address_that_does_not_answer_is_named(cluster):
    with socket.socket() as idle:
        idle.bind(("127.0.0.1", 0))
        port = idle.getsockname()[1]  # bound, and nobody listens
        with pytest.raises(UserError, match=rf"scheduler tcp://127.0.0.1:{port}: does not answer"):
            batch.map(abs, [1], scheduler=f"tcp://127.0.0.1:{port}")
    with pytest.raises(UserError, match=r"scheduler 127.0.0.1: does not answer \(missing port"):
        batch.map(abs, [1], scheduler="127.0.0.1")


def test_a_scheduler_without_workers_says_so(store, monkeypatch):
    monkeypatch.setattr(batch, "_PATIENCE", 0.5)
    with (
        small_cluster.cluster(workers=0) as address,
        pytest.raises(UserError, match=r"has no worker. Start some, as in dask worker tcp://"),
    ):
        batch.map(abs, [1], scheduler=address)


def test_without_distributed_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match="Install the extra 'cluster'"):
        batch.map(abs, [1], scheduler="tcp://127.0.0.1:8786")
