"""The tables of a study file: every setting, its kind, its default and what it means."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from research.errors import UserError, nearest
from research.study.fees import fee
from research.study.kinds import (
    Count,
    Duration,
    Fee,
    Fraction,
    Moment,
    Pause,
    Rate,
    Return,
    Section,
    Share,
)
from research.study.stated import HalfSpread, Hours, Latency, Size, Step

LEARNERS = (
    "ridge",
    "lightgbm",
    "xgboost",
    "logistic",
    "lightgbm_classes",
    "xgboost_classes",
    "lightgbm_quantiles",
    "trend",
    "mean_reversion",
    "momentum",
    "breakout",
)


def _learner(name: str) -> str:
    if name.removeprefix("bagged_") in LEARNERS or ":" in name:
        return name
    raise UserError(
        f"no learner {name!r}.{nearest(name, list(LEARNERS))} Here: {', '.join(LEARNERS)}; "
        "or your own as module:name; in bags with bagged_ before it."
    )


Learner = Annotated[str, AfterValidator(_learner)]


class Data(Section):
    """Where bars come from and which of them are used."""

    source: Literal[
        "simulated", "simulated_flow", "files", "binance", "kraken", "polygon", "recording"
    ] = "simulated"
    """`recording` makes bars of the trades of a recorded order book, with its order flow beside
    them; `simulated_flow` is such a recording of a simulated venue."""
    path: str | None = None
    """For `files`, `polygon` and `recording`: a file, a folder or a glob."""
    venue: str = "binance"
    market: Literal["um", "cm", "spot"] = "um"
    symbols: list[str] | None = None
    """Absent: every symbol that the source holds."""
    start: Moment | None = None
    end: Moment | None = None
    interval: Duration = timedelta(minutes=1)
    archive: str = "https://data.binance.vision"
    """For `binance`: where daily and monthly zips are served; a mirror may be named."""
    rest: str | None = None
    """For `binance` and `kraken`: the REST interface. Absent: the market's own."""
    flat_files: str = "https://files.massive.com"
    """For `polygon` without a path: the S3-compatible store of daily flat files."""
    bars: Literal[
        "time", "volume", "dollar", "tick_imbalance", "volume_imbalance", "dollar_imbalance"
    ] = "time"
    """`volume` and `dollar` close a bar when so much was traded, not when so much time passed;
    imbalance bars when one side outweighs the other. `interval` is then the usual length of a bar
    and counts bars: a label's horizon of 10 min is ten bars of 1 min, however long they take."""
    bar_size: Size = None
    """Traded per bar, in base (`volume`) or quote currency (`dollar`); one for all or by symbol.
    Absent: of each symbol, what makes bars last `interval` on average over its first day."""

    @model_validator(mode="after")
    def _agree(self) -> Data:
        if self.start and self.end and self.end <= self.start:
            raise UserError(f"end {self.end:%Y-%m-%d} must lie after start {self.start:%Y-%m-%d}.")
        if self.source in ("files", "recording") and not self.path:
            raise UserError(f"source {self.source!r} needs data.path: a file, a folder or a glob.")
        if self.bar_size is not None and self.bars not in ("volume", "dollar"):
            raise UserError(
                f"bar_size is the size of volume or dollar bars, and bars = {self.bars!r}."
            )
        return self


class Simulated(Section):
    """The simulated market: how much of it, and the edge planted in it."""

    symbols: Count = 5
    days: Count = 84
    ic: Annotated[float, Field(ge=0, le=0.3)] = 0.07
    """Information coefficient that a perfect forecast has; 0 is a market without any edge."""
    horizon: Duration = timedelta(minutes=10)
    half_life: Duration = timedelta(minutes=10)
    seed: int = 1


class SimulatedFlow(Section):
    """The simulated order-flow market: a recording with planted flow; `simulated.seed` seeds it."""

    symbols: Count = 1
    minutes: Count = 180
    r_squared: Annotated[float, Field(gt=0, lt=1)] = 0.38
    """What order-flow imbalance explains of the price's change within a second."""
    ic: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Correlation of the best forecast with the price's change over `horizon`; 0: flow explains
    and does not predict."""
    horizon: Duration = timedelta(minutes=1)
    half_life: Duration = timedelta(minutes=1)


class Features(Section):
    """The feature set, its groups switched on or off, and the user's own columns."""

    set: str = "S2"
    groups: dict[str, bool] = {}
    extra: list[str] = []
    """A user's own features, ``"my_features:mine"`` for `mine` in ``studies/my_features.py``."""
    allow: list[str] = []
    """Columns that may be a clock or a price level in disguise; others are refused for it."""


class Labels(Section):
    """What is forecast: the return over `horizon`, its class, or its size."""

    kind: Literal["return", "direction", "barrier", "volatility"] = "return"
    """`direction`: up, flat or down; `barrier`: which of two prices is met first within the
    horizon; `volatility`: how much it moves (a forecast that no rule trades)."""
    horizon: Duration = timedelta(minutes=10)
    entry: Literal["next_open", "close"] = "next_open"
    threshold: Annotated[Fraction, Field(ge=0)] = 0.002
    """`direction`: a move beyond it is up or down. `barrier`: distance of both barriers."""
    unit: Literal["return", "sigma"] = "return"
    """Of `threshold`, `take` and `stop`: a fraction of price, or volatilities of the horizon."""
    take: Annotated[Fraction, Field(gt=0)] | None = None
    stop: Annotated[Fraction, Field(gt=0)] | None = None
    """Distances up and down where they differ. Absent: `threshold`."""

    @property
    def classes(self) -> bool:
        """Whether rows have a class: down, flat or up."""
        return self.kind in ("direction", "barrier")


class Validation(Section):
    """Walk-forward by time, shared by all symbols, purged by label interval plus embargo."""

    scheme: Literal["rolling", "expanding"] = "rolling"
    train: Duration = timedelta(days=30)
    test: Duration = timedelta(days=7)
    """Also the cadence of retraining: a model is in force for so long."""
    step: Duration | None = None
    """Absent: the length of `test`."""
    embargo: Pause = timedelta(0)
    inner: Share = 0.2
    """Newest share of a training window that stops boosting early; never the test window."""
    gate: Literal["none", "s1", "ic"] = "none"
    """Whether a new model must show itself on the inner rows before it replaces the one in force:
    `s1` by RMSE or Sharpe against it, `ic` by a rank IC above zero."""


class Model(Section):
    """The learner whose forecasts are traded, and those it is compared with."""

    name: Learner = "ridge"
    league: list[Learner] = ["ridge", "lightgbm"]
    single: bool = False
    """Train one model per symbol instead of one for all."""
    target: Literal["scaled", "raw"] = "scaled"
    """`scaled` divides the return by its volatility, known at the forecast."""
    weight: Literal["none", "uniqueness", "return"] = "none"
    """Of training rows: by how little their labels overlap others, or that times ``|return|``."""
    decay: Duration | None = None
    """Half-life of a training row's weight by age. Absent: all ages alike."""
    calibrate: bool = True
    """Class probabilities are calibrated on the inner rows."""
    quantiles: list[Share] = [0.1, 0.5, 0.9]
    bags: Count = 10
    """Fits that a learner named with ``bagged_`` before it averages, each to a draw of its own."""
    meta: Learner | None = None
    """A learner of classes that learns, out of fold, which trades of `name` pay their costs; the
    rule `probability` then trades what it says."""
    rounds: Count = 200
    early_stopping: Annotated[int, Field(ge=0)] = 30
    continue_rounds: Annotated[int, Field(ge=0)] = 0
    """Rounds added to each stored fold model instead of training it anew; 0 trains anew."""
    boosting: Literal["gbdt", "goss"] = "gbdt"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    num_leaves: Annotated[int, Field(ge=2)] = 15
    max_depth: Annotated[int, Field(ge=0)] = 0
    """0: as deep as `num_leaves` lets trees grow; XGBoost, which grows by level, then takes 4."""
    min_data_in_leaf: Count = 500
    subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    alpha: Annotated[float, Field(ge=0)] = 1.0
    """Penalty of ridge and logistic, in units of the number of training rows times 1e-3."""


class Evaluation(Section):
    """How forecasts are scored: quantile bins, where cut-points come from, the interval."""

    bins: Annotated[int, Field(ge=2)] = 10
    scope: Literal["trailing", "fold", "timestamp", "date", "global"] = "trailing"
    """`trailing` and `fold` are known in time; the others look back from the end (diagnostic)."""
    window: Duration = timedelta(days=3)
    horizons: list[Duration] = [timedelta(minutes=m) for m in (1, 5, 10, 30, 60)]
    draws: Annotated[int, Field(ge=100)] = 1000


class Backtest(Section):
    """The trading rule and its exits; rates are fractions of price."""

    rule: Literal["threshold", "quantile", "probability", "follow"] = "threshold"
    """`threshold` trades expected returns, `quantile` their bins, `probability` classes;
    `follow` holds the side of the forecast for as long as it has one."""
    enter: Return | None = None
    """`threshold`: expected return that opens a position. Absent: the round-trip cost, 0 where
    rebates are more than it."""
    leave: Return = 0.0
    """`threshold`: opposite expected return that closes one (reversal)."""
    enter_probability: Share = 0.5
    """`probability`: least probability of the likeliest class that opens a position."""
    quantile: Count | None = None
    """`quantile`: the bin to trade. Absent: long the top bin, short the bottom one."""
    form: Literal["threshold", "exact"] = "threshold"
    """`quantile`: this bin and beyond, or this bin alone."""
    side: Literal["auto", "long", "short", "longshort"] = "auto"
    """A spot market can only be held long."""
    hold: Duration | None = None
    """Longest time in a position. Absent: the horizon for `quantile` and `probability`, else no
    limit."""
    every: Duration | None = None
    """The rule is asked at multiples of it after midnight UTC alone, as S4 decides by the hour; in
    between only stop, take and limits work. Absent: at every bar."""
    overlap: Count = 1
    """Positions of one symbol that may be held at once, each entered and left for itself."""
    max_positions: Count | None = None
    """Positions of all symbols that may be held at once. Absent: no limit."""
    stop: Fraction | None = None
    take: Fraction | None = None
    cooldown: Pause = timedelta(0)
    capital: Annotated[float, Field(gt=0)] = 10_000.0


class Sizing(Section):
    """How large a position is, and how far all together may go beyond equity."""

    kind: Literal["equal", "fraction", "volatility", "stop", "kelly"] = "equal"
    """`equal`: equity over symbols (and `overlap`); `fraction` of equity; `volatility`: `risk`
    over the volatility of the horizon; `stop`: `risk` over `backtest.stop`; `kelly`: `kelly`
    times the Kelly bet."""
    fraction: Annotated[Fraction, Field(gt=0)] = 0.1
    risk: Annotated[Fraction, Field(gt=0)] = 0.005
    """Share of equity that one position may be expected to lose or gain."""
    kelly: Annotated[float, Field(gt=0, le=1)] = 0.25
    max_position: Annotated[Fraction, Field(gt=0)] | None = None
    """Largest position, as a share of equity. Absent: no limit but `leverage`."""
    leverage: Annotated[float, Field(gt=0, le=125)] = 1.0
    """Most that all positions together may be worth, in multiples of equity."""
    maintenance: Annotated[Fraction, Field(ge=0, lt=0.5)] = 0.004
    """Share of a position's worth that must remain of its margin; below it is liquidated."""


class Costs(Section):
    """What trading costs, per side, as fractions of price."""

    fee: Fee | None = None
    """Absent: what `venue` charges at `tier` in this `role`. Below zero: a maker's rebate, as in
    ``"-0.5 bps"`` with the role ``maker``. Fills are at the open all the same, and certain: what
    resting orders miss, or lose to those who know better, is in `slippage` or in no number."""
    venue: str | None = None
    """Whose fees: ``binance_um``, ``binance_spot``, ``bybit_linear`` or ``kraken_spot``. Absent:
    those of the venue that is traded, `live.venue`, or else where the bars are from."""
    tier: Annotated[int, Field(ge=0)] = 0
    role: Literal["taker", "maker"] = "taker"
    fill: Literal["open", "book"] = "open"
    """`open`: at the open, worsened by half-spread, slippage and impact. `book`: the mean price of
    walking the first 20 levels of the book as it stood at the fill. An entry then takes at most
    what they show (reason `too_thin` where that is next to nothing); what an exit needs beyond
    them is paid at the last level and its impact; half-spread and slippage are only what a rule
    expects to pay. A backtest takes books from `books`, paper trading from Binance's feed."""
    half_spread: HalfSpread = 0.0
    """One for all, or by symbol; every symbol must then be named. ``"books"``, for all or for a
    symbol: the median over time of the quotes recorded in `books`."""
    hours: Hours = [1.0] * 24
    """Multiples of the half-spread by UTC hour, from 0 to 23; ``"books"``: as `books` have it."""
    books: str | None = None
    """A file, or a folder of files, of one venue's recorded best bids and asks: see
    `charges.recorded.quotes`, and `charges.depth.at` for the levels that `fill` walks. A relative
    path counts from the project root."""
    slippage: Rate = 0.0001
    impact: Annotated[float, Field(ge=0)] = 0.0
    """Square-root impact: daily volatilities paid by an order as large as a day's volume."""
    latency: Latency = timedelta(0)
    """From the close that decides to the fill: whole bars late, then a share of the bar.
    `measured`: what 95 % of the newest paper run's decisions were quicker than."""
    funding: Fraction = 0.0
    """Paid by longs every eight hours at 00, 08 and 16 UTC; negative: received."""
    funding_history: str | None = None
    """A table of ``symbol, time, rate`` (CSV or Parquet) that is paid instead of `funding`."""
    min_notional: Annotated[float, Field(ge=0)] = 5.0
    """Smallest order, in quote currency, as Binance has it; a smaller one is not sent."""
    lot: Step = 0.0
    """Quantities are cut to a multiple of it, in base currency; 0: any."""
    tick: Step = 0.0
    """Prices of fills are rounded against the trader to a multiple of it; 0: any."""

    @model_validator(mode="after")
    def _charged(self) -> Costs:
        if self.charged("binance_um") < 0 and self.role != "maker":
            raise UserError(
                f"costs.fee below zero is a maker's rebate, found {self.fee} for a taker. Add "
                "costs.role=maker, and state as costs.slippage what resting orders lose."
            )
        spreads = self.half_spread.values() if isinstance(self.half_spread, dict) else []
        if "books" in (self.half_spread, self.hours, *spreads) and not self.books:
            raise UserError("'books' needs costs.books: a file or folder of recorded quotes.")
        return self

    def charged(self, schedule: str) -> float:
        """Return the fee on each fill: the one stated, or that of a schedule."""
        if self.fee is not None:
            return self.fee
        return fee(self.venue or schedule, self.tier, self.role)
