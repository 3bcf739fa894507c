"""What whole runs of paper trading are tested on."""

import os

import pytest


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """One store for the module: the market is drawn and the first champion trained once."""
    place = tmp_path_factory.mktemp("data")
    before = os.environ.get("ALPHABOOK_DATA")
    os.environ["ALPHABOOK_DATA"] = str(place)
    yield place
    if before is None:
        del os.environ["ALPHABOOK_DATA"]
    else:
        os.environ["ALPHABOOK_DATA"] = before
