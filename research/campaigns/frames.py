"""Frames as they should never be: does the decoder survive them, and count what it cannot read?"""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Iterator
from typing import Any

from research import batch
from research.schema import Recording
from research.sources.recordings import Decoder
from research.sources.recordings.frames import batches

MARKETS = (("binance", "um"), ("binance", "cm"), ("binance", "spot"), ("bybit", "linear"))
BLOCK = 5_000
"""Frames that go through one decoder."""
ODD = (
    b"NaN",
    b"-1",
    b"1e400",
    b'"1e400"',
    b'"1e-400"',
    b'"1e5"',
    b'"-0.5"',
    b'"0x10"',
    b'"1_000"',
    b'" 1"',
    b'".5"',
    b'"5."',
    b'"00.50"',
    b'""',
    b"1.5",
    b"007",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'[["1","2","3"]]',
    b'[["0.00","1"]]',
    b'"\\u0031"',
    b'"9007199254740993"',
    b'"0.30000000000000004441"',
    b'"123456789012345678.12345678"',
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"999999999999999999",
)
"""Values that stand where a number should, or are one that is hard to read."""


def run(count: int, seed: int, workers: int) -> dict[str, Any]:
    """Decode `count` damaged frames of every market, and look at what came out.

    Parameters
    ----------
    count : int
        Frames, about as many of each market.
    seed : int
        Of the damage.
    workers : int
        Processes.

    Returns
    -------
    dict
        `frames`; `read`, `passed` (about something else) and `bad`, which add up to them;
        `crashed`, descriptions of blocks that raised; `differing`, blocks whose tables or counts
        are not those of the JSON reader, frame by frame; `peak_mib`, the most any process held
        beyond what it held before its first block; `seconds`.

    Examples
    --------
    >>> found = run(40, 1, 1)
    >>> found["frames"], found["read"] + found["passed"] + found["bad"], found["crashed"]
    (40, 40, [])
    """
    began, blocks = time.monotonic(), -(-count // BLOCK)
    sizes = [count // blocks + (i < count % blocks) for i in range(blocks)]
    items = [(seed, i, size, *MARKETS[i % len(MARKETS)]) for i, size in enumerate(sizes)]
    found = batch.map(_block, items, workers=workers, watch=batch.progress(f"{count} frames"))
    wrong = [f"{item}: {each!r}" for item, each in zip(items, found) if isinstance(each, Exception)]
    done = [each for each in found if not isinstance(each, Exception)]
    sums = {key: sum(each[key] for each in done) for key in ("frames", "read", "passed", "bad")}
    return {
        **sums,
        "crashed": wrong,
        "differing": [each["differs"] for each in done if each["differs"]],
        "peak_mib": max((each["grown_mib"] for each in done), default=0),
        "seconds": round(time.monotonic() - began, 1),
    }


def _block(item: tuple[int, int, int, str, str]) -> dict[str, Any]:
    seed, number, size, venue, market = item
    dice = random.Random(f"{seed} {number}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    texts = [damaged(text, dice) for text in made(size, dice, venue=venue, market=market)]
    most = dice.choice((10, 300, size))
    found = decoded(texts, venue, market, fast=True, most=most)
    expected = decoded(texts, venue, market, fast=False, most=size)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    differing = [name for name in Recording._fields if not _same(found, expected, name)]
    differs = f"{item}: {', '.join(differing)}" if differing else ""
    return {"frames": size, **counted(found), "differs": differs, "grown_mib": round(grown)}


def decoded(texts: list[bytes], venue: str, market: str, *, fast: bool, most: int) -> Recording:
    """Read frames, at most so many at a time, with the fast reader or without it."""
    decoder = Decoder(venue=venue, market=market)
    if not fast:
        decoder.fast = None
    frames = [(1_700_000_000_000_000_000 + i, 0, text) for i, text in enumerate(texts)]
    for start in range(0, len(frames), most):
        for some in batches(frames[start : start + most]):
            decoder.take(some)
    return decoder.recording()


def _same(found: Recording, expected: Recording, name: str) -> bool:
    mine, theirs = getattr(found, name), getattr(expected, name)
    return mine.equals(theirs) if hasattr(mine, "equals") else mine == theirs


def counted(recording: Recording) -> dict[str, int]:
    """Return how many frames were read, passed over and bad."""
    tables = recording.messages, recording.quotes, recording.trades
    read = sum(table["message"].n_unique() for table in tables)
    passed = recording.lines - recording.bad - read
    return {"read": read, "passed": passed, "bad": recording.bad}


# -- frames as they should be -----------------------------------------------------------------


def made(count: int, dice: random.Random, *, venue: str, market: str) -> Iterator[bytes]:
    """Yield frames as a venue sends them: books, best prices, trades, and some of other kinds."""
    kinds = BYBIT if venue == "bybit" else BINANCE
    for i in range(count):
        symbol = "BTCUSD_PERP" if market == "cm" else dice.choice(("BTCUSDT", "ETHUSDT"))
        ms = 1_723_161_255_000 + i
        text = dice.choices(list(kinds), list(kinds.values()))[0](dice, symbol, ms, market)
        yield text.encode()


def _price(dice: random.Random) -> str:
    return f"{dice.uniform(0.1, 70_000):.{dice.choice((1, 2, 8))}f}"


def _size(dice: random.Random) -> str:
    places = dice.choice((0, 3, 8))
    return f"{dice.choice((0, dice.uniform(0.001, 1e7))):.{places}f}"


def _some(dice: random.Random) -> str:
    pairs = (f'["{_price(dice)}","{_size(dice)}"]' for _ in range(dice.randrange(6)))
    return f"[{','.join(pairs)}]"


def _enveloped(dice: random.Random, symbol: str, channel: str, data: str) -> str:
    if dice.random() < 0.2:
        return data
    return f'{{"stream":"{symbol.lower()}@{channel}","data":{data}}}'


def _update(dice: random.Random, symbol: str, ms: int, market: str) -> str:
    times = f'"E":{ms},' + ("" if market == "spot" else f'"T":{ms - 3},')
    pair = '"ps":"BTCUSD",' if market == "cm" else ""
    before = "" if market == "spot" else f'"pu":{ms - 9},'
    ids = f'"s":"{symbol}",{pair}"U":{ms - 8},"u":{ms},{before}'
    data = f'{{"e":"depthUpdate",{times}{ids}"b":{_some(dice)},"a":{_some(dice)}}}'
    return _enveloped(dice, symbol, dice.choice(("depth@0ms", "depth", "depth20@100ms")), data)


def _quote(dice: random.Random, symbol: str, ms: int, market: str) -> str:
    best = f'"b":"{_price(dice)}","B":"{_size(dice)}","a":"{_price(dice)}","A":"{_size(dice)}"'
    if market == "spot":
        return _enveloped(dice, symbol, "bookTicker", f'{{"u":{ms},"s":"{symbol}",{best}}}')
    data = f'{{"e":"bookTicker","u":{ms},"s":"{symbol}",{best},"T":{ms},"E":{ms}}}'
    return _enveloped(dice, symbol, "bookTicker", data)


def _trade(dice: random.Random, symbol: str, ms: int, market: str) -> str:
    how = '"M":true' if market == "spot" else f'"X":"{dice.choice(("MARKET", "NA"))}"'
    maker = dice.choice(("true", "false"))
    deal = f'"p":"{_price(dice)}","q":"{_size(dice)}"'
    head = f'"E":{ms},"T":{ms - 1},"s":"{symbol}"'
    data = f'{{"e":"trade",{head},"t":{ms},{deal},{how},"m":{maker}}}'
    return _enveloped(dice, symbol, "trade", data)


def _joined(dice: random.Random, symbol: str, ms: int, market: str) -> str:
    deal = f'"p":"{_price(dice)}","q":"{_size(dice)}","f":{ms},"l":{ms + 1}'
    head = f'"E":{ms},"s":"{symbol}","a":{ms}'
    data = f'{{"e":"aggTrade",{head},{deal},"T":{ms},"m":{dice.choice(("true", "false"))}}}'
    return _enveloped(dice, symbol, "aggTrade", data)


def _answered(dice: random.Random, symbol: str, ms: int, market: str) -> str:
    data = f'{{"lastUpdateId":{ms},"E":{ms},"T":{ms},"bids":{_some(dice)},"asks":{_some(dice)}}}'
    return f'{{"stream":"{symbol.lower()}@snapshot","data":{data}}}'


def _other(dice: random.Random, symbol: str, ms: int, market: str) -> str:
    if dice.random() < 0.5:
        return '{"result":null,"id":1}'
    return f'{{"stream":"{symbol.lower()}@kline_1m","data":{{"e":"kline","E":{ms},"k":{{}}}}}}'


BINANCE = {_update: 3, _quote: 3, _trade: 2, _joined: 1, _answered: 0.1, _other: 0.3}


def _book(dice: random.Random, symbol: str, ms: int, market: str) -> str:
    topic = f"orderbook.{dice.choice((1, 50, 500))}.{symbol}"
    kind = dice.choice(("snapshot", "delta", "delta", "delta"))
    ids = f'"u":{ms},"seq":{2 * ms}'
    data = f'{{"s":"{symbol}","b":{_some(dice)},"a":{_some(dice)},{ids}}}'
    return f'{{"topic":"{topic}","type":"{kind}","ts":{ms},"data":{data},"cts":{ms - 2}}}'


def _prints(dice: random.Random, symbol: str, ms: int, market: str) -> str:
    one = (
        f'{{"T":{ms - 1},"s":"{symbol}","S":"{dice.choice(("Buy", "Sell"))}","v":"{_size(dice)}",'
        f'"p":"{_price(dice)}","L":"PlusTick","i":"{dice.choice((ms, "a-b"))}","BT":false}}'
    )
    data = ",".join([one] * dice.randrange(1, 4))
    return f'{{"topic":"publicTrade.{symbol}","type":"snapshot","ts":{ms},"data":[{data}]}}'


def _pong(dice: random.Random, symbol: str, ms: int, market: str) -> str:
    return '{"success":true,"ret_msg":"pong","op":"ping"}'


BYBIT = {_book: 5, _prints: 3, _pong: 0.3}


# -- and as they should not -------------------------------------------------------------------


def damaged(text: bytes, dice: random.Random) -> bytes:
    """Return a frame with none, one or a few things wrong with it."""
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3))):
        text = dice.choice(DAMAGES)(text, dice)
    return text


def _span(text: bytes, dice: random.Random, most: int) -> tuple[int, int]:
    start = dice.randrange(len(text) + 1)
    return start, min(len(text), start + dice.randrange(1, most))


def _flipped(text: bytes, dice: random.Random) -> bytes:
    start, end = _span(text, dice, 2)
    return text[:start] + bytes([dice.randrange(256)]) + text[end:]


def _inserted(text: bytes, dice: random.Random) -> bytes:
    start, _ = _span(text, dice, 2)
    what = dice.choice((b" ", b",", b"0", b".", b"\n", b'"', b"\\", b"\xff\xfe", b"\xc3", b"\0"))
    return text[:start] + what + text[start:]


def _dropped(text: bytes, dice: random.Random) -> bytes:
    start, end = _span(text, dice, 12)
    return text[:start] + text[end:]


def _doubled(text: bytes, dice: random.Random) -> bytes:
    start, end = _span(text, dice, 40)
    return text[:end] + text[start:end] + text[end:]


def _cut(text: bytes, dice: random.Random) -> bytes:
    return text[: dice.randrange(len(text) + 1)]


def _odd(text: bytes, dice: random.Random) -> bytes:
    """Put an odd value in the place of one of the values."""
    places = [i for i, byte in enumerate(text) if byte == 58]
    if not places:
        return text
    start = dice.choice(places) + 1
    end = start + 1
    while end < len(text) and text[end] not in b",}]":
        end += 1
    return text[:start] + dice.choice(ODD) + text[end:]


def _turned(text: bytes, dice: random.Random) -> bytes:
    """Let two neighbours of an object change places: JSON does not mind."""
    parts = text.split(b',"')
    if len(parts) < 3:
        return text
    i = dice.randrange(1, len(parts) - 1)
    parts[i], parts[i + 1] = parts[i + 1], parts[i]
    return b',"'.join(parts)


def _deep(text: bytes, dice: random.Random) -> bytes:
    start, _ = _span(text, dice, 2)
    return text[:start] + dice.choice((b"[", b'{"a":')) * dice.randrange(1, 3_000) + text[start:]


def _giant(text: bytes, dice: random.Random) -> bytes:
    if dice.random() > 0.02:
        return text
    return text.replace(b"1", b"1" * dice.randrange(1, 20_000), 1)


DAMAGES = (_flipped, _inserted, _dropped, _doubled, _cut, _odd, _odd, _turned, _deep, _giant)
