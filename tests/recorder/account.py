"""The one law: recorded = sent - declared, stream by stream, message by message."""

import asyncio
from itertools import pairwise

import orjson

from research import recorder
from research.sources.recordings import segments

from .venue import QUICK, Venue

ALL = ("depth", "bookTicker", "aggTrade", "trade")


async def play(folder, misbehave=None, *, seconds=1.2, pause=0.002, **more):
    """Record a small venue that misbehaves after 0.4 s, connected; return it and the summary."""
    more = {"limits": QUICK, "convert": False} | more
    name, streams = more.pop("name", "binance_usdm"), more.pop("streams", ALL)
    async with Venue(pause) as venue, venue.network() as network:

        async def trouble():
            await asyncio.sleep(0.4)
            for _ in range(100):  # on a busy machine lines come late
                if len(venue.sent) >= len(streams):
                    break
                await asyncio.sleep(0.01)
            done = misbehave(venue)
            if asyncio.iscoroutine(done):
                await done

        task = asyncio.create_task(trouble()) if misbehave else None
        said = await recorder.capture(
            name, ["BTCUSDT"], streams, folder, length=f"{seconds} s", network=network, **more
        )
        if task is not None:
            await task
    return venue, said


def recorded(folder):
    """Return, by stream, (number, received_ns, frame, repeat, connection) in the order kept."""
    found = {}
    for part in segments.parts(folder):
        names = segments.read_facts(part)["streams"]
        for block in segments.read_blocks(part):
            for record, frame in zip(block.records, block.frames()):
                if record["kind"] == segments.FRAME:
                    name = names[record["stream"]]
                    row = (number(name, frame), int(record["received_ns"]), frame)
                    row += (int(record["repeat"]), int(record["connection"]))
                    found.setdefault(name, []).append(row)
    return found


def number(name, frame):
    told = orjson.loads(frame)
    data = told["data"]
    if name.startswith("publicTrade"):
        return int(data[0]["i"])
    kind = name.partition("@")[2]
    if kind.startswith("depth"):
        return data["u"] // 10
    return data[{"trade": "t", "aggTrade": "a"}.get(kind, "u")]


def check(venue, folder):
    """Assert the law; return, by stream, how many messages are missing."""
    ledger, missing = segments.gaps(folder), {}
    kept = recorded(folder)
    for name, sent in venue.sent.items():
        rows = [row for row in kept[name] if not row[3]]
        texts = {one.number: one.text.encode() for one in sent}
        # byte for byte, each once, in the venue's order
        numbers = [row[0] for row in rows]
        assert numbers == sorted(set(numbers)), name
        for n, _, frame, *_ in kept[name]:
            assert orjson.loads(frame).get("type") == "snapshot" or frame == texts[n], name
        missing[name] = numbers[-1] - numbers[0] + 1 - len(numbers)
        declared = ledger.filter(stream=name)
        for before, after in pairwise(rows):
            if after[0] > before[0] + 1:
                inside = declared.filter(
                    (declared["start_ns"] <= before[1]) & (declared["end_ns"] >= after[1])
                )
                known = [n for n in range(before[0] + 1, after[0]) if _really(sent, n)]
                assert inside.height or not known, f"{name}: {before[0]}..{after[0]} undeclared"
        if name.endswith(("rade",)) and not name.startswith("publicTrade"):
            inside = declared.filter(declared["end_ns"] <= rows[-1][1])
            assert inside["lost"].sum() == missing[name], name
    return missing


def _really(sent, n):
    return next(one.times for one in sent if one.number == n)
