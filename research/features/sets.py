"""The frozen, versioned feature sets, and how a study's words become one of them.

``S1``, ``S2`` and ``S4`` are the sets of the source projects: 19, 18 and 52 columns, continuous in
crypto time. ``S2_day`` cuts returns at midnight UTC, as S2 itself does. ``S2_plus`` adds formulaic
alphas, order flow, the calendar and range volatility, each a group; ``S2_cross`` adds what other
symbols did, and needs bars of several. ``order_flow`` reads what bars of a recording have beside
them. In ``S1_stationary`` and
``S4_stationary`` what is a price or a size stands in units of its own market. ``rules`` are the
baselines. A set never changes under its version: new values are a new version.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from research.errors import UserError, nearest
from research.features import aggregates, catalogue, cross, rules, source
from research.features.kernels import named


@dataclass(frozen=True, slots=True)
class Feature:
    """One column: its expression over one symbol's bars, and what its values depend on.

    Attributes
    ----------
    expr : pl.Expr
        Of Float64; null where not known, never NaN.
    group : str
        The flag that switches it, such as ``"returns"``.
    source : str
        Serialised expression or plain source code: two features with equal text are equal.
    """

    expr: pl.Expr
    group: str
    source: str


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Named columns in a fixed order.

    Attributes
    ----------
    name, version : str
        Such as ``"S2"`` and ``"1"``; they stay when groups are switched off or extras added.
    columns : dict of str to Feature
        In the order a model sees them.
    """

    name: str
    version: str
    columns: dict[str, Feature]

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return list(self.columns)

    @property
    def exprs(self) -> list[pl.Expr]:
        """Expressions, each under its column's name."""
        return [named(feature.expr, name) for name, feature in self.columns.items()]

    @property
    def cross(self) -> tuple[str, ...]:
        """Columns of the cross-section that its features read, as `cross` names them."""
        return cross.named_in(
            name for feature in self.columns.values() for name in feature.expr.meta.root_names()
        )

    @property
    def beside(self) -> tuple[str, ...]:
        """Columns of order flow that its features read, as `aggregates` names them; sorted."""
        names = {n for f in self.columns.values() for n in f.expr.meta.root_names()}
        return tuple(sorted(names & {*aggregates.FLOW}))

    def fingerprint(self) -> str:
        """SHA-256 of name, version, and of each column's name and source; comments do not count."""
        parts = (part for name, f in self.columns.items() for part in (name, f.source))
        return source.digest(self.name, self.version, *parts)

    def _repr_html_(self) -> str:
        groups: dict[str, list[str]] = {}
        for name, feature in self.columns.items():
            groups.setdefault(feature.group, []).append(name)
        rows = "".join(f"<tr><td>{g}</td><td>{', '.join(n)}</td></tr>" for g, n in groups.items())
        return f"<b>feature set {self.name}, version {self.version}</b><table>{rows}</table>"


def _house(group: str, factory: catalogue.Factory, *parameters: float | str) -> Feature:
    return Feature(
        expr=factory(*parameters),
        group=group,
        source=f"{factory.__name__}{parameters} {_code(factory)}",
    )


def _code(factory: catalogue.Factory) -> str:
    return source.of_family(sys.modules[factory.__module__])


def _frozen(name: str, version: str, columns: Mapping[str, catalogue.Column]) -> FeatureSet:
    made = {column: _house(group, f, *p) for column, (group, f, p) in columns.items()}
    return FeatureSet(name, version, made)


def _stationary(of: FeatureSet, version: str, twins: Mapping[str, catalogue.Twin]) -> FeatureSet:
    columns = {}
    for name, feature in of.columns.items():
        twin = twins.get(name)
        columns[f"{name}_z" if twin else name] = _twin(feature, twin) if twin else feature
    return FeatureSet(f"{of.name}_stationary", version, columns)


def _twin(feature: Feature, twin: catalogue.Twin) -> Feature:
    return Feature(
        expr=twin(feature.expr),
        group=feature.group,
        source=f"{twin.__name__} {_code(twin)} {feature.source}",
    )


def _sets() -> dict[str, FeatureSet]:
    s1, s4 = _frozen("S1", "1", catalogue.S1), _frozen("S4", "1", catalogue.S4)
    baselines = {name: (name, *column) for name, column in rules.COLUMNS.items()}
    every = (
        s1,
        _frozen("S2", "1", catalogue.S2),
        _frozen("S2_day", "1", catalogue.S2_DAY),
        _frozen("S2_plus", "1", catalogue.S2_PLUS),
        _frozen("S2_cross", "1", catalogue.S2_CROSS),
        _frozen("order_flow", "1", catalogue.ORDER_FLOW),
        s4,
        _stationary(s1, "1", catalogue.S1_TWINS),
        _stationary(s4, "1", catalogue.S4_TWINS),
        _frozen("rules", "1", baselines),
    )
    return {feature_set.name: feature_set for feature_set in every}


SETS: dict[str, FeatureSet] = _sets()


def resolve(
    name: str,
    *,
    groups: dict[str, bool] | None = None,
    extra: list[str] | None = None,
    folder: Path | None = None,
) -> FeatureSet:
    """Return the feature set that a study names.

    Parameters
    ----------
    name : str
        One of `SETS`.
    groups : dict of str to bool, optional
        Groups to switch off (False). Those not named stay on.
    extra : list of str, optional
        A user's own features as ``"module:name"``; the column is called `name`.
    folder : Path, optional
        Where the modules lie. Absent: ``studies/`` of the project.

    Returns
    -------
    FeatureSet
        Own features last, in the order given. Each has been tried on a canonical series.

    Raises
    ------
    UserError
        If the set or a group is unknown, no column is left, names clash, or an own feature is
        missing, is of the wrong kind, or looks ahead.

    Examples
    --------
    >>> resolve("S2", groups={"returns": False, "stoch": False}).names
    ['bop', 'cci', 'mfi', 'rsi', 'stochrsi', 'natr']
    """
    from research.features import extra as own

    if name not in SETS:
        raise UserError(
            f"feature set {name!r}: no such set.{nearest(name, list(SETS))} "
            f"Here: {', '.join(SETS)}."
        )
    columns = _switched(SETS[name], groups or {})
    for word in extra or []:
        column, feature = own.load(word, folder=folder)
        if column in columns:
            raise UserError(
                f"feature {word!r}: {name} already has a column {column!r}. Rename yours."
            )
        own.try_out(column, feature)
        columns[column] = feature
    if not columns:
        raise UserError(f"feature set {name!r}: every group is off. Leave at least one on.")
    return replace(SETS[name], columns=columns)


def _switched(feature_set: FeatureSet, groups: dict[str, bool]) -> dict[str, Feature]:
    known = sorted({feature.group for feature in feature_set.columns.values()})
    for group, on in groups.items():
        if group not in known:
            raise UserError(
                f"feature set {feature_set.name!r}: unknown group {group!r}."
                f"{nearest(group, known)} Groups: {', '.join(known)}."
            )
        if not isinstance(on, bool):
            raise UserError(f"features.groups.{group}: must be true or false, found {on!r}.")
    return {n: f for n, f in feature_set.columns.items() if groups.get(f.group, True)}
