"""Fingerprints: of tables by content, of settings by value, of code by what it does.

A card beside every stored table says what the table was made of. It holds no clock time, path or
host, so that the same work anywhere gives the same card.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl

PACKAGE = Path(__file__).resolve().parent.parent
GROUND = ("schema", "steps")
_DISTRIBUTIONS = {"talib": "TA-Lib", "sklearn": "scikit-learn", "alphalens": "alphalens-reloaded"}


def digest(content: Any) -> str:
    """Return a short hash of anything that JSON can write, whatever the order of its keys.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, allow_nan=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(table: pl.DataFrame) -> str:
    """Return a short hash of a table's columns, types and values, in their order.

    >>> fingerprint(pl.DataFrame({"a": [1]})) == fingerprint(pl.DataFrame({"a": [2]}))
    False
    """
    content = hashlib.sha256(str(list(table.schema.items())).encode())
    content.update(table.hash_rows(seed=1).to_numpy().tobytes())
    return content.hexdigest()[:16]


def code(*rooms: str, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Fingerprint the source of `rooms` and the versions of the libraries they use.

    Comments, docstrings and layout do not count. Rooms import only themselves and the ground, so
    their own files and the ground's are all that can change what they compute.

    Parameters
    ----------
    *rooms : str
        Names under ``research``: a module, a package, or ``package/module.py`` for one file.
    without : tuple of str
        Files that only show what others compute.

    Returns
    -------
    dict of str to str
        ``source`` and one entry per third-party library.
    """
    left_out = {PACKAGE / name for name in without}
    files = sorted({file for room in (*rooms, *GROUND) for file in _files(room)} - left_out)
    read = [_read(file, file.stat().st_mtime_ns) for file in files]
    source = hashlib.sha256("\n".join(text for text, _ in read).encode()).hexdigest()[:16]
    return {"source": source, **_versions(frozenset().union(*(names for _, names in read)))}


@cache
def _read(file: Path, changed: int) -> tuple[str, frozenset[str]]:
    """Return what a file does and what it imports; read again when it was `changed`.

    An edit in the lab is reloaded into the running kernel, so the fingerprint must follow it.
    """
    tree = _bare(ast.parse(file.read_text(encoding="utf8")))
    return ast.dump(tree), frozenset(_imported(tree))


def whole_package() -> dict[str, str]:
    """Fingerprint all of our code and the libraries it uses: what a report was made by."""
    rooms = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}
    return code(*sorted(room.removesuffix(".py") for room in rooms))


def _files(room: str) -> Iterable[Path]:
    if room.endswith(".py"):
        return [PACKAGE / room]
    module, folder = PACKAGE / f"{room}.py", PACKAGE / room
    return [module] if module.exists() else sorted(folder.rglob("*.py"))


def _bare(tree: ast.Module) -> ast.Module:
    """Drop docstrings, and any other text that stands alone and so does nothing."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [x for x in body if not _is_text(x)] or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def bare_source(path: Path) -> str:
    """Hash one source file without its comments, docstrings and layout."""
    tree = _bare(ast.parse(path.read_text(encoding="utf8")))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


@cache
def _versions(names: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(_DISTRIBUTIONS.get(name, name))
        except PackageNotFoundError:
            continue  # the standard library, or our own
    return dict(sorted(found.items()))


def _imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names - {"research"}
