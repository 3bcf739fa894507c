import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research import steps
from research.errors import UserError

ROOT = Path(__file__).resolve().parent.parent


class Memory(NamedTuple):
    count: int
    mean: float
    ring: np.ndarray


class Window(NamedTuple):
    length: int
    scale: float


def plain_mean(state, event, rules):
    """Mean of the last `length` products of two columns, kept in a ring of the state's own."""
    slot = state.count % rules.length
    new = event[0] * event[1] * rules.scale
    old = state.ring[slot] if state.count >= rules.length else 0.0
    state.ring[slot] = new
    kept = min(state.count + 1, rules.length)
    total = state.mean * min(state.count, rules.length) + new - old
    return Memory(state.count + 1, total / kept, state.ring), total / kept


def plain_both(state, event, rules):
    return state + event[0], (state, event[0])


mean = steps.compiled(plain_mean)
both = steps.compiled(plain_both)
RULES = Window(3, 1.0)


def fresh():
    return Memory(0, 0.0, np.zeros(3))


def test_scan_by_hand():
    x, one = np.array([3.0, 6.0, 9.0, 12.0]), np.ones(4)
    state, values = steps.scan(mean, fresh(), (x, one), RULES)
    assert values.tolist() == [3.0, 4.5, 6.0, 9.0]
    assert (state.count, state.mean) == (4, 9.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30))
def test_compiled_batch_is_plain_one_at_a_time(numbers):
    x = np.array(numbers)
    y = np.linspace(1.0, 2.0, len(x))
    live = steps.streaming(plain_mean, fresh(), RULES)
    one_by_one = [live.update(float(a), float(b)) for a, b in zip(x, y)]
    state, values = steps.scan(mean, fresh(), (x, y), RULES)
    assert values.tolist() == one_by_one
    assert steps.scan(plain_mean, fresh(), (x, y), RULES)[1].tolist() == one_by_one
    assert state.ring.tolist() == live.state.ring.tolist()
    assert live.value == one_by_one[-1]


def test_compiled_one_at_a_time_is_the_same():
    live = steps.streaming(mean, fresh(), RULES)
    assert [live.update(v, 1.0) for v in (3.0, 6.0, 9.0, 12.0)] == [3.0, 4.5, 6.0, 9.0]


def test_a_value_of_several_numbers_is_a_row():
    state, values = steps.scan(both, 1.0, (np.array([2.0, 3.0]),), 0)
    assert state == 6.0
    assert values.tolist() == [[1.0, 2.0], [3.0, 3.0]]


def test_the_state_handed_in_stays_as_it_is():
    start = fresh()
    steps.scan(mean, start, (np.ones(5), np.ones(5)), RULES)
    steps.streaming(mean, start, RULES).update(1.0, 1.0)
    assert start.ring.tolist() == [0.0, 0.0, 0.0]


def test_nothing_to_scan():
    state, values = steps.scan(mean, fresh(), (np.empty(0), np.empty(0)), RULES)
    assert (state.count, len(values)) == (0, 0)
    with pytest.raises(UserError, match="one length"):
        steps.scan(mean, fresh(), (np.ones(2), np.ones(3)), RULES)
    with pytest.raises(UserError, match="one or more columns"):
        steps.scan(mean, fresh(), (), RULES)


def test_a_streaming_step_says_what_it_is():
    live = steps.streaming(mean, fresh(), RULES)
    assert live.value is None
    live.update(2.0, 1.0)
    assert repr(live) == "streaming plain_mean: value 2.0"


HELPER = "from research.steps import compiled\n@compiled\ndef factor(x):\n    return {number} * x\n"
STEP = """
from research.steps import compiled
from research.room.helper import factor
@compiled
def step(x):
    return factor(x)
"""


@pytest.mark.slow
def test_stored_machine_code_follows_the_whole_room(tmp_path):
    """numba alone would run yesterday's `factor` inside today's `step`."""
    package = tmp_path / "research"
    (package / "room").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "steps.py"):
        (package / name).write_text((ROOT / "research" / name).read_text())
    (package / "room" / "__init__.py").write_text("")
    (package / "room" / "step.py").write_text(STEP)
    # to Python's own store of bytecode two edits within a second look alike
    fresh = {"PYTHONDONTWRITEBYTECODE": "1"}
    ask = "from research.room.step import step; r = step(1); print(r, len(step.stats.cache_hits))"

    def answer(number):
        (package / "room" / "helper.py").write_text(HELPER.format(number=number))
        ran = subprocess.run(
            [sys.executable, "-c", ask],
            cwd=tmp_path,
            env={**os.environ, **fresh, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout.split()

    assert answer(2) == ["2", "0"]
    assert answer(2) == ["2", "1"]  # from disk
    assert answer(3) == ["3", "0"]
