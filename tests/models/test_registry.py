"""The registry: versions come back as they were, one champion at every moment, whatever happens."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from research import models
from research.errors import UserError
from research.models.registry import Registry
from research.models.registry.ledger import HISTORY, POINTER

RNG = np.random.default_rng(0)
X = pl.DataFrame(RNG.normal(size=(300, 3)), schema=["a", "b", "c"])
Y = X["a"].to_numpy() + RNG.normal(size=300)


def model(seed=1, learner="ridge", **card):
    y = Y + np.random.default_rng(seed).normal(size=300)
    params = models.settings(learner, {"rounds": 5, "min_data_in_leaf": 20})
    made = models.learner(learner).fit(X, y, seed=1, params=params)
    return models.Model({**made.card, **card}, made.core)


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "models")


@pytest.fixture
def three(registry):
    return [registry.add({"": model(seed)}, {"at": seed}) for seed in (1, 2, 3)]


# -- versions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["ridge", "lightgbm", "xgboost"])
def test_models_come_back_bit_for_bit(registry, learner):
    found = {s: model(k, learner) for k, s in enumerate(["BTCUSDT", "1000/PE PE", "all symbols"])}
    version = registry.add(found, {"at": 5})
    back = registry.read(version)
    assert list(back) == sorted(found)
    for symbol, made in found.items():
        assert back[symbol].card == json.loads(json.dumps(made.card))
        assert back[symbol].predict(X).tobytes() == made.predict(X).tobytes()
    assert registry.card(version)["facts"] == {"at": 5}


def test_ids_are_the_content(registry):
    """S1 named versions by the second: two trained in one second were one."""
    one, two = model(1), model(2)
    ids = [registry.add({"": m}, {"at": at}) for m in (one, two) for at in (1, 2)]
    assert len(set(ids)) == 4
    assert registry.add({"": one}, {"at": 1}) == ids[0]
    assert registry.versions() == ids
    assert all(name.startswith("ridge-") for name in ids)


def test_all_and_a_symbol_called_so_are_two(registry):
    assert set(registry.read(registry.add({"": model()}, {}))) == {""}
    assert set(registry.read(registry.add({"A": model()}, {}))) == {"A"}


def test_what_cannot_be_stored_is_refused(registry, tmp_path):
    source = (
        "class M:\n    def fit(self, X, y): return self\n    def predict(self, X): return X[:,0]\n"
    )
    (tmp_path / "mine.py").write_text(source)
    own = models.learner("mine:M", folder=tmp_path).fit(X, Y, seed=1, params={})
    for found, facts, word in (
        ({"": own}, {}, "to_text"),
        ({}, {}, "found none"),
        ({"": model()}, {"rmse": float("nan")}, "NaN"),
        ({"": model()}, {"when": object()}, "JSON"),
    ):
        with pytest.raises(UserError, match=word):
            registry.add(found, facts)
    assert registry.versions() == []


@pytest.mark.parametrize(
    "file", ["version.json", "all symbols/card.json", "all symbols/model.json"]
)
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "gone"])
def test_damage_is_refused(registry, three, file, harm):
    path = registry.folder / three[0] / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    wrong = {"flip": bytes(content), "cut": bytes(content[:-9]), "empty": b""}
    path.unlink() if harm == "gone" else path.write_bytes(wrong[harm])
    with pytest.raises(UserError):
        registry.read(three[0])
    with pytest.raises(UserError):
        registry.promote(three[0], at=1, why="first", evidence={})
    assert registry.champion is None
    # the same content stored again mends it
    assert registry.add({"": model(1)}, {"at": 1}) == three[0]
    assert registry.read(three[0])


def test_a_card_edited_with_care_is_refused(registry, three):
    """The text's own fingerprint does not cover the card: the version's does."""
    path = registry.folder / three[0] / "all symbols" / "card.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    assert models.load(path.parent)  # the model alone does not notice
    with pytest.raises(UserError, match="changed or damaged"):
        registry.read(three[0])


def test_a_mismatched_card_is_refused(registry):
    features = {"name": "S2", "version": "1", "fingerprint": "f" * 64}
    version = registry.add({"": model(features=features, horizon_bars=10)}, {})
    assert registry.read(version, features=features, horizon_bars=10, columns=["a", "b", "c"])
    for other in (
        {"features": {**features, "version": "2"}},
        {"horizon_bars": 5},
        {"columns": ["b", "a", "c"]},
        {"target": "scaled"},
    ):
        with pytest.raises(UserError, match="Train it anew"):
            registry.read(version, **other)


@pytest.mark.parametrize(
    "name", ["", "../../x", "ridge-1", "a/b", "x" * 300, "ridge-\0" + "0" * 16]
)
def test_a_name_never_leaves_the_folder(registry, three, name):
    with pytest.raises(UserError, match="not the id"):
        registry.read(name)
    with pytest.raises(UserError, match=three[0]):
        registry.read("ridge-" + "0" * 16)


# -- who is in force --------------------------------------------------------------------------


def test_promotion_again_and_again(registry, three):
    """S1's link pointed beside itself, and its second promotion raised FileExistsError."""
    for at, version in enumerate([*three, three[0], three[2]], 1):
        registry.promote(version, at=at, why="scheduled", evidence={"e": at / 3})
        assert registry.champion == version
        assert registry.read(registry.champion)
    told = registry.history()
    assert [line["number"] for line in told] == [1, 2, 3, 4, 5]
    assert [line["was"] for line in told] == [None, three[0], three[1], three[2], three[0]]
    assert told[2] == {
        "number": 3,
        "model": three[2],
        "was": three[1],
        "at": 3,
        "why": "scheduled",
        "evidence": {"e": 1.0},
    }
    with pytest.raises(UserError, match="already"):
        registry.promote(three[2], at=9, why="again", evidence={})


def test_rollback_goes_back_and_back(registry, three):
    with pytest.raises(UserError, match="no way back"):
        registry.rollback(at=0)
    for at, version in enumerate(three):
        registry.promote(version, at=at, why="scheduled", evidence={})
    assert registry.rollback(at=7) == three[1] == registry.champion
    assert registry.rollback(at=8) == three[0] == registry.champion
    with pytest.raises(UserError, match="no way back"):
        registry.rollback(at=9)
    assert [line["why"] for line in registry.history()][3:] == ["rollback", "rollback"]
    registry.promote(three[2], at=9, why="again", evidence={})
    assert registry.rollback(at=10) == three[0]


def test_a_challenger_is_one_until_it_wins_or_is_dropped(registry, three):
    registry.promote(three[0], at=1, why="first", evidence={})
    registry.challenge(three[1])
    assert (registry.champion, registry.challenger) == (three[0], three[1])
    registry.challenge(None)
    assert registry.challenger is None
    registry.challenge(three[2])
    registry.promote(three[1], at=2, why="user", evidence={})
    assert registry.challenger == three[2]
    registry.promote(three[2], at=3, why="evidence", evidence={})
    assert registry.challenger is None
    with pytest.raises(UserError, match="already"):
        registry.challenge(three[2])


def test_pruning_spares_those_in_use(registry):
    """S1 never cleaned a version that had once been active."""
    ids = [registry.add({"": model(seed)}, {"at": seed}) for seed in range(9)]
    for at in (0, 1, 2):
        registry.promote(ids[at], at=at, why="scheduled", evidence={})
    registry.challenge(ids[3])
    gone = registry.prune(2, hold=[ids[4]])
    assert gone == [ids[0], ids[5], ids[6]]
    assert registry.versions() == [ids[k] for k in (1, 2, 3, 4, 7, 8)]
    assert registry.rollback(at=9) == ids[1]
    with pytest.raises(UserError, match="no way back"):
        registry.rollback(at=10)
    assert registry.prune(0) == [ids[k] for k in (2, 4, 7, 8)]
    assert not list(registry.folder.glob(".*"))


def test_a_look_at_it(registry, three):
    registry.promote(three[0], at=60_000_000, why="<b>", evidence={})
    registry.challenge(three[1])
    (registry.folder / three[2] / "version.json").write_text("{}")
    table = registry.table()
    assert table["version"].to_list() == three
    assert table["state"].to_list() == ["champion", "challenger", "damaged"]
    assert table["since"].dt.epoch("us").to_list() == [60_000_000, None, None]
    assert three[0] in registry._repr_html_()
    assert Registry(registry.folder / "none").table().is_empty()


# -- no moment without a champion -------------------------------------------------------------


def test_a_reader_always_meets_a_champion(registry, three):
    """S1 unlinked, then linked: a reader in between had no model at all."""
    registry.promote(three[0], at=0, why="first", evidence={})
    seen, wrong, stop = set(), [], threading.Event()

    def look():
        while not stop.is_set():
            try:
                seen.add(registry.champion)
                registry.read(registry.champion)
            except UserError as error:
                wrong.append(str(error))

    thread = threading.Thread(target=look)
    thread.start()
    for at in range(150):
        registry.promote(three[1 + at % 2], at=at, why="swap", evidence={})
    stop.set()
    thread.join()
    assert not wrong
    assert seen <= set(three)
    assert len(seen) > 1


class Killed(BaseException):
    """The process is gone at this step of the disk."""


def crashing(monkeypatch, step):
    """Let the process die at its `step`-th disk operation; return how many there were."""
    count = [0]

    def mine(name, original):
        def call(*args, **more):
            count[0] += 1
            if count[0] == step:
                raise Killed
            return original(*args, **more)

        return call

    for place, name in ((os, "fsync"), (Path, "replace"), (Path, "rename"), (Path, "open")):
        monkeypatch.setattr(place, name, mine(name, getattr(place, name)))
    return count


def test_a_kill_at_every_step_leaves_old_or_new(tmp_path, monkeypatch):
    step, done = 0, False
    while not done:
        step += 1
        registry = Registry(tmp_path / str(step))
        first = registry.add({"": model(1)}, {"at": 1})
        registry.promote(first, at=1, why="first", evidence={})
        with monkeypatch.context() as patch:
            count = crashing(patch, step)
            try:
                second = registry.add({"": model(2)}, {"at": 2})
                registry.challenge(second)
                registry.promote(second, at=2, why="better", evidence={"e": 21.5})
                registry.prune(0)
            except Killed:
                pass
            done = count[0] < step
        again = Registry(registry.folder)
        assert again.read(again.champion)
        told = again.history()
        assert told[-1]["model"] == again.champion
        for version in again.versions():
            assert again.read(version)
        third = again.add({"": model(3)}, {"at": 3})
        again.promote(third, at=3, why="later", evidence={})
        assert again.history()[:-1] == told
        assert [line["number"] for line in again.history()] == [*range(1, len(told) + 2)]
    assert step > 30


LOOP = """
import sys, itertools
from pathlib import Path
import numpy as np, polars as pl
from research import models
from research.models.registry import Registry
X = pl.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), schema=["a", "b", "c"])
made = [models.learner("ridge").fit(X, X["a"].to_numpy() * k + X["b"].to_numpy(), seed=1,
        params={}) for k in range(1, 4)]
registry = Registry(Path(sys.argv[1]))
start = len(registry.history())
print("ready", flush=True)
for at in itertools.count(start):
    version = registry.add({"": made[at % 3]}, {"at": at})
    registry.promote(version, at=at, why="swap", evidence={"at": at})
    registry.prune(2)
    print(at, flush=True)
"""


def kills(folder, count, seed=0):
    """SIGKILL a promoting process `count` times; return the promotions that came through."""
    rng, said = np.random.default_rng(seed), 0
    for _ in range(count):
        command = [sys.executable, "-c", LOOP, str(folder)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.0, 0.15))
        child.send_signal(signal.SIGKILL)
        lines = child.stdout.read().splitlines()
        child.stdout.close()
        child.wait()
        registry = Registry(folder)
        told = registry.history()
        assert [line["number"] for line in told] == [*range(1, len(told) + 1)]
        assert len(told) >= (int(lines[-1]) + 1 if lines else said), "a promotion was lost"
        said = len(told)
        if said:
            assert registry.champion == told[-1]["model"]
            assert registry.read(registry.champion)
    return said


def test_kills_at_random_moments(tmp_path):
    assert kills(tmp_path / "models", 4) > 0


def test_a_torn_history_is_mended_and_a_changed_one_refused(registry, three):
    for at, version in enumerate(three):
        registry.promote(version, at=at, why="scheduled", evidence={})
    told, path = registry.history(), registry.folder / HISTORY
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for end in range(start, len(whole)):  # the newest line, torn anywhere
        path.write_bytes(whole[:end])
        assert registry.history() == told
    registry.rollback(at=9)
    assert registry.history()[:-1] == told
    path.write_bytes(b"[]\n" + path.read_bytes())
    with pytest.raises(UserError, match="line 1"):
        registry.history()
    (registry.folder / POINTER).write_text("[]")
    with pytest.raises(UserError, match="anew"):
        _ = registry.champion


def test_a_full_disk_is_one_line(registry, three, monkeypatch):
    def full(self, *args, **more):
        raise OSError(28, "No space left on device")

    registry.promote(three[0], at=1, why="first", evidence={})
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="No space left"):
        registry.promote(three[1], at=2, why="better", evidence={})
    assert registry.champion == three[0]
