"""Single-position runs trade by trade: our desk against vectorbt and backtesting.py.

    python benchmarks/accounting.py                  # installs both into a throwaway environment
    python benchmarks/accounting.py --peer PYTHON    # or uses an interpreter that has them

Every case is played by each of the three that can say it, and the trades must be the same ones:
bars of entry and exit, quantity, both prices, fees and profit, and equity at the end. Quantities
are ten units, which all three can hold, or all there is (vectorbt; backtesting.py holds whole
units alone). Slippage is zero where backtesting.py plays, which applies its spread to entries
only. The peers are no dependency of this project: they live in their own environment.

Left out, for the three define it differently: a take beyond which a bar opens (ours fills at its
level, theirs at the better open), a stop inside the bar of entry (vectorbt looks from the next bar
on), and an order that meets a stop in its bar (vectorbt stops first, though the open comes first).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import peers

ROOT = Path(__file__).resolve().parent.parent
MINUTE, CAPITAL, UNITS, SHARE = 60_000_000, 100_000.0, 10.0, 0.015
FIELDS = ("entry", "exit", "side", "size", "entry_price", "exit_price", "fees", "pnl")
EXACT = FIELDS[:3]
MOST = 1e-9


class Case(NamedTuple):
    """One way to trade; rates are fractions."""

    name: str
    side: str
    enter: float = 0.0008
    leave: float = 0.0
    fee: float = 0.0004
    slippage: float = 0.0
    stop: float | None = None
    take: float | None = None
    units: bool = True
    gaps: bool = True
    peers: tuple[str, ...] = ("vectorbt", "backtesting")


CASES = (
    Case("long, all in, slippage", "long", slippage=0.0002, units=False, peers=("vectorbt",)),
    Case("long", "long"),
    Case("short", "short"),
    Case("long and short, turned", "longshort", leave=0.0002),
    Case("short, slippage", "short", slippage=0.0002, peers=("vectorbt",)),
    Case("turned, slippage", "longshort", slippage=0.0002, peers=("vectorbt",)),
    Case("stop, with gaps", "longshort", leave=1.0, stop=0.01),
    Case("stop and take", "longshort", leave=1.0, stop=0.01, take=0.008, gaps=False),
)


def market(n: int, *, gaps: bool) -> dict[str, np.ndarray]:
    """Bars between 80 and 125, some too wide for a stop and a take; a forecast, unknown at times.

    A wide bar comes where nothing can have been ordered, so that none is a bar of entry; at the
    end the forecast says to be out.
    """
    rng = np.random.default_rng(20261121 + gaps)
    level = np.cumsum(rng.normal(0, 0.0012, n))
    close = 100 * np.exp(0.22 * np.sin(level * 3))
    open_ = np.concatenate([[100.0], close[:-1]])
    if gaps:
        open_ = open_ * np.exp(rng.normal(0, 0.0006, n) + 0.02 * (rng.random(n) < 0.002))
    reach = rng.exponential(0.0004, (2, n))
    forecast = np.cumsum(rng.normal(0, 0.0003, n))
    forecast = forecast - np.convolve(forecast, np.ones(200) / 200, "same")
    forecast[rng.random(n) < 0.02] = np.nan
    wide = np.flatnonzero(rng.random(n) < 0.004)[1:]
    reach[:, wide] += 0.02
    forecast[wide - 1] = 0.0
    forecast[[0, -1, -2, -3, -4, -5]] = 0.0  # backtesting.py does not ask at the first bar
    high = np.maximum(open_, close) * (1 + reach[0])
    low = np.minimum(open_, close) * (1 - reach[1])
    return {"open": open_, "high": high, "low": low, "close": close, "forecast": forecast}


def play_ours(bars: dict[str, np.ndarray], case: Case) -> dict[str, Any]:
    from research.trading import loop
    from research.trading import rules as terms
    from research.trading.account import new_venue

    minute, n = timedelta(minutes=1), len(bars["close"])
    rules = terms.threshold(enter=case.enter, leave=case.leave, side=case.side, interval=minute)
    rules = terms.with_exits(rules, stop=case.stop, take=case.take)
    rules = terms.with_costs(rules, fee=case.fee, slippage=case.slippage)
    venue = None
    if case.units:  # a share of equity worth between one lot and two: always one
        rules = terms.with_sizing(rules, "fraction", fraction=SHARE)
        venue = new_venue(1, lot=np.array([UNITS]))
    prices = [bars[name] for name in ("open", "high", "low", "close")]
    when, zero, one = MINUTE * np.arange(1, n + 1), np.zeros(n, np.int64), np.ones(n)
    found = loop.run(
        when, zero, *prices, one, bars["forecast"], zero, n_symbols=1, rules=rules,
        capital=CAPITAL, venue=venue,
    )  # fmt: skip
    t = found.trades
    inside = np.isin(t.exit_reason, [terms.REASONS.index(word) for word in ("stop", "take", "end")])
    return {
        "entry": t.entry_time // MINUTE,
        "exit": t.exit_time // MINUTE - inside,  # an exit inside a bar is known at its close
        "side": t.side,
        "size": t.quantity,
        "entry_price": t.entry_price,
        "exit_price": t.exit_price,
        "fees": t.fees,
        "pnl": t.net,
        "equity": found.equity[-1:],
        "open": np.flatnonzero(t.exit_reason == terms.REASONS.index("end")),
    }


def play_vectorbt(bars: dict[str, np.ndarray], case: Case) -> dict[str, Any]:
    import vectorbt as vbt
    from numba import njit
    from vectorbt.portfolio.enums import StopEntryPrice, StopExitPrice

    @njit
    def signals(context, known, enter, leave, long, short, seen):  # type: ignore[no-untyped-def]
        i, held = context.i, context.position_now
        # a stop of the bar before left this function uncalled: that bar decided nothing
        decided = seen[0] == i - 1
        seen[0] = i
        value = known[i]
        if held == 0 and not decided:
            return False, False, False, False
        up, down = long and value > enter, short and value < -enter
        out, cover = held > 0 and value < -leave, held < 0 and value > leave
        up, down = up and (held == 0 or cover), down and (held == 0 or out)
        return up, out and not down, down, cover and not up

    known = np.concatenate([[np.nan], bars["forecast"][:-1]])
    sides = (case.side != "short", case.side != "long")
    found = vbt.Portfolio.from_signals(
        bars["close"],
        signal_func_nb=signals,
        signal_args=(known, case.enter, case.leave, *sides, np.array([-1])),
        open=bars["open"],
        high=bars["high"],
        low=bars["low"],
        price=bars["open"],
        size=UNITS if case.units else np.inf,
        fees=case.fee,
        slippage=case.slippage,
        sl_stop=case.stop,
        tp_stop=case.take,
        stop_entry_price=StopEntryPrice.FillPrice,
        stop_exit_price=StopExitPrice.StopMarket,
        upon_opposite_entry="reverse",
        accumulate=False,
        init_cash=CAPITAL,
        freq="1min",
    )
    t = found.trades.records
    return {
        "entry": t["entry_idx"].to_numpy(),
        "exit": t["exit_idx"].to_numpy(),
        "side": np.where(t["direction"] == 0, 1, -1),
        "size": t["size"].to_numpy(),
        "entry_price": t["entry_price"].to_numpy(),
        "exit_price": t["exit_price"].to_numpy(),
        "fees": (t["entry_fees"] + t["exit_fees"]).to_numpy(),
        "pnl": t["pnl"].to_numpy(),
        "equity": found.value().to_numpy()[-1:],
    }


def play_backtesting(bars: dict[str, np.ndarray], case: Case) -> dict[str, Any]:
    import pandas as pd
    from backtesting import Backtest, Strategy

    names = ("open", "high", "low", "close", "forecast")
    table = pd.DataFrame({name.capitalize(): bars[name] for name in names})
    opens, long, short = bars["open"], case.side != "short", case.side != "long"

    class Rule(Strategy):
        def init(self) -> None:
            self.count = 0

        def next(self) -> None:
            bar, value = len(self.data) - 1, self.data.Forecast[-1]
            done, self.count = self.closed_trades[self.count :], len(self.closed_trades)
            held = self.position.size
            if case.stop and any(trade.exit_bar == bar for trade in done):
                return
            wish = 1 if long and value > case.enter else -1 if short and value < -case.enter else 0
            if held == 0 and wish:
                self.enter(wish, UNITS, opens[min(bar + 1, len(opens) - 1)])
            elif held * value < 0 and abs(value) > case.leave:
                # an order of twice the size closes one side and opens the other
                self.enter(-1 if held > 0 else 1, abs(held) * (2 if wish * held < 0 else 1), 0.0)

        def enter(self, side: int, units: float, at: float) -> None:
            stop = at * (1 - side * case.stop) if case.stop else None
            take = at * (1 + side * case.take) if case.take else None
            (self.buy if side > 0 else self.sell)(size=int(units), sl=stop, tp=take)

    test = Backtest(table, Rule, cash=CAPITAL, commission=case.fee, finalize_trades=True)
    stats = test.run()
    t = stats["_trades"].sort_values("EntryBar")
    return {
        "entry": t["EntryBar"].to_numpy(),
        "exit": t["ExitBar"].to_numpy(),
        "side": np.sign(t["Size"].to_numpy()),
        "size": t["Size"].abs().to_numpy(),
        "entry_price": t["EntryPrice"].to_numpy(),
        "exit_price": t["ExitPrice"].to_numpy(),
        "fees": t["Commission"].to_numpy(),
        "pnl": t["PnL"].to_numpy(),
        "equity": stats["_equity_curve"]["Equity"].to_numpy()[-1:],
    }


PLAY = {"vectorbt": play_vectorbt, "backtesting": play_backtesting}


def serve(folder: Path) -> None:
    """Be both peers: play every case once."""
    from importlib.metadata import version

    for number, case in enumerate(CASES):
        bars = dict(np.load(folder / f"bars_{case.gaps}.npz"))
        for name in case.peers:
            np.savez(folder / f"{number}_{name}.npz", **PLAY[name](bars, case))
    print(json.dumps({name: version(name) for name in PLAY}))


def gaps(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """Largest differences of closed trades: bars and sides plain, the rest relative to size.

    Money is measured against the notional of the entry: a profit near zero has no scale of its own.
    """
    closed = np.delete(np.arange(len(ours["entry"])), ours["open"])
    mine, yours = ({f: part[f][closed] for f in FIELDS} for part in (ours, theirs))
    worth = mine["size"] * mine["entry_price"]
    scale = {
        **dict.fromkeys(EXACT, 1.0),
        **{name: np.abs(mine[name]) for name in ("size", "entry_price", "exit_price")},
        **dict.fromkeys(("fees", "pnl"), worth),
    }
    found = {
        name: float(np.max(np.abs(mine[name] - yours[name]) / scale[name], initial=0.0))
        for name in FIELDS
    }
    return found | {"trades": float(len(closed))}


def compare(folder: Path, python: str, bars: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    for with_gaps in (True, False):
        np.savez(folder / f"bars_{with_gaps}.npz", **market(bars, gaps=with_gaps))
    done = subprocess.run(
        [python, "-W", "ignore", str(Path(__file__).resolve()), "--serve", str(folder)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "1"},
    )
    sys.path.insert(0, str(ROOT))
    lines = []
    for number, case in enumerate(CASES):
        ours = play_ours(dict(np.load(folder / f"bars_{case.gaps}.npz")), case)
        for name in case.peers:
            theirs = dict(np.load(folder / f"{number}_{name}.npz"))
            lines.append({"case": case.name, "peer": name, **line(ours, theirs)})
    return lines, json.loads(done.stdout.splitlines()[-1])


def line(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """One line of the table."""
    if len(ours["entry"]) != len(theirs["entry"]):
        return {"equal": False, "trades": len(ours["entry"]), "theirs": len(theirs["entry"])}
    found = gaps(ours, theirs)
    if not len(ours["open"]):  # a position left at the end is closed in our books alone
        found["equity"] = abs(float(ours["equity"][0] / theirs["equity"][0]) - 1)
    worst = max(gap for name, gap in found.items() if name not in (*EXACT, "trades"))
    exact = all(found[name] == 0 for name in EXACT)
    return {"equal": exact and worst < MOST, "longs": int((ours["side"] > 0).sum()), **found}


def show(lines: list[dict[str, Any]], versions: dict[str, str]) -> None:
    print("largest differences over all closed trades; fees and profit as shares of the notional")
    print(", ".join(f"{name} {number}" for name, number in versions.items()))
    columns = ("entry", "exit", "size", "entry_price", "exit_price", "fees", "pnl", "equity")
    head = "".join(f"{name:>12}" for name in columns)
    print(f"{'case':26}{'peer':13}{'trades':>7}{'long':>6}{head}")
    for row in lines:
        if "entry" not in row:
            print(
                f"{row['case']:26}{row['peer']:13} {row['trades']} trades, {row['theirs']} theirs"
            )
            continue
        cells = (f"{row[name]:12.1e}" if name in row else f"{'-':>12}" for name in columns)
        print(
            f"{row['case']:26}{row['peer']:13}{row['trades']:7.0f}{row['longs']:6}{''.join(cells)}"
        )
    wrong = [row for row in lines if not row["equal"]]
    print(f"{len(lines) - len(wrong)} of {len(lines)} comparisons equal to {MOST:.0e}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="python that has vectorbt and backtesting")
    parser.add_argument("--bars", type=int, default=60_000)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines, versions = compare(
            folder,
            asked.peer or peers.install(folder, "vectorbt", "backtesting==0.6.6"),
            asked.bars,
        )
    if asked.json:
        print(json.dumps({"comparisons": lines, "versions": versions}))
    else:
        show(lines, versions)
    return 0 if all(row["equal"] for row in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
