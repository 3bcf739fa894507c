"""The desk: the only decision, sizing, risk, fill and ledger code there is, one bar at a time.

A backtest hands `loop.scan` stored tables (`loop.run`), paper trading one moment at a time: the
same functions, compiled or plain. Nothing here knows frames, clocks, disks or chance; times are
int64 microseconds since 1970 UTC, money is in quote currency, quantities are in base currency and
signed (long above zero), rates are fractions of price.
"""
