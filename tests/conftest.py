import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from tests_settings import SMALL


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Data and reports of this test session alone; shared by its tests, so work is done once."""
    place = tmp_path_factory.mktemp("alphabook")
    before = {k: os.environ.get(k) for k in ("ALPHABOOK_DATA", "ALPHABOOK_REPORTS")}
    os.environ["ALPHABOOK_DATA"] = str(place / "data")
    os.environ["ALPHABOOK_REPORTS"] = str(place / "reports")
    yield place
    for key, value in before.items():
        os.environ.pop(key) if value is None else os.environ.update({key: value})


@pytest.fixture(scope="session")
def small(store):
    """A simulated study small enough for seconds."""
    from research import study

    return study.read("demo", SMALL)
