"""Paper trading: the notebook's decisions, live. What a cell calls is here and loads when touched.

>>> from research import live
>>> live.start, live.watch, live.stop, live.parity, live.runs, live.open  # doctest: +SKIP

``run = live.start("demo", span="2h")`` trades in a process of its own, ``live.watch(run)`` shows it
in a cell, ``live.stop(run)`` ends it, ``live.parity(run)`` proves that it did what the notebook
would have done.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["Run", "open", "parity", "runs", "start", "stop", "watch"]

_CALLED = {"parity": "_parity", "watch": "watch"}


class _Room(ModuleType):
    """A module that may be called by its own name: both ``live.parity(run)`` and
    ``from research.live import parity`` are what they say."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        room = import_module("research.live.watch")
        return getattr(room, _CALLED[self.__name__.rpartition(".")[2]])(*given, **named)


class _Face(ModuleType):
    """The package: a module of it that shares its name with a call gets both here."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLED and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face


def __getattr__(name: str) -> Any:
    if name in _CALLED:
        return import_module(f"research.live.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'research.live' has no attribute {name!r}")
    return getattr(import_module("research.live.watch"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
