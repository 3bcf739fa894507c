"""The order side of the simulated exchange: accounts, matching, and the venues' private routes.

`Account` is one account at one venue, `private` what answers signed requests, `venues` the table of
venues, `binance`, `bybit` and `kraken` their wire forms.
"""
