"""What is certified: a feature set, an expression, or a user's own function of bars."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from research import features as room
from research import schema
from research.audit.certificate.functions import OfFunction
from research.audit.certificate.ofset import OfSet
from research.audit.certificate.views import Subject
from research.errors import UserError
from research.features.extra import feature


def subject(thing: Any, bars: Any, table: pl.DataFrame, interval: timedelta) -> Subject:
    """Make a subject of what a user hands in.

    Raises
    ------
    UserError
        If it is neither a set's name, a set, an expression nor a function.
    """
    if isinstance(thing, str):
        return OfSet(room.resolve(thing), interval)
    if isinstance(thing, room.FeatureSet):
        return OfSet(thing, interval)
    if isinstance(thing, pl.Expr):
        name = thing.meta.output_name(raise_if_undetermined=False)
        if name is None or name in schema.FEATURES:
            name = "feature"  # the table has columns of that name
        return OfSet(room.FeatureSet(name, "0", {name: feature(name, thing)}), interval)
    if callable(thing):
        return OfFunction(thing, bars, table)
    raise UserError(
        "certify: expected the name of a feature set, a set, a polars expression or a function "
        f"of bars, found a {type(thing).__name__}."
    )
