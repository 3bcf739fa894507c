"""Paper trading: the notebook's decisions, live. What a cell calls is here and loads when touched.

``run = live.start("demo", span="2h")`` trades in a process of its own, ``live.watch(run)`` shows it
in a cell, ``live.stop(run)`` ends it, ``live.parity(run)`` proves that it did what the notebook
would have done.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["Run", "open", "parity", "runs", "start", "stop", "watch"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'research.live' has no attribute {name!r}")
    return getattr(import_module("research.live.notebook"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
