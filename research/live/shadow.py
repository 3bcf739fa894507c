r"""Champion and challenger on the same bars: who forecasts better, said at any time.

Both forecast every bar; the champion trades, and keeps its stops. Each stretch of one horizon is
one bet: on the difference of squared errors, in volatilities of the horizon, as models are taught
them. A gambler who stakes on the challenger before each outcome is known cannot, in the mean, grow
rich on one that is no better, so that his fortune :math:`E` meets :math:`1/\alpha` at *any* time
with a probability of at most :math:`\alpha` (Ville). One may therefore look after every bar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from research.models import gates
from research.scores import evidence
from research.study import Study

LIMIT = 3.0
"""Outcomes are cut at so many volatilities of the horizon, as the targets of training are."""
ENOUGH = 50
"""Forecasts that S1's rule judges on."""
_STUCK = 30  # newest forecasts that must not all be the same; nobody wins before there are so many
_US = timedelta(microseconds=1)


class Look(NamedTuple):
    """One symbol's closed bar, and what both models say of it; simple returns, None: nothing."""

    open: float
    close: float
    sigma: float | None
    champion: float | None
    challenger: float | None


class Verdict(NamedTuple):
    """How a contest ended.

    Attributes
    ----------
    kind : {"promote", "reject", "expire"}
        ``reject``: S1's rule has judged against the challenger; ``expire``: its time is over.
    evidence : dict
        The numbers behind it: JSON without NaN.
    """

    kind: Literal["promote", "reject", "expire"]
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """How a contest is held; times in microseconds.

    Attributes
    ----------
    rule : {"evidence", "s1", "always"}
        As `retrain.promotion` of a study.
    alpha : float
        Greatest probability that a challenger that is no better is ever promoted.
    lasts : int
        From its start to its expiry.
    bars, interval : int
        The horizon in bars, and the length of a bar.
    entry : {"next_open", "close"}
        Where an outcome begins, as the labels do.
    """

    rule: Literal["evidence", "s1", "always"]
    alpha: float
    lasts: int
    bars: int
    interval: int
    entry: Literal["next_open", "close"] = "next_open"

    @classmethod
    def of(cls, study: Study) -> Rules:
        """Read a study's."""
        chosen, labels, interval = study.retrain, study.labels, study.data.interval
        return cls(
            chosen.promotion,
            chosen.alpha,
            chosen.shadow // _US,
            labels.horizon // interval,
            interval // _US,
            labels.entry,
        )


class Contest:
    r"""One challenger against one champion.

    Parameters
    ----------
    rules : Rules
        How it is held.
    state : dict
        From `begin`, or the `state` of a contest that was held until now: it goes on as if nothing
        had happened, and ends as it would have.

    Notes
    -----
    With forecasts :math:`f_0, f_1` (champion, challenger) and the outcome y cut at 3, all in
    volatilities of the horizon, a symbol's score is :math:`(y - f_0)^2 - (y - f_1)^2`: the squared
    error is the score that the mean is best for, and rules read forecasts as expected returns.
    Symbols of one moment share their news, so their sum is one bet; stretches do not overlap. The
    sum is divided by a scale of the differences between both forecasts so far (known before the
    outcome), and cut at 1 to both sides.

    The fortune is the mean over five gamblers, who stake 1 to 90 % of what they have each time:
    :math:`E_t = \frac15 \sum_k \prod_{i \le t} (1 + \lambda_k x_i)`. Its stake as a whole moves to
    the gambler who did best so far, so it is predictable, and no tuning is needed.

    "No better" is meant bet by bet: :math:`E[x_t \mid \text{past}] \le 0`.

    References
    ----------
    .. [1] Waudby-Smith, I. and Ramdas, A. (2024). Estimating Means of Bounded Random Variables by
       Betting. JRSS B 86.
    .. [2] Henzi, A. and Ziegel, J. (2022). Valid Sequential Inference on Probability Forecast
       Performance. Biometrika 109.
    """

    def __init__(self, rules: Rules, state: dict[str, Any]) -> None:
        self.rules, self.state = rules, state

    @staticmethod
    def begin(champion: str, challenger: str, at: int) -> dict[str, Any]:
        """Return the state before the first bar: JSON, for the journal."""
        return {
            "champion": champion,
            "challenger": challenger,
            "since": at,
            "open": [],
            "fortunes": evidence.begin(),
            "bets": 0,
            "forecasts": 0,
            "squares": [0.0, 0.0],
            "apart": [0, 0.0],
            "sides": [[0, 0.0, 0.0], [0, 0.0, 0.0]],
            "seen": 0,
            "same": {},
        }

    @property
    def e_value(self) -> float:
        """The fortune, from 1 at the start."""
        return evidence.e_value(self.state["fortunes"])

    def observe(self, time: int, looks: Mapping[str, Look]) -> Verdict | None:
        """Take in all symbols' bars of one close, and say whether it is decided.

        Parameters
        ----------
        time : int
            The close; later than that of the call before.
        looks : dict of str to Look
            By symbol; one without a bar is absent, and its open bets are void.

        Returns
        -------
        Verdict or None
            None: not decided yet. After a verdict the contest is over.
        """
        self._settle(time, looks)
        self._note(looks)
        verdict = self._judge(time)
        if verdict is None:
            self._open(time, looks)
        return verdict

    # -- bets ----------------------------------------------------------------------------------

    def _open(self, time: int, looks: Mapping[str, Look]) -> None:
        """Open a bet on the coming horizon: one at a time, for S1's rule one at every bar."""
        if self.state["open"] and self.rules.rule != "s1":
            return
        rows: dict[str, list[Any]] = {}
        for symbol, look in looks.items():
            unit = (look.sigma or 0.0) * math.sqrt(self.rules.bars)
            if look.champion is None or look.challenger is None or not unit > 0:
                continue
            entry = look.close if self.rules.entry == "close" else None
            rows[symbol] = [look.champion / unit, look.challenger / unit, unit, entry]
        if rows:
            self._measure(rows)
            self.state["open"].append({"at": time, "rows": rows})

    def _measure(self, rows: dict[str, list[Any]]) -> None:
        """Add to the scale of the differences, which is known before their outcomes are."""
        bets, squares = self.state["apart"]
        size = sum(abs(row[1] - row[0]) for row in rows.values())
        self.state["apart"] = [bets + 1, squares + size * size]

    def _settle(self, time: int, looks: Mapping[str, Look]) -> None:
        """Pay out what ends here; fill in the prices at which outcomes begin."""
        left = []
        for bet in self.state["open"]:
            if time == bet["at"] + self.rules.interval:
                for symbol, row in bet["rows"].items():
                    if row[3] is None and symbol in looks:
                        row[3] = looks[symbol].open
            if time < bet["at"] + self.rules.bars * self.rules.interval:
                left.append(bet)
            elif time == bet["at"] + self.rules.bars * self.rules.interval:
                self._pay(bet["rows"], looks)
        self.state["open"] = left

    def _pay(self, rows: dict[str, list[Any]], looks: Mapping[str, Look]) -> None:
        score, paid = 0.0, 0
        for symbol, (old, new, unit, entry) in rows.items():
            if entry is None or symbol not in looks:
                continue
            gain = looks[symbol].close / entry - 1
            self._sum(old * unit, new * unit, gain)
            y = min(max(gain / unit, -LIMIT), LIMIT)
            score += (y - old) ** 2 - (y - new) ** 2
            paid += 1
        bets, squares = self.state["apart"]
        if not paid or not squares > 0 or self.rules.rule != "evidence":
            return  # nobody came, or both have always said the same: nothing to bet on
        x = score / (2 * LIMIT * math.sqrt(squares / bets))
        self.state["fortunes"] = evidence.bet(self.state["fortunes"], x)
        self.state["bets"] += 1

    def _sum(self, old: float, new: float, gain: float) -> None:
        """Add to what S1's rule, and whoever looks, wants to know: errors and sides' returns."""
        self.state["forecasts"] += 1
        for k, forecast in enumerate((old, new)):
            self.state["squares"][k] += (gain - forecast) ** 2
            side = math.copysign(gain, forecast * gain)
            if abs(forecast) > gates.MIN_EDGE and side:
                count, total, squares = self.state["sides"][k]
                self.state["sides"][k] = [count + 1, total + side, squares + side * side]

    def _note(self, looks: Mapping[str, Look]) -> None:
        """Count how often the challenger has said the same of a symbol without a break."""
        self.state["seen"] += any(look.challenger is not None for look in looks.values())
        for symbol, look in looks.items():
            if look.challenger is not None:
                last, count = self.state["same"].get(symbol, [None, 0])
                same = last == look.challenger
                self.state["same"][symbol] = [look.challenger, count + 1 if same else 1]

    # -- the verdict ---------------------------------------------------------------------------

    def _judge(self, time: int) -> Verdict | None:
        rule = self.rules.rule
        if rule == "always":
            return Verdict("promote", self.evidence(time))
        if rule == "evidence" and self._listens and self.e_value * self.rules.alpha >= 1:
            return Verdict("promote", self.evidence(time))
        if rule == "s1" and self.state["forecasts"] >= ENOUGH:
            better = self._listens and bool(gates.passes("s1", self._shown(1), self._shown(0)))
            return Verdict("promote" if better else "reject", self.evidence(time))
        if time - self.state["since"] >= self.rules.lasts:
            return Verdict("expire", self.evidence(time))
        return None

    @property
    def _listens(self) -> bool:
        return self.state["seen"] >= _STUCK and not self.stuck

    @property
    def stuck(self) -> bool:
        """Whether the challenger has stopped listening: the same forecast for each symbol."""
        counts = [count for _, count in self.state["same"].values()]
        return bool(counts) and min(counts) >= _STUCK

    def evidence(self, time: int) -> dict[str, Any]:
        """Return what is known by `time`: JSON, for the journal and for whoever looks."""
        old, new = self._shown(0), self._shown(1)
        return {
            "rule": self.rules.rule,
            "alpha": self.rules.alpha,
            "e_value": self.e_value,
            "needed": 1 / self.rules.alpha,
            "bets": self.state["bets"],
            "forecasts": self.state["forecasts"],
            "rmse": new.rmse,
            "rmse_champion": old.rmse,
            "sharpe": new.sharpe,
            "sharpe_champion": old.sharpe,
            "stuck": self.stuck,
            "champion": self.state["champion"],
            "challenger": self.state["challenger"],
            "since": self.state["since"],
            "until": time,
        }

    def _shown(self, k: int) -> gates.Evidence:
        """Return error and S1's Sharpe of one of the two, from sums."""
        seen, (count, total, squares) = max(self.state["forecasts"], 1), self.state["sides"][k]
        rmse, sharpe = math.sqrt(self.state["squares"][k] / seen), 0.0
        mean, second = total / max(count, 1), squares / max(count, 1)
        if count > 1 and second - mean * mean > 1e-12 * second:
            sharpe = math.sqrt(gates.YEAR) * mean / math.sqrt(second - mean * mean)
        return gates.Evidence(0.0, rmse, sharpe)
