"""Alphabook: crypto ML trading research, from raw bars to an honest verdict.

The names below are what a notebook's first cell wants; each loads its room when first touched.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "read_study": ("research.pipeline", "read"),
    "runs": ("research.stored_runs", "runs"),
    "run": ("research.stored_runs", "run"),
    "compare": ("research.stored_runs", "compare"),
    "exploring": ("research.store.ledger", "exploring"),
    "trials": ("research.store.ledger", "table"),
    "progress": ("research.batch", "progress"),
    "UserError": ("research.errors", "UserError"),
}
_ROOMS = ("portfolio", "search")
__all__ = [
    "UserError",
    "compare",
    "exploring",
    "portfolio",
    "progress",
    "read_study",
    "run",
    "runs",
    "search",
    "trials",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:  # a room of its own: research.portfolio.run(...), research.search.run(...)
        return import_module(f"research.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'research' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if "IPython" in sys.modules:  # in a notebook, a user's mistake is one line
    from research.cells import one_line_errors

    one_line_errors()
