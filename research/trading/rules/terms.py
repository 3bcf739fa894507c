"""The terms of a rule: its exits, its costs, its sizes, and how many positions there may be."""

import math
from datetime import timedelta

from research.errors import UserError
from research.trading.rules.kinds import microseconds, word
from research.trading.rules.words import (
    EQUAL,
    FRACTION,
    KELLY,
    ON_LIMIT,
    PROBABILITY,
    QUANTILE,
    RESUME,
    VOLATILITY,
    Rules,
)

_DAY, _MICRO = timedelta(days=1), timedelta(microseconds=1)


def with_exits(
    rules: Rules,
    *,
    hold: timedelta | None = None,
    stop: float | None = None,
    take: float | None = None,
    cooldown: timedelta = timedelta(0),
) -> Rules:
    """Return `rules` with exits that do not depend on the forecast.

    Parameters
    ----------
    rules : Rules
        Of any kind.
    hold : timedelta, optional
        Longest time in position, counted from the open at which it was entered. At the first close
        at or after it the position is closed (reason `horizon`), unless that close signals the
        same side again: then it is held for another `hold`. (Of several positions of a symbol,
        see `with_limits`, each is closed.)
    stop, take : float, optional
        Loss and gain, as fractions of the entry price, at which it is closed inside a bar.
    cooldown : timedelta
        No new entry is decided for this long after an exit; with a cooldown a reversal closes and
        does not turn.

    Returns
    -------
    Rules

    Raises
    ------
    UserError
        If `stop` or `take` is not above 0, or a time is below 0.

    Examples
    --------
    >>> from research.trading.rules import threshold
    >>> rules = threshold(enter=0.0008, interval=timedelta(minutes=1))
    >>> with_exits(rules, hold=timedelta(minutes=10), stop=0.01).hold
    600000000
    """
    for name, rate in (("stop", stop), ("take", take)):
        if rate is not None and not rate > 0:
            raise UserError(f"{name}: must be above 0, found {rate}. Leave it out for none.")
    return rules._replace(
        hold=microseconds("hold", hold, least=1) if hold is not None else 0,
        stop=math.inf if stop is None else float(stop),
        take=math.inf if take is None else float(take),
        cooldown=microseconds("cooldown", cooldown, least=0),
    )


def with_costs(
    rules: Rules,
    *,
    fee: float = 0.0,
    slippage: float = 0.0,
    latency: timedelta = timedelta(0),
    min_notional: float = 0.0,
    walks: bool = False,
) -> Rules:
    """Return `rules` with the costs that are the same for all symbols and hours.

    Half-spread and impact change by symbol and hour: they come with the bars. Lot and tick are the
    venue's, and so are the moments and rates of funding (`account.Venue`).

    Parameters
    ----------
    rules : Rules
        Of any kind.
    fee : float
        Charged on the notional of each fill; negative: a rebate.
    slippage : float
        Added to the price of each fill, against the position, as a fraction; not below 0.
    latency : timedelta
        From the close that decides to the fill. It delays by whole bars, and within the bar of the
        fill moves the price before costs from the open towards the close, in proportion to the
        share of the bar that has passed by then. While an order is on its way no other is sent for
        the same position: each close until then has the reason `waiting`.
    min_notional : float
        Smallest entry, in quote currency: a smaller one is not sent (reason `too_small`), or comes
        to nothing where it shrank on its way. What is held can always be closed, whatever it is
        worth.
    walks : bool
        Fills walk the book of their bar, see `depth.through`, and pay neither half-spread nor
        slippage. An entry takes at most what the book shows: the rest is not filled, and where
        that leaves less than the smallest order its bar has the reason `too_thin`. What is held
        is always closed whole.

    Returns
    -------
    Rules

    Raises
    ------
    UserError
        If a rate is not a finite fraction, or slippage, latency or `min_notional` is below 0.

    Examples
    --------
    >>> from research.trading.rules import threshold
    >>> rules = threshold(enter=0.0008, interval=timedelta(minutes=1))
    >>> with_costs(rules, fee=0.0005, latency=timedelta(seconds=90)).latency
    90000000
    """
    for name, rate in (("fee", fee), ("slippage", slippage)):
        if not abs(rate) < 1 or (name == "slippage" and rate < 0):
            raise UserError(f"{name}: must be a fraction of price such as 0.0005, found {rate}.")
    if not 0 <= min_notional < math.inf:
        raise UserError(f"min_notional: must be 0 or above, found {min_notional}.")
    return rules._replace(
        fee=float(fee),
        slippage=float(slippage),
        latency=microseconds("latency", latency, least=0),
        min_notional=float(min_notional),
        walks=bool(walks),
    )


def with_limits(
    rules: Rules,
    *,
    overlap: int = 1,
    max_positions: int | None = None,
    every: timedelta | None = None,
    timeout: timedelta | None = None,
    errors: int | None = None,
) -> Rules:
    """Return `rules` with limits to how many positions there may be, opened when and for how long.

    Parameters
    ----------
    rules : Rules
        Where `overlap` is above 1: a quantile or probability rule with a `hold`.
    overlap : int
        Positions of one symbol that may be held at once, at most one new one per bar. Each is
        entered, sized, stopped and left for itself, at the first close at or after its `hold`,
        whatever the forecast says by then. Where that very close speaks for an entry, the position
        that is left makes room for it, at the same open.
    max_positions : int, optional
        Positions of all symbols that may be held at once; entries that wait for their fill count.
        An entry refused for it has the reason `full`.
    every : timedelta, optional
        The rule is asked only at closes that are whole multiples of it after midnight UTC: what
        divides a day, and is a multiple of the bar. In between nothing is opened (reason
        `resting`) and what is held is held on; stop, take and limits work at every bar. `hold` is
        judged where the rule is asked.
    timeout : timedelta, optional
        Longest time in position whatever the rule says, counted from the entry: unlike `hold` (see
        `with_exits`) no signal renews it. At the first close at or after it the position is left
        (reason `timeout`), unless the rule itself leaves or turns it there. Another can be opened
        at a later close, as a round trip of its own.
    errors : int, optional
        At the close that is this many in a row without a forecast a position is left (reason
        `errors`), unless its rule leaves it: what feed, features and model do not tell about, and
        so cannot decide about, is not held. Bars that never came are not counted.

    Returns
    -------
    Rules

    Raises
    ------
    UserError
        If a number is below 1, `overlap` is above 1 for a rule without a time to hold, or `every`
        is no multiple of the bar that divides a day.

    Examples
    --------
    >>> from research.trading.rules import probability
    >>> rules = probability(enter=0.5, interval=timedelta(minutes=1))
    >>> with_limits(with_exits(rules, hold=timedelta(minutes=10)), overlap=10).overlap
    10
    """
    counts = {"overlap": overlap, "max_positions": max_positions, "errors": errors}
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"{name}: must be 1 or more, found {count}.")
    if overlap > 1 and not (rules.kind in (QUANTILE, PROBABILITY) and rules.hold):
        raise UserError(
            f"overlap {overlap}: positions side by side need a rule that holds for a stated time, "
            "'quantile' or 'probability' with a hold; with any other rule overlap must be 1."
        )
    if every is not None and (_DAY % every or (every // _MICRO) % rules.interval):
        raise UserError(
            f"every: must be a multiple of the bar ({rules.interval * _MICRO}) that divides a day, "
            f"found {every}."
        )
    return rules._replace(
        overlap=int(overlap),
        max_positions=int(max_positions or 0),
        every=0 if every is None else every // _MICRO,
        timeout=0 if timeout is None else microseconds("timeout", timeout, least=1),
        errors=int(errors or 0),
    )


def with_risk(
    rules: Rules,
    *,
    daily_loss: float | None = None,
    drawdown: float | None = None,
    on_limit: str = "halt",
    resume: str = "manual",
) -> Rules:
    """Return `rules` with limits to what the whole account may lose, judged at each close.

    Parameters
    ----------
    rules : Rules
        Of any kind.
    daily_loss : float, optional
        Loss since the UTC day began, as a fraction of the equity that it began with.
    drawdown : float, optional
        Loss from the highest equity so far, as a fraction of it.
    on_limit : {"halt", "reduce"}
        ``reduce``: no position is opened or turned, exits go on as ever. ``halt``: what is held is
        left at the next open, too (reason `risk_halt`). In both an entry that is refused has the
        reason `risk_halt`, and orders on their way open nothing.
    resume : {"manual", "next_day"}
        How long that holds: for good (live, until a person resumes), or until the next UTC day.

    Returns
    -------
    Rules

    Raises
    ------
    UserError
        If a limit is not above 0 and below 1, or a word is unknown.

    Examples
    --------
    >>> from research.trading.rules import threshold
    >>> rules = threshold(enter=0.0008, interval=timedelta(minutes=1))
    >>> with_risk(rules, daily_loss=0.03).daily_loss
    0.03
    """
    for name, limit in (("daily_loss", daily_loss), ("drawdown", drawdown)):
        if limit is not None and not 0 < limit < 1:
            raise UserError(
                f"{name}: must be above 0 and below 1, found {limit}. Leave it out for none."
            )
    word("on_limit", on_limit, tuple(ON_LIMIT))
    word("resume", resume, tuple(RESUME))
    return rules._replace(
        daily_loss=math.inf if daily_loss is None else float(daily_loss),
        drawdown=math.inf if drawdown is None else float(drawdown),
        on_limit=ON_LIMIT[on_limit],
        resume=RESUME[resume],
    )


def with_sizing(
    rules: Rules,
    kind: str = "equal",
    *,
    fraction: float = 0.1,
    risk: float = 0.005,
    kelly: float = 0.25,
    bars: int = 1,
    max_position: float | None = None,
    leverage: float = 1.0,
    maintenance: float | None = None,
) -> Rules:
    r"""Return `rules` with a size for each new position, as a share of equity at the decision.

    With :math:`E` equity, :math:`\sigma_h = \sigma \sqrt h` the volatility of the horizon of
    :math:`h` bars and :math:`f` the forecast, towards the side to be taken:

    =============  ============================================================================
    ``equal``      :math:`E` over the number of positions there may be: symbols times `overlap`
    ``fraction``   `fraction` of :math:`E`
    ``volatility`` ``risk`` :math:`E / \sigma_h`: one volatility moves equity by `risk`
    ``stop``       ``risk`` :math:`E / s` with the stop at :math:`s`: being stopped costs `risk`
    ``kelly``      ``kelly`` :math:`E f / \sigma_h^2` (log-optimal for small normal returns); of a
                   probability rule ``kelly`` :math:`E (2p - 1) / \sigma_h`, log-optimal for a bet
                   that wins or loses :math:`\sigma_h`; all that is not a win counts as a loss
    =============  ============================================================================

    Parameters
    ----------
    rules : Rules
        With exits already, where the size is by `stop`.
    kind : {"equal", "fraction", "volatility", "stop", "kelly"}
        What the size goes by. A bar without a sigma above zero opens nothing by `volatility` or
        `kelly` (reason `stale_data`); a Kelly bet not above zero is none (`no_edge`).
    fraction, risk : float
        Shares of equity, above 0.
    kelly : float
        Share of the full Kelly bet, above 0.
    bars : int
        Bars in the horizon.
    max_position : float, optional
        Largest position, as a share of equity at the decision.
    leverage : float
        Most that all positions together are worth right after an entry, in multiples of equity.
        An entry without any room left has the reason `full`; one with too little is cut.
    maintenance : float, optional
        Maintenance margin of a futures position, as a share of its worth. Absent: a spot market,
        where nothing is liquidated. See `risk.exit_inside` for the price.

    Returns
    -------
    Rules

    Raises
    ------
    UserError
        If `kind` is unknown, a number is out of its range, or there is no stop to size by.

    Examples
    --------
    >>> from research.trading.rules import threshold
    >>> rules = threshold(enter=0.0008, interval=timedelta(minutes=1))
    >>> with_sizing(rules, "fraction", fraction=0.2, leverage=3.0).size
    0.2
    """
    sizes = {
        "equal": (EQUAL, 1.0),
        "fraction": (FRACTION, fraction),
        "volatility": (VOLATILITY, risk),
        "stop": (FRACTION, risk / rules.stop),
        "kelly": (KELLY, kelly),
    }
    if kind not in sizes:
        raise UserError(f"sizing {kind!r}: expected one of {', '.join(sizes)}.")
    if kind == "stop" and math.isinf(rules.stop):
        raise UserError("sizing 'stop': there is no stop to size by. Set backtest.stop.")
    numbers = {"fraction": fraction, "risk": risk, "kelly": kelly, "leverage": leverage}
    if max_position is not None:
        numbers["max_position"] = max_position
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise UserError(f"{name}: must be above 0, found {number}.")
    if bars < 1:
        raise UserError(f"sizing: the horizon must be one bar or more, found {bars}.")
    code, size = sizes[kind]
    made = rules._replace(
        sizing=code,
        size=float(size),
        root=math.sqrt(bars),
        max_position=math.inf if max_position is None else float(max_position),
        leverage=float(leverage),
    )
    return made if maintenance is None else _liquidated(made, maintenance)


def _liquidated(rules: Rules, maintenance: float) -> Rules:
    if not 0 <= maintenance < 1 / rules.leverage:
        raise UserError(
            f"maintenance: must be at least 0 and below 1 / leverage ({1 / rules.leverage:g}), "
            f"found {maintenance}: a position would be liquidated as soon as it is opened."
        )
    return rules._replace(
        liquid_long=max((1 - 1 / rules.leverage) / (1 - maintenance), 0.0),
        liquid_short=(1 + 1 / rules.leverage) / (1 + maintenance),
    )
