"""The causality certificate: proof at every bar that no feature sees the future.

``certify("S2", bars)`` in a cell; `run` for a study, with its labels and folds.
"""

from research.audit.certificate.certify import certify
from research.audit.certificate.paper import Certificate, summary
from research.audit.certificate.studied import kept, lines, run, short, text, weighed

__all__ = ["Certificate", "certify", "kept", "lines", "run", "short", "summary", "text", "weighed"]
