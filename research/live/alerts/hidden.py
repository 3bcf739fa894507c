"""Settings that may stand in the environment, where no file shows them."""

from __future__ import annotations

import os

from research.errors import UserError


def from_environment(key: str, value: str) -> str:
    """Return a setting, or, where it is ``$NAME``, what that variable holds.

    Raises
    ------
    UserError
        If the variable is not set.
    """
    if not value.startswith("$"):
        return value
    found = os.environ.get(value[1:], "")
    if not found:
        raise UserError(f"{key}: the environment must hold {value[1:]}, it is not set.")
    return found
