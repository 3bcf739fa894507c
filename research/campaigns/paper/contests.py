"""Challengers in the shadow of a champion: chance is not promoted, skill is, nobody is stuck."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from research import batch
from research.live.shadow import Contest, Look, Rules, Verdict

if TYPE_CHECKING:
    import numpy as np

MINUTE = 60_000_000
ALPHA = 0.05
SKILL = 0.1
"""Correlation of the better forecasts with their outcomes."""
Rule = Literal["evidence", "s1", "always"]
CONTESTS = {
    "both know nothing": (1.0, 250, 1),
    "both know as much": (0.3, 250, 1),
    "worse": (0.3, 250, 1),
    "better": (0.1, 1000, 5),
    "stuck": (0.1, 600, 1),
}
"""Kinds of challengers: how many of the asked for, horizons that a contest lasts, symbols."""


def shadow(seeds: int, workers: int) -> dict[str, Any]:
    """Hold contests with challengers that are no better, worse, better or stuck.

    Parameters
    ----------
    seeds : int
        Challengers that know nothing, as their champion; fewer of the other kinds.
    workers : int
        Processes.

    Returns
    -------
    dict
        For each kind the contests, the share of each verdict, and ``alpha``: the share promoted
        that is allowed for those that are no better. ``without_verdict`` should be 0.
    """
    counts = {kind: max(math.ceil(part * seeds), 1) for kind, (part, *_) in CONTESTS.items()}
    jobs = [(kind, seed) for kind, count in counts.items() for seed in range(count)]
    watch = batch.progress(f"shadow: {len(jobs)} contests")
    verdicts = batch.each(_verdict, jobs, workers=workers, watch=watch)
    ends = Counter((kind, end) for (kind, _), end in zip(jobs, verdicts, strict=True))
    found: dict[str, Any] = {"alpha": ALPHA}
    for kind, count in counts.items():
        shares = {end: ends[kind, end] / count for end in ("promote", "expire")}
        found[kind] = {"contests": count, **{end: round(s, 4) for end, s in shares.items()}}
    found["without_verdict"] = sum(n for (_, end), n in ends.items() if end == "none")
    return found


def _verdict(job: tuple[str, int]) -> str:
    """Hold one contest and say how it ended."""
    import numpy as np

    kind, seed = job
    _, bets, symbols = CONTESTS[kind]
    dice = np.random.default_rng([seed, *map(ord, kind)])
    if kind == "stuck":
        said, outcome = stuck(dice, bets)
    else:
        said, outcome = market(dice, bets, kind, symbols=symbols)
    _, verdict = held(rules(bets=bets), said, outcome)
    return "none" if verdict is None else verdict.kind


def rules(
    rule: Rule = "evidence",
    *,
    bets: int = 10_000,
    bars: int = 1,
    entry: Literal["next_open", "close"] = "close",
    alpha: float = ALPHA,
) -> Rules:
    """Return rules of a contest that lasts for so many horizons of so many minutes."""
    return Rules(rule, alpha, bets * bars * MINUTE, bars, MINUTE, entry)


def held(
    made: Rules, forecasts: np.ndarray, outcomes: np.ndarray
) -> tuple[Contest, Verdict | None]:
    """Hold a contest over (n, symbols, 2) forecasts and (n, symbols) outcomes, in volatilities."""
    import numpy as np

    contest = Contest(made, Contest.begin("old", "new", 0))
    prices = np.cumprod(1 + 0.001 * np.vstack([np.zeros(outcomes.shape[1]), outcomes]), axis=0)
    for k, said in enumerate(0.001 * forecasts):
        looks = {
            str(s): Look(prices[k, s], prices[k, s], 0.001, said[s, 0], said[s, 1])
            for s in range(outcomes.shape[1])
        }
        verdict = contest.observe(k * MINUTE, looks)
        if verdict is not None:
            return contest, verdict
    return contest, None


def market(
    dice: np.random.Generator, bets: int, kind: str, *, symbols: int = 1, skill: float = SKILL
) -> tuple[np.ndarray, np.ndarray]:
    """Draw forecasts of champion and challenger, and outcomes with fat tails and restless size."""
    import numpy as np

    known, one, two = dice.normal(size=(3, bets + 1, symbols))
    noise = dice.standard_t(4, (bets + 1, symbols)) / 2**0.5
    outcome = skill * known + math.sqrt(1 - skill**2) * noise
    outcome *= np.exp(0.4 * np.sin(np.arange(bets + 1) / 50))[:, None]
    pairs = {
        "both know nothing": (one, two),
        "both know as much": (known + one / 2, known + two / 2),
        "worse": (known, two),
        "better": (one, known),
    }
    return 0.1 * np.stack(pairs[kind], axis=2), outcome


def stuck(dice: np.random.Generator, bets: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a champion that has lost its way and a challenger that always says the same."""
    said, outcome = market(dice, bets, "both know nothing")
    said[:, :, 0] *= 30
    said[:, :, 1] = 0.0001
    return said, outcome
