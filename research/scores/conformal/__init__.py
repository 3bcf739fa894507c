"""Intervals that keep their coverage whatever the market does, although labels come late.

`adaptive_intervals` gives a table of forecasts theirs. Live, one symbol at a time, the same step of
`adapting` is fed by hand: ``live = streaming(step, *begin())``, then ``live.update(ASK, 0.0)`` for
an interval's reach in units of the scale, and ``live.update(LABEL, score)`` when a label came.
"""

from research.scores.conformal.tables import adaptive_intervals, coverage_bound, interval_coverage

__all__ = ["adaptive_intervals", "coverage_bound", "interval_coverage"]
