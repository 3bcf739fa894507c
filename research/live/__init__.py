"""Paper trading: a study's champion model on a live feed, by the same rooms as the backtest."""
