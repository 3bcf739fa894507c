"""Whether a study's recording is long enough to be trained on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast

from research import pipeline, units
from research.errors import UserError
from research.order_flow import studied
from research.study import Study


def untrained(study: Study) -> str | None:
    """Say why a study's recording is not trained on; None where it is, and for other sources.

    A recording of a few minutes still has a book, its gaps and its flow to be looked at, so that
    being short is a fact to be told and no mistake.

    Raises
    ------
    UserError
        If the recording cannot be read.
    """
    if study.data.source not in studied.SOURCES:
        return None
    made = studied.kept(study)["bars"]
    if made.is_empty():
        return studied.NO_BARS.format(study.name, units.show(study.data.interval))
    bars, chosen = pipeline.bars(study), study.validation
    first, last = cast("datetime", bars["open_time"].min()), cast("datetime", bars["time"].max())
    span = last - first
    if span > chosen.train + chosen.test + _GRID:
        return None
    try:
        pipeline.folds(study, bars)
    except UserError:
        return (
            f"the recording holds bars of {span / _MINUTE:.1f} min, which is too short for the "
            f"study's folds: they need {units.show(chosen.train)} to train on and "
            f"{units.show(chosen.test)} to be tested. Bring a longer one, or shorten "
            "validation.train and validation.test."
        )
    return None


_MINUTE = timedelta(minutes=1)
_GRID = timedelta(days=1)
"""Windows begin at a whole minute or day: so much may be lost before the first."""
