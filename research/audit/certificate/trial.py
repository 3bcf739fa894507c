"""One piece of the bars under trial: what follows a bar is changed, for every bar of the piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from research.audit.certificate import bend
from research.audit.certificate.chunk import AHEAD, Chunk, differ
from research.audit.certificate.views import Subject

Found = list[tuple[int, str]]
"""Rows of a piece that differ, and after which change."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Columns of a piece and how they are tried: whole, so that any process may do it.

    Attributes
    ----------
    subject : Subject
        What makes the columns.
    piece : Chunk
    stride : int
        Bars from one change to the next.
    columns : list of int
    base : np.ndarray, shape (n_rows, n_columns)
        The table's values of the piece.
    slack : np.ndarray, shape (n_columns,)
        How far from them is still equal.
    """

    subject: Subject
    piece: Chunk
    stride: int
    columns: list[int]
    base: np.ndarray
    slack: np.ndarray


def differing(trial: Trial) -> dict[int, Found]:
    """Change what comes after every bar of a piece; return by column the rows that moved."""
    found: dict[int, Found] = {}
    piece, phases = trial.piece, trial.piece.phases(trial.stride)
    for kind in bend.KINDS:
        for k, phase in enumerate(phases):
            rows = piece.compared(phase)
            if not len(rows):
                continue
            later = np.concatenate([phases[(k + i) % len(phases)] for i in range(1, AHEAD + 1)])
            with piece.lent(kind, later) as bent:
                values = trial.subject.part(bent, trial.columns, rows)
            for row, column in zip(*np.nonzero(differ(values, trial.base[rows], trial.slack))):
                found.setdefault(trial.columns[column], []).append((int(rows[row]), kind))
    return found
