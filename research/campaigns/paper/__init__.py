"""Paper trading at length: is it the backtest, does it survive, does its kill switch hold?"""

from research.campaigns.paper.contests import shadow
from research.campaigns.paper.crashes import crash
from research.campaigns.paper.operation import day
from research.campaigns.paper.sameness import same
from research.campaigns.paper.soaking import soak
from research.campaigns.paper.switching import switch

__all__ = ["crash", "day", "same", "shadow", "soak", "switch"]
