"""One threshold strategy on 2 M bars: our desk against vectorbt, with identical trades.

    python benchmarks/backtest.py                  # installs vectorbt into a throwaway environment
    python benchmarks/backtest.py --peer PYTHON    # or uses an interpreter that has it
    python benchmarks/backtest.py --alone          # our desk only, also with ten positions at once

Both decide at the close and fill at the next open with fee and slippage, and both hand back their
trades and the equity of every bar; ours also a reason and a position for every bar, and costs and
exposure over time. CPU seconds of one thread, pairs run in turn, after one run each to compile.
vectorbt is no dependency of this project: it lives in its own environment and its own process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import peers

ROOT = Path(__file__).resolve().parent.parent
ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
FEE, SLIPPAGE, ENTER, CAPITAL = 0.0001, 0.00005, 0.0008, 10_000.0
MINUTE = 60_000_000
GOAL = 8.0


def market(n: int) -> dict[str, np.ndarray]:
    """Random bars and a forecast that wanders slowly; at the end it says to be out."""
    rng = np.random.default_rng(20261120)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.0005, n)))
    open_ = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0, 0.00005, n))
    noise = rng.normal(0, 0.0002, n)
    forecast = np.empty(n)
    last = 0.0
    for k in range(n):
        last = forecast[k] = 0.9 * last + noise[k]
    forecast[-10:] = -1.0
    high, low = np.maximum(open_, close) * 1.0001, np.minimum(open_, close) * 0.9999
    return {"open": open_, "high": high, "low": low, "close": close, "forecast": forecast}


def plain() -> Any:
    """The rule that both desks play."""
    from research.trading.rules import threshold, with_costs

    rules = threshold(enter=ENTER, side="long", interval=timedelta(minutes=1))
    return with_costs(rules, fee=FEE, slippage=SLIPPAGE)


def ten_at_once() -> Any:
    """Up to ten positions side by side, each held for ten bars, sized by volatility."""
    from research.trading.rules import (
        probability,
        with_costs,
        with_exits,
        with_limits,
        with_sizing,
    )

    rules = probability(enter=ENTER, interval=timedelta(minutes=1))
    rules = with_limits(with_exits(rules, hold=timedelta(minutes=10)), overlap=10)
    rules = with_sizing(rules, "volatility", bars=10, max_position=0.1)
    return with_costs(rules, fee=FEE, slippage=SLIPPAGE)


def play_ours(bars: dict[str, np.ndarray], rules: Any) -> tuple[float, dict[str, np.ndarray]]:
    from research.trading import loop

    n = len(bars["close"])
    when, zero, one = MINUTE * np.arange(1, n + 1), np.zeros(n, np.int64), np.ones(n)
    prices = (bars[name] for name in ("open", "high", "low", "close"))
    arrays = (when, zero, *prices, one, bars["forecast"], zero)
    sigma = np.full(n, 0.0005)
    start = time.process_time()
    found = loop.run(*arrays, 1, rules, CAPITAL, sigma=sigma)
    spent = time.process_time() - start
    trades = found.trades
    return spent, {
        "entry": trades.entry_time // MINUTE,
        "exit": trades.exit_time // MINUTE,
        "size": trades.quantity,
        "entry_price": trades.entry_price,
        "exit_price": trades.exit_price,
        "pnl": trades.net,
        "equity": found.equity,
    }


def play_theirs(bars: dict[str, np.ndarray]) -> tuple[float, float, dict[str, np.ndarray]]:
    import vectorbt as vbt

    forecast = bars["forecast"]
    start = time.process_time()
    entries = np.concatenate([[False], forecast[:-1] > ENTER])  # decided at the close before
    exits = np.concatenate([[False], forecast[:-1] < 0])
    found = vbt.Portfolio.from_signals(
        bars["close"],
        entries,
        exits,
        price=bars["open"],
        fees=FEE,
        slippage=SLIPPAGE,
        init_cash=CAPITAL,
        direction="longonly",
        freq="1min",
    )
    t = found.trades.records
    spent_on_trades = time.process_time() - start
    equity = found.value().to_numpy()
    spent = time.process_time() - start
    return spent, spent_on_trades, {
        "entry": t["entry_idx"].to_numpy(),
        "exit": t["exit_idx"].to_numpy(),
        "size": t["size"].to_numpy(),
        "entry_price": t["entry_price"].to_numpy(),
        "exit_price": t["exit_price"].to_numpy(),
        "pnl": t["pnl"].to_numpy(),
        "equity": equity,
    }  # fmt: skip


def serve(folder: Path) -> None:
    """Be the peer: at each line on stdin, run once and say how long it took."""
    bars = dict(np.load(folder / "bars.npz"))
    for _ in sys.stdin:
        spent, on_trades, found = play_theirs(bars)
        np.savez(folder / "theirs.npz", **found)
        print(json.dumps([spent, on_trades]), flush=True)


def same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> str:
    for name in ("entry", "exit"):
        assert np.array_equal(ours[name], theirs[name]), f"{name} bars differ"
    gaps = []
    for name in ("size", "entry_price", "exit_price", "equity"):
        gap = np.max(np.abs(ours[name] / theirs[name] - 1))
        assert gap < 1e-9, f"{name} differs by {gap}"
        gaps.append(gap)
    assert np.allclose(ours["pnl"], theirs["pnl"], rtol=1e-9, atol=1e-7), "pnl differs"
    return f"{len(ours['entry']):,} trades identical, prices, sizes and equity to {max(gaps):.0e}"


def spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="python that has vectorbt")
    parser.add_argument("--bars", type=int, default=2_000_000)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--alone", action="store_true", help="without the peer")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve)
        return 0
    sys.path.insert(0, str(ROOT))
    if asked.alone:
        return alone(asked)
    with tempfile.TemporaryDirectory() as name:
        return compare(Path(name), asked)


def alone(asked: argparse.Namespace) -> int:
    bars = market(asked.bars)
    for name, rules in (("plain", plain()), ("ten at once", ten_at_once())):
        play_ours(bars, rules)
        ran = [play_ours(bars, rules) for _ in range(asked.pairs)]
        speed = [asked.bars / spent / 1e6 for spent, _ in ran]
        print(f"{name:12} {spread(speed, '.1f')} M bars/s, {len(ran[0][1]['pnl']):,} trades")
    return 0


def compare(folder: Path, asked: argparse.Namespace) -> int:
    bars = market(asked.bars)
    np.savez(folder / "bars.npz", **bars)
    peer = subprocess.Popen(
        [
            asked.peer or peers.install(folder, "vectorbt"),
            str(Path(__file__).resolve()),
            "--serve",
            str(folder),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ONE_THREAD},
    )
    assert peer.stdin and peer.stdout

    def theirs() -> list[float]:
        print("run", file=peer.stdin, flush=True)
        return json.loads(peer.stdout.readline())

    begun = time.perf_counter()
    _, found = play_ours(bars, plain())
    first = time.perf_counter() - begun
    theirs()
    agreed = same(found, dict(np.load(folder / "theirs.npz")))
    pairs = [(play_ours(bars, plain())[0], *theirs()) for _ in range(asked.pairs)]
    peer.stdin.close()
    peer.wait()
    ratios = [whole / own for own, whole, _ in pairs]
    print(f"{asked.bars:,} bars, {agreed}")
    print(f"ours      {spread([p[0] for p in pairs], '.4f')} CPU s, first call {first:.1f} s")
    print(f"          {spread([asked.bars / p[0] / 1e6 for p in pairs], '.1f')} M bars/s")
    print(f"vectorbt  {spread([p[1] for p in pairs], '.4f')} CPU s, trades and equity")
    print(f"          {spread([p[2] for p in pairs], '.4f')} CPU s, trades alone")
    print(f"ratio     {spread(ratios, '.1f')} x, goal {GOAL:.0f} x")
    print(f"          {spread([p[2] / p[0] for p in pairs], '.1f')} x against its trades alone")
    return 0 if median(ratios) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
