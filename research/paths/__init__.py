"""One study on many histories: combinatorial cross-validation, and what naive splits would claim.

A walk-forward is one history. Testing every choice of groups of days gives several: each path is a
whole sample of forecasts by models that were fitted on other days, before and after. They say how
much a result hangs on which days were learnt from. They are for judging: nothing here is stored
where a backtest or a live run would find it, for such models have seen the future. The ledger
counts the look.
"""

from research.paths.made import Paths, made, run, text
from research.paths.naive import WAYS, naive

__all__ = ["WAYS", "Paths", "made", "naive", "run", "text"]
