"""A sweep of 1,000 settings over 0.5 M bars: our desk against vectorbt, all trades identical.

    python benchmarks/sweep.py                  # installs vectorbt into a throwaway environment
    python benchmarks/sweep.py --peer PYTHON    # or uses an interpreter that has it

Settings are entry threshold x exit threshold x fee, one symbol, long or flat, all in. Both decide
at the close and fill at the next open, and hand back every trade of every setting, which are then
compared, all of them; our desk also writes a reason, a position and the equity of every bar.
CPU seconds of one process and one thread, chunks of settings in turn, after a run to compile.
vectorbt broadcasts a chunk of settings over columns, in the chunk that was quickest of those tried;
where its optional Rust engine is installed, that is measured beside. It is no dependency of this
project: it lives in its own environment and its own process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import peers

ROOT = Path(__file__).resolve().parent.parent
THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
# the same for all while CPU is measured: memory given back is kept, no run pays for fresh pages
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
SLIPPAGE, CAPITAL = 0.00005, 10_000.0
MINUTE = 60_000_000
GOAL, CHUNK, TRIED = 15.0, 50, (1, 5, 20, 50)
FIELDS = ("setting", "entry", "exit", "size", "entry_price", "exit_price", "pnl")


def market(n: int) -> dict[str, np.ndarray]:
    """Random bars and a forecast that wanders slowly; at the end it says to be out."""
    rng = np.random.default_rng(20261121)
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


def grid(count: int) -> np.ndarray:
    """Rows of entry threshold, exit threshold and fee; `count` of 1,000, spread evenly."""
    enter, leave = np.linspace(0.0008, 0.0018, 20), np.linspace(0.0, 0.0009, 10)
    whole = np.array(list(product(enter, leave, (0.0, 0.0001, 0.0002, 0.0004, 0.0006))))
    return whole[np.linspace(0, len(whole) - 1, count).astype(int)]


def play_ours(bars: dict[str, np.ndarray], settings: np.ndarray) -> tuple[float, dict[str, Any]]:
    from research.trading import loop
    from research.trading.rules import threshold, with_costs

    n, minute, parts = len(bars["close"]), timedelta(minutes=1), []
    when, zero, one = MINUTE * np.arange(1, n + 1), np.zeros(n, np.int64), np.ones(n)
    prices = (bars[name] for name in ("open", "high", "low", "close"))
    nothing = np.zeros(n)
    columns = dict(
        zip(("time_us", "symbol", "open", "high", "low", "close"), (when, zero, *prices))
    )
    columns |= {"volume": one, "forecast": bars["forecast"], "bin": zero, "opened": when - MINUTE}
    columns |= dict.fromkeys(("sigma", "half_spread", "impact"), nothing)
    start = time.process_time()
    for enter, leave, fee in settings:
        rules = threshold(enter=enter, leave=leave, side="long", interval=minute)
        rules = with_costs(rules, fee=fee, slippage=SLIPPAGE)
        played = loop.run(**columns, n_symbols=1, rules=rules, capital=CAPITAL)
        parts.append(played.trades)
    spent = time.process_time() - start
    joined = {name: np.concatenate([getattr(t, name) for t in parts]) for name in parts[0]._fields}
    return spent, {
        "setting": np.repeat(np.arange(len(parts)), [len(t.side) for t in parts]),
        "entry": joined["entry_time"] // MINUTE,
        "exit": joined["exit_time"] // MINUTE,
        "size": joined["quantity"],
        "entry_price": joined["entry_price"],
        "exit_price": joined["exit_price"],
        "pnl": joined["net"],
    }


def play_theirs(
    bars: dict[str, np.ndarray], settings: np.ndarray, size: int, engine: str
) -> tuple[float, dict[str, Any]]:
    import vectorbt as vbt

    # thresholds are compared with what was known at the close before
    known = np.concatenate([[np.nan], bars["forecast"][:-1]])[:, None]
    start, parts = time.process_time(), []
    for first in range(0, len(settings), size):
        enter, leave, fee = settings[first : first + size].T
        found = vbt.Portfolio.from_signals(
            bars["close"][:, None],
            known > enter,
            known < -leave,
            price=bars["open"][:, None],
            fees=fee[None, :],
            slippage=SLIPPAGE,
            init_cash=CAPITAL,
            direction="longonly",
            freq="1min",
            engine=engine,
        )
        parts.append((first, found.trades.records))
    spent = time.process_time() - start
    names = ("entry_idx", "exit_idx", "size", "entry_price", "exit_price", "pnl")
    setting = np.concatenate([first + t["col"].to_numpy() for first, t in parts])
    columns = [np.concatenate([t[name].to_numpy() for _, t in parts]) for name in names]
    return spent, dict(zip(FIELDS, (setting, *columns), strict=True))


def memory() -> float:
    """Highest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def engines() -> list[str]:
    """Engines that the peer's environment has."""
    from importlib.util import find_spec

    return ["numba", "rust"] if find_spec("vectorbt_rust") else ["numba"]


def serve(folder: Path, who: str) -> None:
    """Play what each line on stdin asks for; say what it took, and leave the trades in a file."""
    bars, settings = dict(np.load(folder / "bars.npz")), np.load(folder / "settings.npy")
    if who == "ours":
        sys.path.insert(0, str(ROOT))
    print(json.dumps({"engines": [] if who == "ours" else engines()}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        chosen = settings[asked["first"] : asked["last"]]
        if who == "ours":
            spent, found = play_ours(bars, chosen)
        else:
            spent, found = play_theirs(bars, chosen, asked["size"], asked["engine"])
        np.savez(folder / f"{who}.npz", **found)
        print(json.dumps({"cpu": spent, "peak": memory()}), flush=True)


class Player:
    """A process that plays settings when asked."""

    def __init__(
        self, python: str, folder: Path, who: str, keep: dict[str, str] = KEEP, **how: Any
    ) -> None:
        command = [python, str(Path(__file__).resolve()), "--serve", str(folder), "--who", who]
        self.how, self.file = how, folder / f"{who}.npz"
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(THREADS, "1"), **keep},
        )
        self.engines = self.answer()["engines"]

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def play(self, first: int, last: int, **how: Any) -> dict[str, Any]:
        assert self.process.stdin
        asked = {"first": first, "last": last, **self.how, **how}
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        return self.answer()

    def trades(self) -> dict[str, np.ndarray]:
        return dict(np.load(self.file))

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """Check that all trades of a chunk are the same ones; return the largest relative gap."""
    for name in ("setting", "entry", "exit"):
        assert np.array_equal(ours[name], theirs[name]), f"{name} differs"
    gaps = [float(np.max(np.abs(ours[n] / theirs[n] - 1), initial=0.0)) for n in FIELDS[3:6]]
    assert max(gaps) < 1e-9, f"size and prices differ by {gaps}"
    assert np.allclose(ours["pnl"], theirs["pnl"], rtol=1e-9, atol=1e-7), "pnl differs"
    return max(gaps)


def quickest(python: str, folder: Path, count: int) -> tuple[dict[str, int], dict[str, Any]]:
    """Try chunk sizes for each engine; return the best size, and CPU seconds per setting of all."""
    peer, best, tried = Player(python, folder, "theirs"), {}, {}
    few = min(max(TRIED), count)
    for engine in peer.engines:
        sizes = [size for size in TRIED if size <= few]
        spent = {}
        for size in sizes:
            how: dict[str, Any] = {"size": size, "engine": engine}
            peer.play(0, size, **how)  # compiles
            spent[size] = min(peer.play(0, few, **how)["cpu"] / few for _ in range(2))
        best[engine], tried[engine] = min(spent, key=spent.__getitem__), spent
    peer.end()
    return best, tried


def start(
    python: str, folder: Path, best: dict[str, int], keep: dict[str, str]
) -> dict[str, Player]:
    """Start our desk and each of the peer's engines, in its best chunk."""
    players = {"ours": Player(sys.executable, folder, "ours", keep)}
    for engine, size in best.items():
        how: dict[str, Any] = {"size": size, "engine": engine}
        players[engine] = Player(python, folder, "theirs", keep, **how)
    return players


def peak_memory(players: dict[str, Player], count: int) -> dict[str, float]:
    """Highest memory of each player over its first settings, and end them."""
    peaks = {name: player.play(0, count)["peak"] for name, player in players.items()}
    for player in players.values():
        player.end()
    return peaks


def measure(python: str, folder: Path, count: int) -> dict[str, Any]:
    """Play all settings, a chunk of each in turn, and compare every trade."""
    best, tried = quickest(python, folder, count)
    peaks = peak_memory(start(python, folder, best, {}), min(CHUNK, count))
    players = start(python, folder, best, KEEP)
    for player in players.values():
        player.play(0, min(50, count))  # compiles
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in players}
    worst, trades = 0.0, 0
    for first in range(0, count, CHUNK):
        last, found = min(first + CHUNK, count), {}
        for name, player in players.items():
            runs[name].append(player.play(first, last))
            found[name] = player.trades()
        trades += len(found["ours"]["entry"])
        worst = max(worst, *(same(found["ours"], found[engine]) for engine in best))
    for player in players.values():
        player.end()
    told = {"runs": runs, "chunk": best, "tried": tried, "worst": worst, "trades": trades}
    return told | {"peaks": peaks}


def figures(made: dict[str, Any], bars: int, count: int) -> dict[str, Any]:
    """Numbers for people and machines."""
    runs, out = made["runs"], {"bars": bars, "settings": count, "trades": made["trades"]}
    out |= {"largest_gap": made["worst"], "goal": GOAL, "chunk": made["chunk"]}
    for name, rows in runs.items():
        ratios = [row["cpu"] / own["cpu"] for row, own in zip(rows, runs["ours"], strict=True)]
        out[name] = {
            "cpu": sum(row["cpu"] for row in rows),
            "peak_mib": made["peaks"][name],
            "ratio": sum(row["cpu"] for row in rows) / sum(row["cpu"] for row in runs["ours"]),
            "chunks": [min(ratios), median(ratios), max(ratios)],
        }
    out["tried"] = made["tried"]
    return out


def show(told: dict[str, Any]) -> None:
    print(
        f"{told['settings']:,} settings on {told['bars']:,} bars: {told['trades']:,} trades "
        f"identical, sizes and prices to {told['largest_gap']:.0e}"
    )
    ours = told["ours"]
    rate = told["bars"] * told["settings"] / ours["cpu"] / 1e6
    print(
        f"ours              {ours['cpu']:7.1f} CPU s, at most {ours['peak_mib']:6,.0f} MiB, "
        f"{rate:.0f} M bars/s; with reasons, positions and equity"
    )
    for engine, size in told["chunk"].items():
        row = told[engine]
        low, _, high = row["chunks"]
        print(
            f"vectorbt ({engine}) {row['cpu']:9.1f} CPU s, at most {row['peak_mib']:6,.0f} MiB, "
            f"{size} settings at a time; trades alone"
        )
        goal = f", goal {GOAL:.0f} x" if engine == "numba" else ""
        print(f"  ratio {row['ratio']:.1f} x (chunks {low:.1f} to {high:.1f}){goal}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="python that has vectorbt")
    parser.add_argument("--bars", type=int, default=500_000)
    parser.add_argument("--settings", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--who", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve, asked.who)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "bars.npz", **market(asked.bars))
        np.save(folder / "settings.npy", grid(asked.settings))
        python = asked.peer or peers.install(folder, "vectorbt", optional=("vectorbt[rust]",))
        told = figures(measure(python, folder, asked.settings), asked.bars, asked.settings)
    if asked.json:
        print(json.dumps(told))
    else:
        show(told)
    return 0 if told["numba"]["ratio"] >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
