"""LightGBM's call for one row at a time, prepared once: the same trees in the same order.

`Booster.predict` reads its settings and lays out its room anew at each call, which for a single
row takes longer than the trees do.
"""

from __future__ import annotations

import ctypes
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np

if TYPE_CHECKING:
    import lightgbm as lgb

FEW = 16
"""Rows up to which a call for each is quicker than one for all."""
_FLOAT64, _NORMAL, _RAW = 1, 0, 1  # LightGBM's numbers


class Single:
    """A booster asked row by row.

    Parameters
    ----------
    booster : lightgbm.Booster
        Not changed any more.
    width : int
        Numbers it says of a row.
    raw : bool
        Sums of leaves, as they are before the objective turns them into what it forecasts.
    """

    def __init__(self, booster: lgb.Booster, width: int, raw: bool) -> None:
        from lightgbm.basic import _LIB, _safe_call

        self._made_with = booster, width, raw
        self._columns, self._lock = booster.num_feature(), Lock()
        self._row, self._said = np.empty(self._columns), np.empty(width)
        self._library, self._check, settings = _LIB, _safe_call, ctypes.c_void_p()
        _safe_call(
            _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
                booster._handle,
                ctypes.c_int(_RAW if raw else _NORMAL),
                ctypes.c_int(0),
                ctypes.c_int(booster.best_iteration),
                ctypes.c_int(_FLOAT64),
                ctypes.c_int32(self._columns),
                ctypes.c_char_p(b"num_threads=1"),
                ctypes.byref(settings),
            )
        )
        # it holds on to the booster: the settings must not outlive the trees they point at
        finalize(self, _free, _LIB, settings, booster)
        self._call = (
            settings,
            self._row.ctypes.data_as(ctypes.c_void_p),
            ctypes.byref(ctypes.c_int64(0)),
            self._said.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to another process as what it was made of: pointers mean nothing there."""
        return Single, self._made_with

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return (n_rows, width) for (n_rows, n_columns)."""
        found = np.empty((len(values), len(self._said)))
        if values.shape[1] != self._columns:
            raise ValueError(f"model: {self._columns} columns expected, found {values.shape[1]}")
        with self._lock:
            for k, row in enumerate(values):
                self._row[:] = row
                self._check(self._library.LGBM_BoosterPredictForMatSingleRowFast(*self._call))
                found[k] = self._said
        return found


def _free(library: Any, settings: ctypes.c_void_p, booster: Any) -> None:
    library.LGBM_FastConfigFree(settings)
