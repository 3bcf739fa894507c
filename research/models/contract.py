"""What every learner promises: a frozen model beside its card, saved in native text.

A card holds what made the model (columns, settings, data, window, versions) and nothing of when
or where: the same inputs give the same bytes on disk.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from research import schema
from research.errors import UserError, nearest
from research.models.protocols import Core, Learner

CARD = "card.json"
CLASSES = tuple(schema.CLASSES)
"""What a class model's columns of probabilities are called, in their order."""


@dataclass(frozen=True)
class Model:
    """A fitted learner and the card that says what it was made of.

    Attributes
    ----------
    card : dict
        ``learner, columns, params, seed, rows, best_iteration, data, versions``; models of a
        walk-forward also have ``features``, ``fold`` and ``target``, those of classes
        ``payoff``: the mean target of each class over the training rows.
    core : Core
        The learner's own part.
    """

    card: dict[str, Any]
    core: Core

    @cached_property  # asked at each live bar, and a text of many trees takes milliseconds to hash
    def id(self) -> str:
        """Learner and the first digits of the model text's fingerprint: ``ridge-1f0c2d3e4a5b``."""
        return f"{self.card['learner']}-{_digest(self.core.text)[:12]}"

    def predict(self, X: Any, *, features: dict[str, Any] | None = None) -> np.ndarray:
        """Forecast one number per row: the expected target.

        Parameters
        ----------
        X : pl.DataFrame or pd.DataFrame, shape (n_rows, n_columns)
            Exactly the columns of the card, in its order, every value known.
        features : dict, optional
            Card of the feature set that made `X`; refused when it is not the model's.

        Returns
        -------
        np.ndarray of float64, shape (n_rows,)
            In units of the target. Never null; a row's value does not depend on other rows.

        Raises
        ------
        UserError
            If names, order or feature set differ, or a value is not known.
        """
        return self.forecast(X, features=features)["forecast"]

    def forecast(self, X: Any, *, features: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
        r"""Forecast all that the model says of a row.

        Parameters
        ----------
        X, features
            As in `predict`.

        Returns
        -------
        dict of str to np.ndarray of float64, shape (n_rows,)
            ``forecast`` first: the expected target. A model of classes adds ``p_down, p_flat,
            p_up`` (they sum to 1); one of quantiles ``q_10, q_50, q_90`` and the like, in units
            of the target, never crossing.

        Raises
        ------
        UserError
            As in `predict`.

        Notes
        -----
        The expected target of a model of classes is :math:`\sum_k p_k v_k` with :math:`v` the
        ``payoff`` of its card; without one, ``p_up - p_down``. That of a model of quantiles is
        its quantile nearest to one half (of two as near, the lower): a median, not a mean.
        """
        if features is not None and features != self.card.get("features"):
            raise UserError(
                f"model {self.id}: learnt from feature set {_label(self.card.get('features'))}, "
                f"found {_label(features)}. Train it anew."
            )
        same_columns(list(X.columns), self.card["columns"], f"model {self.id}")
        return self.told(matrix(X, f"model {self.id}"))

    def told(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """As `forecast`, of known values, (n_rows, n_columns), in the order of the card."""
        said = self.core.predict(values)
        names = self.core.outputs
        if not names:
            return {"forecast": said}
        columns = {name: np.ascontiguousarray(said[:, k]) for k, name in enumerate(names)}
        return {"forecast": self._expected(columns), **columns}

    def _expected(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        if tuple(columns) != CLASSES:
            return columns[middle(list(columns))].copy()
        down, flat, up = columns.values()
        # no matrix product: BLAS would give a row other bits in a batch
        v = self.card.get("payoff") or (-1.0, 0.0, 1.0)
        return down * v[0] + flat * v[1] + up * v[2]

    def save(self, folder: Path) -> None:
        """Write the model's native file and its card; a kill leaves the old, none or the new.

        A model that has no text to come back from (a user's own without ``to_text``) is not
        written: who looks for it finds none and trains it anew.

        Raises
        ------
        UserError
            If the folder cannot be written.
        """
        if self.core.file is None:
            return
        sealed = {**self.card, "sha256": _digest(self.core.text)}
        card = json.dumps(sealed, indent=1, sort_keys=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / CARD).unlink(missing_ok=True)  # no card, no model: never an old card beside
            _write(folder / self.core.file, self.core.text)  # a new text
            _write(folder / CARD, card + "\n")
        except OSError as error:
            raise UserError(f"model: cannot write {folder}: {error.strerror}.") from error

    def _repr_html_(self) -> str:
        card, fold = self.card, self.card.get("fold", {})
        facts = {
            "features": f"{len(card['columns'])} columns, set {_label(card.get('features'))}",
            "rows": f"{card['rows']:,}",
            "training": f"{fold['train_start']} to {fold['train_end']}" if fold else None,
            "target": card.get("target"),
            "best iteration": card.get("best_iteration"),
            "settings": ", ".join(f"{key} {value}" for key, value in card["params"].items()),
        }
        rows = "".join(
            f"<tr><td style='text-align:left'>{key}</td>"
            f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
            for key, value in facts.items()
            if value is not None
        )
        return f"<b>model {self.id}</b><table>{rows}</table>"


def middle(names: list[str]) -> str:
    """Return the quantile column nearest to one half; of two as near, the lower.

    >>> middle(["q_10", "q_40", "q_60"])
    'q_40'
    """
    return min(names, key=lambda name: (round(abs(float(name[2:]) - 50), 9), float(name[2:])))


def read(folder: Path, find: Callable[[str], Learner]) -> Model:
    """Read the model saved in `folder`, checked against its card.

    Parameters
    ----------
    folder : Path
        Where `Model.save` wrote.
    find : callable
        Gives the learner of a name: its `FILE` and its `read`.

    Returns
    -------
    Model
        With the card it was saved with.

    Raises
    ------
    UserError
        If there is no model, or its text is not the one the card was written for.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf8"))
        learner = find(card["learner"])
        file = folder / str(learner.FILE)
        text = file.read_bytes().decode("utf8", errors="replace")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"model: no readable model in {folder}. Train it anew.") from error
    if _digest(text) != card.pop("sha256", None):
        raise UserError(
            f"model: {file} is not what its card says: changed or damaged. "
            "Train it anew with --retrain."
        )
    return Model(card, learner.read(text))


def matrix(X: Any, name: str) -> np.ndarray:
    """Return the values of a polars or pandas frame as float64, shape (n_rows, n_columns).

    Raises
    ------
    UserError
        If a value is null, NaN or infinite.
    """
    values = plain(X)
    known = np.isfinite(values)
    if not known.all():
        row, column = np.argwhere(~known)[0]
        raise UserError(
            f"{name}: every value must be known, found {values[row, column]} in column "
            f"{list(X.columns)[column]!r}, row {row}. Leave such rows out."
        )
    return values


def plain(X: Any) -> np.ndarray:
    """Return the values of a polars or pandas frame as float64, column after column in memory.

    Series by series: asked for a whole frame, polars wakes its pool of threads, which costs
    milliseconds on a busy machine, and every retraining asks seven times.
    """
    values = np.empty(X.shape, order="F")
    for k, name in enumerate(X.columns):
        values[:, k] = X[name].to_numpy()
    return values


def training(
    X: Any, y: np.ndarray, weight: np.ndarray | None, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return checked values and target of a fit, as float64.

    Raises
    ------
    UserError
        If there are no rows, lengths differ, a number is not finite or a weight not above zero.
    """
    values, y = matrix(X, name), np.asarray(y, dtype=np.float64)
    if not len(values) or y.shape != (len(values),):
        raise UserError(
            f"{name}: X and y must have the same number of rows, at least 1; "
            f"found {len(values)} and {y.shape}."
        )
    if not np.isfinite(y).all():
        raise UserError(f"{name}: y must be finite, found {y[~np.isfinite(y)][0]}.")
    if weight is not None and not (weight.shape == y.shape and (weight > 0).all()):
        raise UserError(f"{name}: weight must hold one number above zero per row.")
    return values, y


def varied(y: np.ndarray, name: str) -> None:
    """Refuse a target that is the same in every row.

    Raises
    ------
    UserError
        If there is nothing to learn.
    """
    if len(y) > 1 and (y == y[0]).all():
        raise UserError(
            f"{name}: y must vary, found {y[0]:g} in all {len(y):,} training rows. "
            "Choose a longer validation.train or other labels."
        )


def card(
    learner: str,
    columns: list[str],
    params: dict[str, Any],
    seed: int,
    rows: int,
    best_iteration: int | list[int] | None,
    versions: dict[str, str],
) -> dict[str, Any]:
    """Return the part of a model's card that its learner knows."""
    return {
        "learner": learner,
        "columns": columns,
        "params": params,
        "seed": seed,
        "rows": rows,
        "best_iteration": best_iteration,
        "versions": versions,
    }


def settings(params: dict[str, Any], defaults: dict[str, Any], name: str) -> dict[str, Any]:
    """Return `defaults` with `params` set; a name that is not among them is a UserError."""
    for key in params.keys() - defaults.keys():
        raise UserError(f"{name}: unknown setting {key!r}.{nearest(key, list(defaults))}")
    return {key: params.get(key, value) for key, value in defaults.items()}


def fingerprint(*arrays: np.ndarray | None) -> str:
    """Return the sha256 of the arrays' shapes and bytes; what a model was fitted on."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none")
        else:
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array.T).data)  # columns as polars hands them
    return digest.hexdigest()


def same_columns(found: list[str], known: list[str], name: str) -> None:
    """Refuse columns that are not the known ones in their order, and say which differ."""
    if found == known:
        return
    absent = [c for c in known if c not in found]
    surplus = [c for c in found if c not in known]
    if absent or surplus:
        what = f"missing {absent}, not known to it {surplus}"
    else:
        place = next(k for k, (a, b) in enumerate(zip(found, known)) if a != b)
        what = f"{found[place]!r} where {known[place]!r} belongs"
    raise UserError(f"{name}: columns must be those it learnt, in their order; found {what}.")


def _label(features: dict[str, Any] | None) -> str:
    if not features:
        return "not named"
    known = [features[key] for key in ("name", "version", "fingerprint") if key in features]
    return " ".join(str(value)[:12] for value in known)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """Replace `path` whole: a reader or a kill meets the old bytes or the new, never a part."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("w", encoding="utf8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
