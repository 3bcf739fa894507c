"""What to do at the close of a bar: the rules of a strategy as numbers, and the one decision.

Four kinds of rule. `threshold` trades the forecast itself: long above `enter`, short below minus
`enter`. `quantile` trades the bin that causal cut-points put the forecast in. `probability` trades
the likeliest class where it is likely enough, and then holds for a stated time. `follow` holds the
side of the forecast's sign. Each may be cut short by a stop, a take, a longest time in position
(`hold`) and a rest after each exit (`cooldown`); each is sized by `with_sizing`, pays what
`with_costs` says, may hold several positions of one symbol side by side (`with_limits`), and stops
where the whole account has lost what it may (`with_risk`).
"""

from research.trading.rules.decide import calm, decide, signal
from research.trading.rules.kinds import follow, probability, quantile, threshold
from research.trading.rules.terms import (
    with_costs,
    with_exits,
    with_limits,
    with_risk,
    with_sizing,
)
from research.trading.rules.words import REASONS, Rules, View

__all__ = [
    "REASONS",
    "Rules",
    "View",
    "calm",
    "decide",
    "follow",
    "probability",
    "quantile",
    "signal",
    "threshold",
    "with_costs",
    "with_exits",
    "with_limits",
    "with_risk",
    "with_sizing",
]
