"""Code as it counts: without comments, docstrings and layout, for fingerprints."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
from functools import cache
from types import ModuleType
from typing import Any

import polars as pl

from research.errors import UserError

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def plain(text: str) -> str:
    """Return Python source without comments, docstrings and layout.

    >>> plain('x = (1)  # one')
    'x = 1'
    """
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


@cache
def of_module(module: ModuleType) -> str:
    """Return the plain source of an imported module."""
    return plain(inspect.getsource(module))


@cache
def of_family(module: ModuleType) -> str:
    """Return the digest of a module of features and of those whose functions it uses.

    >>> from research.features import candles, windows
    >>> of_family(candles) != of_family(windows)
    True
    """
    package = ".".join(module.__name__.split(".")[:2])  # of a folder's modules, too, the room
    found, ahead = {module.__name__}, [module]
    while ahead:
        owners = (getattr(value, "__module__", None) for value in vars(ahead.pop()).values())
        new = {o for o in owners if o and o.startswith(f"{package}.")} - found
        found |= new
        ahead += [sys.modules[name] for name in new]
    return digest(*(of_module(sys.modules[name]) for name in sorted(found)))


def of_expr(expr: pl.Expr) -> str | None:
    """Return an expression in serialised form; None if Python code is inside it.

    Raises
    ------
    UserError
        If it holds what cannot be written down, as a lock or a connection.
    """
    try:
        text = expr.meta.serialize(format="json")
    except pl.exceptions.ComputeError as error:
        raise UserError(
            f"features: an expression holds what cannot be stored ({error}). Make such a thing "
            "inside the function that the expression calls."
        ) from None
    has_code = any(word in text for word in ("AnonymousFunction", "PythonUdf", "python_udf"))
    return None if has_code else json.dumps(json.loads(text), sort_keys=True)


def of_function(function: Any) -> str:
    """Return the plain source of a function, of a notebook cell too."""
    try:
        return plain(inspect.cleandoc("\n" + inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        code = getattr(function, "__code__", None)
        if code is None:
            raise UserError(
                f"features: the source of {function!r} cannot be read. "
                "Hand in a plain function or a polars expression."
            ) from None
        return code.co_code.hex() + repr(code.co_consts) + repr(code.co_names)


def digest(*parts: str) -> str:
    """Return the SHA-256 of several texts, in hex.

    >>> digest("a", "b") == digest("a", "b") != digest("ab")
    True
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
