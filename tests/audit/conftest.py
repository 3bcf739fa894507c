import json

import pytest


@pytest.fixture(scope="session")
def sealed_run(small):
    """A sealed run with one picture, and a notebook and its page as a chain leaves them."""
    from research import plots, report
    from research.audit import verify
    from research.report import figures
    from research.store import tables

    def one(study, found, tested, rivals, summary, folder):
        figures.save(lambda: plots.equity(tested.equity), folder / "equity")

    note = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", one)
        with tables.used() as used, report.new_run(small) as part:
            (part.folder / "notebooks").mkdir()
            (part.folder / "notebooks" / "05_backtest.ipynb").write_text(json.dumps(note))
    verify.seal(small, part.run.folder, used)
    return part.run
