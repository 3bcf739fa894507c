"""What the evidence allows: `deployable`, `undecided` or `nothing`, and why.

The rule, in this order:

1. ``nothing``, over ten days or more: the IC's interval lies at or below 0, or covers 0 although
   an edge that pays would have been found four times in five.
2. ``deployable``: every check of `checks` holds that can be asked.
3. ``undecided``: all else; the sentence names what fails, and `Verdict.change` what would help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import polars as pl

Word = Literal["deployable", "undecided", "nothing"]
FEWEST_DAYS = 10
"""Days of scores below which it is too early to say that there is nothing."""
LEAST_DAYS = 20
"""Days of returns below which nothing is deployable."""
SURE = 0.95
"""Probability that the Sharpe ratio is not the luck of the best of all trials."""
COVERED = 0.98
"""Share of the bars that must be there."""
# an effect of (1.96 + 0.84) standard errors is found four times in five
_POWER = (1.96 + 0.84) / 1.96


class Evidence(NamedTuple):
    """What a verdict rests on: numbers alone, returns and costs as fractions.

    Attributes
    ----------
    ic, ic_low, ic_high : float
        Rank IC out of sample with its 95 % interval.
    ic_break_even : float
        IC that pays the costs.
    scored_days : int
        Days the IC was measured on.
    net_return, net_low, net_high : float or None
        Net return out of sample with its 95 % interval; None: not known.
    days : int
        Days of returns.
    dsr : float or None
        Deflated Sharpe ratio, a probability, over the effective number of trials; None: the ledger
        cannot be reached, or nothing moved.
    dsr_raw : float or None
        The same over all trials; shown, not asked.
    trials : int or None
        Distinct configurations on this data.
    effective : float or None
        So many independent ones they amount to.
    without_day, without_week, without_symbol : float or None
        Net return without the best day, the best seven days in a row, the best symbol; the last is
        None where there is one symbol only.
    bar_later : float or None
        Net return when every decision is carried out one bar later.
    bp_more : float or None
        Net return when a round trip costs one basis point more.
    coverage : float or None
        Share of the bars that are there, 0 to 1; None where an absent one may just be a quiet one.
    symbols : int
        Symbols traded.
    days_needed : float or None
        Days of such returns after which `dsr` would be enough; None: none would.
    unreached : str
        Why the ledger could not be reached; empty where it was.
    """

    ic: float
    ic_low: float
    ic_high: float
    ic_break_even: float
    scored_days: int
    net_return: float | None = None
    net_low: float | None = None
    net_high: float | None = None
    days: int = 0
    dsr: float | None = None
    dsr_raw: float | None = None
    trials: int | None = None
    effective: float | None = None
    without_day: float | None = None
    without_week: float | None = None
    without_symbol: float | None = None
    bar_later: float | None = None
    bp_more: float | None = None
    coverage: float | None = 1.0
    symbols: int = 1
    days_needed: float | None = None
    unreached: str = ""


@dataclass(frozen=True)
class Verdict:
    """A word, the sentence that says why, and what it rests on.

    Attributes
    ----------
    word : {"deployable", "undecided", "nothing"}
    because : str
        One sentence.
    change : tuple of str
        What would change it; empty where it is deployable.
    checks : pl.DataFrame
        ``name, value, needed, passed``: a value passes that is at least what is needed, or above
        it where that is 0. `passed` is null where a check cannot be asked, as that without the
        best symbol of one.
    evidence : Evidence
    """

    word: Word
    because: str
    change: tuple[str, ...]
    checks: pl.DataFrame
    evidence: Evidence

    def text(self) -> str:
        """As lines for a terminal."""
        rows = [_line(row) for row in self.checks.iter_rows(named=True)]
        wished = [f"would change it: {words}" for words in self.change]
        return "\n".join([f"{self.word}: {self.because}", *rows, *wished])

    def to_dict(self) -> dict[str, Any]:
        """For JSON: ``word, because, change, checks``."""
        return {
            "word": self.word,
            "because": self.because,
            "change": list(self.change),
            "checks": self.checks.to_dicts(),
        }

    def _repr_html_(self) -> str:
        wished = "".join(f"<li>{escape(words)}</li>" for words in self.change)
        return f"<b>{self.word}</b>: {escape(self.because)}{self.checks._repr_html_()}" + (
            f"would change it:<ul>{wished}</ul>" if wished else ""
        )


_MARK = {True: "yes", False: "NO", None: "-"}


def _line(row: dict[str, Any]) -> str:
    value = "not known" if row["value"] is None else f"{row['value']:.4g}"
    return f"  {_MARK[row['passed']]:4}{row['name']:<46}{value:>12}  needs {row['needed']:.4g}"


def verdict(evidence: Evidence) -> Verdict:
    """Say in one word what the evidence allows, and why.

    Examples
    --------
    >>> seen = Evidence(ic=-0.01, ic_low=-0.02, ic_high=-0.001, ic_break_even=0.1, scored_days=40)
    >>> verdict(seen).word
    'nothing'
    >>> good = Evidence(ic=0.12, ic_low=0.09, ic_high=0.15, ic_break_even=0.02, scored_days=30,
    ...                 net_return=0.2, net_low=0.1, net_high=0.3, days=30, dsr=0.99, trials=10,
    ...                 without_day=0.18, without_week=0.1, bar_later=0.15, bp_more=0.12)
    >>> verdict(good).word, verdict(good._replace(bar_later=-0.01)).word
    ('deployable', 'undecided')
    """
    e, asked = evidence, checks(evidence)
    failed = asked.filter(pl.col("passed") == False)["name"].to_list()  # noqa: E712
    word, because = _nothing(e) or ("", "")
    if word == "nothing":
        return Verdict("nothing", because, tuple(_wishes(e, failed)), asked, e)
    if not failed:
        return Verdict("deployable", _praise(e), (), asked, e)
    return Verdict("undecided", _doubt(e, because, failed), tuple(_wishes(e, failed)), asked, e)


def checks(evidence: Evidence) -> pl.DataFrame:
    """Hold the evidence against what is needed to be deployable.

    Returns
    -------
    pl.DataFrame
        ``name, value, needed, passed``, as `Verdict.checks`.
    """
    rows = [_checked(evidence, *row) for row in _CHECKS]
    kinds = {"name": pl.String, "value": pl.Float64, "needed": pl.Float64, "passed": pl.Boolean}
    return pl.DataFrame(rows, schema=kinds, orient="row")


_CHECKS: tuple[tuple[str, str, float | str], ...] = (
    ("IC, lower end of its interval", "ic_low", 0.0),
    ("IC, upper end, against the break-even IC", "ic_high", "ic_break_even"),
    ("net return, lower end of its interval", "net_low", 0.0),
    ("days of returns", "days", LEAST_DAYS),
    ("deflated Sharpe ratio, effective trials", "dsr", SURE),
    ("net return without the best day", "without_day", 0.0),
    ("net return without the best week", "without_week", 0.0),
    ("net return without the best symbol", "without_symbol", 0.0),
    ("net return one bar later", "bar_later", 0.0),
    ("net return for 1 bp more a round trip", "bp_more", 0.0),
    ("share of bars that are there", "coverage", COVERED),
)


def _checked(e: Evidence, name: str, key: str, needs: float | str) -> tuple[Any, ...]:
    value = getattr(e, key)
    needed = float(getattr(e, needs)) if isinstance(needs, str) else float(needs)
    if (key == "without_symbol" and e.symbols < 2) or (key == "coverage" and value is None):
        return name, None, needed, None
    if value is None:
        return name, None, needed, False
    return name, float(value), needed, value >= needed if needed else value > 0


def enough(sharpe: float, spread: float, hurdle: float, per: float = 1.0) -> float | None:
    r"""Return the days after which such returns reach a deflated Sharpe ratio of `SURE`.

    .. math:: n = 1 + \left(\frac{E[\max\nolimits_N] + z\, s}{\widehat{SR}}\right)^2

    which solves :math:`DSR = \Phi[(\widehat{SR} - SR_0) \sqrt{n - 1} / s]` for n where the trials'
    ratios differ by luck alone, :math:`SR_0 = E[\max\nolimits_N] / \sqrt{n - 1}`.

    Parameters
    ----------
    sharpe, spread : float
        Sharpe ratio per day, and s, the standard deviation that one day adds to it.
    hurdle : float
        Expected maximum of so many trials, in standard deviations.
    per : float
        Days for each independent one.

    Returns
    -------
    float or None
        None where the ratio is not above 0: no number of days would do.

    Examples
    --------
    >>> round(enough(0.8, 1.0, 1.5746), 1)
    17.2
    >>> enough(-0.1, 1.0, 0.0)
    """
    if sharpe <= 0:
        return None
    z = NormalDist().inv_cdf(SURE)
    return (1 + ((hurdle + z * spread) / sharpe) ** 2) * per


def _said(e: Evidence) -> str:
    return f"IC {e.ic:.3f} [{e.ic_low:.3f}, {e.ic_high:.3f}]"


def _nothing(e: Evidence) -> tuple[str, str] | None:
    """Tell whether there is nothing, or that it is too early to tell; None where an IC shows."""
    needed = _needed(e)
    if e.ic_high <= 0 and e.scored_days >= FEWEST_DAYS:
        return "nothing", f"{_said(e)} lies at or below zero; {needed}"
    if e.ic_low > 0:
        return None
    reach = (e.ic_high - e.ic_low) / 2 * _POWER
    if reach <= e.ic_break_even and e.scored_days >= FEWEST_DAYS:
        return (
            "nothing",
            f"{_said(e)} covers zero, and an edge that pays would have shown; {needed}",
        )
    where = "covers zero" if e.ic_high > 0 else "lies at or below zero"
    return "", f"{_said(e)} {where}, and the sample is too short to tell; {needed}{_net(e)}"


def _needed(e: Evidence) -> str:
    """Say what trading the most extreme tenth of all bars on each side would need."""
    if e.ic_break_even >= 1:
        return "no IC pays for trading so often"
    return f"break-even needs {e.ic_break_even:.3f}"


def _net(e: Evidence) -> str:
    if e.net_return is None:
        return ""
    known = e.net_low is not None and e.net_high is not None
    sure = f" [{e.net_low:+.1%}, {e.net_high:+.1%}]" if known else " (too few days for an interval)"
    return f"; net return {e.net_return:+.1%}{sure} out of sample"


def _praise(e: Evidence) -> str:
    raw = "" if e.dsr_raw is None else f" ({e.dsr_raw:.3f} over all)"
    parts = "day, week and symbol" if e.symbols > 1 else "day and week"
    return (
        f"{_said(e)} against the {e.ic_break_even:.3f} that pays its costs{_net(e)}; "
        f"deflated Sharpe ratio {e.dsr:.3f} over {_tried(e)}{raw}; "
        f"it stands without its best {parts}, one bar later and for 1 bp more"
    )


def _tried(e: Evidence) -> str:
    """Say over how many trials a Sharpe ratio was deflated."""
    made = f"{e.trials} trial{'' if e.trials == 1 else 's'}"
    alike = e.effective is not None and e.trials is not None and e.effective < e.trials
    return f"{e.effective:.3g} effective of {made}" if alike else made


def _doubt(e: Evidence, because: str, failed: list[str]) -> str:
    if because:
        return because
    needed = _needed(e)
    if e.ic_high < e.ic_break_even and e.net_low is not None and e.net_low > 0:
        often = f"trading a tenth of all bars on each side does not: {needed}"
        return f"{_said(e)}: an edge whose few trades pay their costs, and {often}{_net(e)}"
    if e.ic_high < e.ic_break_even:
        return f"{_said(e)}: an edge, but too faint to pay its costs; {needed}{_net(e)}"
    more = f" and {len(failed) - 2} more" if len(failed) > 2 else ""
    short = f"{', '.join(failed[:2])}{more}"
    return f"{_said(e)}: an edge that may pay its costs; {needed}{_net(e)}; falls short: {short}"


def _wishes(e: Evidence, failed: list[str]) -> list[str]:
    """Say for each check that failed what would let it pass."""
    keys = [key for name, key, _ in _CHECKS if name in failed]
    if e.days < LEAST_DAYS:  # what more days would tell is not asked for one by one
        keys = [key for key in keys if getattr(e, key) is not None]
    return list(dict.fromkeys(_WISHES[key](e) for key in keys))


_LONG = 3650


def _more_scores(e: Evidence) -> str:
    if e.ic <= 0:
        return "forecasts with an IC above zero"
    half = (e.ic_high - e.ic_low) / 2
    needed = e.scored_days * min(half / e.ic, 1e3) ** 2
    if needed > _LONG:
        return "a higher IC: this one would show after ten years at the earliest"
    more = max(needed, e.scored_days + 1)
    return f"about {more:.0f} days of scores, now {e.scored_days}, if the IC stays"


def _more_returns(e: Evidence) -> str:
    if e.unreached:
        return f"a ledger of trials that can be read: {e.unreached}"
    if e.dsr is None:
        return "trades: nothing moved"
    if e.days_needed is None or e.days_needed > _LONG:
        return "a higher Sharpe ratio: not even ten years of such days are enough"
    return f"about {e.days_needed:.0f} days of such returns, now {e.days}, for {_tried(e)}"


def _pays(e: Evidence) -> str:
    return "no IC pays" if e.ic_break_even >= 1 else f"an IC of {e.ic_break_even:.3f} pays"


_WISHES: dict[str, Callable[[Evidence], str]] = {
    "ic_low": _more_scores,
    "ic_high": lambda e: f"lower costs or a longer horizon: now {_pays(e)}",
    "net_low": lambda e: "a net return that stays above zero when days are drawn again",
    "days": lambda e: f"{LEAST_DAYS} days of returns or more, now {e.days}",
    "dsr": _more_returns,
    "without_day": lambda e: "gains that do not hang on one day",
    "without_week": lambda e: "gains that do not hang on one week",
    "without_symbol": lambda e: "gains that do not hang on one symbol",
    "bar_later": lambda e: "an edge that lasts a bar longer, or orders that are sure to be quick",
    "bp_more": lambda e: "an edge that can pay 1 bp more a round trip",
    "coverage": lambda e: f"data with fewer holes: {e.coverage:.1%} of the bars are there",
}
