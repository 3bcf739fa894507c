"""Evidence: proof that nothing looks ahead, and how often luck alone would pass.

>>> from research import audit
>>> audit.certify("S2", bars)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from research.audit.certificate import Certificate as Certificate
    from research.audit.certificate import certify as certify
    from research.audit.mutations import inject as inject

_HOMES = {
    "Certificate": "research.audit.certificate",
    "certify": "research.audit.certificate",
    "inject": "research.audit.mutations",
}
__all__ = ["Certificate", "certify", "inject"]


def __getattr__(name: str) -> Any:
    # each room of it is loaded when it is first asked for: certify must not wait for the mutations
    if name not in _HOMES:
        raise AttributeError(f"module 'research.audit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
