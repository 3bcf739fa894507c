"""Leak mutations: what guards say of a pipeline into which leaks were let on purpose.

Each leak of the catalogue is switched into the real pipeline for one run over a small market
without an edge; the guards look at what the run left behind. A leak is caught when a guard raises
an alarm. The same guards look at clean runs, where any alarm is a false one.

>>> from research.audit import mutations
>>> len(mutations.MUTATIONS) >= 20
True
"""

from research.audit.mutations import catalogue
from research.audit.mutations.campaign import run, text
from research.audit.mutations.small import VARIANTS, market, own_store
from research.audit.mutations.switch import MUTATIONS, Mutation, inject

__all__ = [
    "MUTATIONS",
    "VARIANTS",
    "Mutation",
    "catalogue",
    "inject",
    "market",
    "own_store",
    "run",
    "text",
]
