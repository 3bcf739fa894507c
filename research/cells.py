"""How a cell shows a user's mistake: one line, no traceback."""

from __future__ import annotations

from typing import Any

from research.errors import UserError


def one_line_errors() -> None:
    """Make the running notebook show a `UserError` as its message alone.

    The cell still fails: Run All stops, and papermill reports the message.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((UserError,), _show)


def _show(
    shell: Any, kind: type, error: BaseException, trace: Any, tb_offset: Any = None
) -> list[str]:
    lines = [f"error: {error}"]
    shell._showtraceback(kind, error, lines)
    return lines
