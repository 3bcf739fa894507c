"""How fast do raw messages become columns, beside a loop of orjson and float?

    python benchmarks/decode.py [--file btcusdt_20240808.gz] [--messages 100000] [--pairs 5]

Aim: at least 3x the loop that most people write, with equal columns. Both read the same bytes: the
recording beside this project where it is there, a file named, or a made one. Timed are the text
alone (unpacked before the clock starts) and the gzip file; the loop unpacks before it parses, ours
while it parses, on another thread. Runs are interleaved, so that a busy machine is busy for both;
the processor's time of all threads is printed beside the clock's.
"""

from __future__ import annotations

import argparse
import gzip
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from research.schema import Recording  # noqa: E402
from research.sources import recordings  # noqa: E402
from research.sources.recordings import frames  # noqa: E402

REAL = ROOT.parent / "shared/data/raw/binance/usdm/btcusdt_20240808.gz"


def made(folder: Path, messages: int) -> Path:
    """A raw file of one perpetual, with the real one's shares of kinds and levels per book."""
    dice, path = random.Random(1), folder / "made.gz"
    lines = (_line(dice, i, 1_723_161_255_000 + i) for i in range(messages))
    path.write_bytes(gzip.compress(b"".join(line.encode() for line in lines), 6))
    return path


def _line(dice: random.Random, i: int, ms: int) -> str:
    def some(n: int) -> str:
        return ",".join(f'["{dice.uniform(6e4, 7e4):.2f}","{dice.random():.3f}"]' for _ in range(n))

    kind = dice.choices(("depth@0ms", "bookTicker", "trade"), (7, 70, 23))[0]
    price, size = f"{dice.uniform(6e4, 7e4):.2f}", f"{dice.random() + 0.001:.3f}"
    head = f'"T":{ms},"s":"BTCUSDT"'
    body = {
        "depth@0ms": f'"e":"depthUpdate","E":{ms},{head},"U":{i},"u":{i},"pu":{i - 1 if i else 0},'
        f'"b":[{some(34)}],"a":[{some(34)}]',
        "bookTicker": f'"e":"bookTicker","u":{i},"s":"BTCUSDT","b":"{price}","B":"{size}",'
        f'"a":"{price}","A":"{size}","T":{ms},"E":{ms}',
        "trade": f'"e":"trade","E":{ms},{head},"t":{i},"p":"{price}","q":"{size}","X":"MARKET",'
        '"m":true',
    }[kind]
    return f'{ms}000000 {{"stream":"btcusdt@{kind}","data":{{{body}}}}}\n'


def ours(blocks: list[bytes]) -> Recording:
    decoder = recordings.Decoder(venue="binance", market="um")
    for piece in frames.lines(blocks):
        decoder.take(frames.stamped(piece))
    return decoder.recording()


NAMES = {
    "messages": ["message", "received_ns", "last_id"],
    "levels": ["message", "side", "price", "quantity"],
    "quotes": ["message", "received_ns", "time", "update_id", "bid", "bid_quantity", "ask"],
    "trades": ["message", "received_ns", "time", "trade_id", "price", "quantity", "taker_side"],
}
NAMES["quotes"].append("ask_quantity")


class Loop:
    """What one writes: parse each line, turn its texts into floats, append to lists."""

    def __init__(self) -> None:
        self.columns: dict[str, list[list]] = {t: [[] for _ in names] for t, names in NAMES.items()}

    def read(self, text: bytes) -> dict[str, dict[str, np.ndarray]]:
        for number, line in enumerate(text.splitlines()):
            self.line(number, line)
        return {
            table: dict(zip(names, map(np.array, self.columns[table]), strict=True))
            for table, names in NAMES.items()
        }

    def line(self, number: int, line: bytes) -> None:
        stamp, _, text = line.partition(b" ")
        message = orjson.loads(text)
        data = message.get("data", message)
        kind = data.get("e")
        if kind == "bookTicker":
            message, received, time, name, bid, bid_size, ask, ask_size = self.columns["quotes"]
            message.append(number)
            received.append(int(stamp))
            time.append(data["T"])
            name.append(data["u"])
            bid.append(float(data["b"]))
            bid_size.append(float(data["B"]))
            ask.append(float(data["a"]))
            ask_size.append(float(data["A"]))
        elif kind == "trade":
            message, received, time, name, price, size, side = self.columns["trades"]
            message.append(number)
            received.append(int(stamp))
            time.append(data["T"])
            name.append(data["t"])
            price.append(float(data["p"]))
            size.append(float(data["q"]))
            side.append(-1 if data["m"] else 1)
        else:
            message, received, name = self.columns["messages"]
            message.append(number)
            received.append(int(stamp))
            name.append(data["u"] if kind else data["lastUpdateId"])
            self.levels(
                number, data, (("b", 1), ("a", -1)) if kind else (("bids", 1), ("asks", -1))
            )

    def levels(self, number: int, data: dict, keys: tuple[tuple[str, int], ...]) -> None:
        of, side, price, quantity = self.columns["levels"]
        for key, sign in keys:
            for paid, size in data[key]:
                of.append(number)
                side.append(sign)
                price.append(float(paid))
                quantity.append(float(size))


def check_equal(mine: Recording, theirs: dict[str, dict[str, np.ndarray]]) -> int:
    """Compare column by column, bit by bit; return how many were compared."""
    compared = 0
    for name, columns in theirs.items():
        table = getattr(mine, name)
        for column, values in columns.items():
            found = table[column].to_numpy()
            if column == "time":
                found = found.astype("datetime64[ms]").astype(np.int64)
            if not np.array_equal(found, values):
                raise SystemExit(f"{name}.{column} differs")
            compared += 1
    return compared


def took(call: Callable[[], object]) -> tuple[float, float]:
    clock, busy = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - busy


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", type=Path)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.file or (REAL if REAL.exists() else made(Path(folder), chosen.messages))
        compare(path, chosen.pairs)


def compare(path: Path, pairs: int) -> None:
    text = gzip.decompress(path.read_bytes())
    blocks = [text[i : i + frames.CHUNK] for i in range(0, len(text), frames.CHUNK)]
    found = ours(blocks)  # the compiled code is loaded, or made, outside the clock
    columns = check_equal(found, Loop().read(text))
    check_equal(recordings.read(path), Loop().read(text))
    size, levels = len(text) / 1e6, found.levels.height
    print(f"{datetime.now(UTC):%Y-%m-%d} {path.name}: {found.lines} messages, ", end="")
    print(f"{levels} levels, {size:.1f} MB of text; {columns} columns equal bit for bit")
    calls = {
        "text": (lambda: ours(blocks), lambda: Loop().read(text)),
        "gzip": (
            lambda: recordings.read(path),
            lambda: Loop().read(gzip.decompress(path.read_bytes())),
        ),
    }
    for what, (mine, theirs) in calls.items():
        runs = [(took(mine), took(theirs)) for _ in range(pairs)]
        for i, clock in enumerate(("clock", "processor")):
            a, b = (statistics.median(run[who][i] for run in runs) for who in (0, 1))
            rate = found.lines / a / 1e3
            print(f"{what} {clock:9}  ours {a:.3f} s ({rate:.0f} k/s)  ", end="")
            print(f"loop {b:.3f} s ({found.lines / b / 1e3:.0f} k/s)  {b / a:.1f}x")


if __name__ == "__main__":
    main()
