"""The tables of a study file that say how it runs: risk limits, paper trading, retraining."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from research.study.kinds import Count, Duration, Fraction, Section, Share

Limit = Annotated[Fraction, Field(gt=0, lt=1)]


class Risk(Section):
    """Limits of the account and of each position, the same in a backtest, on paper and live;
    absent ones are not watched. How many positions and how large: see `backtest` and `sizing`."""

    daily_loss: Limit | None = None
    """Share of the equity that the UTC day began with."""
    drawdown: Limit | None = None
    """Share of the highest equity so far."""
    on_limit: Literal["reduce", "halt"] = "halt"
    """`reduce`: no new position, exits as ever; `halt`: what is held is left at the next open."""
    resume: Literal["manual", "next_day"] = "manual"
    """`manual`: a limit once met holds until ``./run resume``; in a backtest to the end."""
    position_timeout: Duration | None = None
    """Longest time in a position, which no signal prolongs as it may `backtest.hold`; left at the
    first close after it (reason `timeout`)."""
    close_on_errors: Count | None = None
    """Closes in a row without a forecast after which a position is left (reason `errors`): feed,
    features or model have failed, or the model abstains."""


class Live(Section):
    """Live trading: where bars come from, where orders go, and when something is too late."""

    mode: Literal["paper", "live"] = "paper"
    """`live` sends orders to `account`, if all four arms are there; see ``./run arm --help``."""
    feed: Literal["auto", "simulated", "binance", "bybit", "kraken", "replay"] = "auto"
    """`auto`: the simulated exchange for a simulated market, Binance for all else."""
    venue: Literal["binance", "bybit", "kraken"] | None = None
    """Whose orders and, on the simulated exchange, whose messages. Absent: the feed's own; of the
    simulated exchange Binance's."""
    account: str | None = None
    """`live`: the account that is traded, as in ``kraken:main``."""
    symbols: dict[str, str] = {}
    """The venue's name of each of the study's symbols, where they differ, as in
    ``"X:BTC-USD" = "BTC/USD"``: a study may learn from one venue and trade on another."""
    margin: Literal["isolated", "cross"] = "isolated"
    """Of futures, set and read back before the first order."""
    days: Count = 7
    """Days that the simulated exchange plays after the study's own."""
    deadline: Duration = timedelta(seconds=2)
    """After its close, when a bar that has not come is asked for by REST."""
    late: Duration = timedelta(seconds=30)
    """A bar known later than this after its close is booked, but no position is opened on it."""
    stale: Duration = timedelta(seconds=65)
    """Silence of a stream that is an alarm."""
    clock_skew: Duration = timedelta(seconds=1)
    """Distance from the venue's clock that halts."""
    order_rate: Count = 1000
    """Orders an hour beyond which positions are only reduced."""
    disk: Annotated[float, Field(ge=0)] = 1.0
    """Free space, in GB, below which trading halts."""
    snapshot: Count = 60
    """Bars between two snapshots of the desk in the journal."""
    check_trades: bool = False
    """Binance: bars are built from aggregate trades too and compared with the klines, which are
    what is traded; a difference is noted, never repaired."""
    webhook: str | None = None
    """An http(s) address that alerts are posted to."""
    mail: str | None = None
    """Where alerts are mailed to: ``smtp://host:port?from=a@b&to=c@d``, or ``$NAME`` of an
    environment variable that holds it."""


class Retrain(Section):
    """When a new model is trained while the old one trades, and what it must show."""

    every: Duration | None = None
    """Absent: `validation.test`, the cadence of the backtest."""
    lead: Count = 1
    """Bars between the moment a training is due and the moment its model may take effect."""
    timeout: Duration = timedelta(minutes=10)
    drift: Literal["none", "psi", "budget"] = "none"
    """`psi`: a feature's population stability index above `psi`; `budget`: above what the study's
    own history exceeds once in `false_alarms`."""
    psi: Annotated[float, Field(gt=0)] = 0.25
    false_alarms: Duration = timedelta(days=30)
    """Time in which one false alarm is accepted."""
    sharpe: float | None = None
    """Rolling Sharpe of the newest 200 trades below which a model is trained anew; S1 has 0.4."""
    max_age: Duration | None = None
    promotion: Literal["evidence", "s1", "always"] = "evidence"
    """`evidence`: a test that may be looked at at any time, on identical fresh bars; `s1`: RMSE or
    Sharpe after 50 forecasts; `always`: each new model takes over when it is ready."""
    alpha: Share = 0.05
    """`evidence`: greatest probability that a challenger that is no better is ever promoted."""
    shadow: Duration = timedelta(days=2)
    """A challenger without a verdict by then is dropped."""
    keep: Count = 10
    """Models kept beside those in use."""
