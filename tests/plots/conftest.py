"""Every test of a picture begins and ends without open figures."""

import pytest


@pytest.fixture(autouse=True)
def no_figures():
    """Close what a test drew, whatever file it stands in."""
    import matplotlib.pyplot as plt

    plt.close("all")
    yield
    plt.close("all")
