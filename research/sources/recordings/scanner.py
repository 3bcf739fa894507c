"""The fast reader: Binance's four most frequent messages, byte by byte, without a JSON parser.

It reads what it is sure of and leaves every other frame to `plain`, whose answer it must equal: any
order of keys, but each once, no blanks, no escapes, whole numbers of at most 18 digits and decimals
that a double holds exactly as ``mantissa / 10**digits``.

A decimal with a mantissa of at most 2**53 and at most 22 digits behind the point is the quotient of
two doubles without error, and a division rounds once: the result is the double nearest to the text,
which is what ``float(text)`` returns (Clinger, W. D. (1990). How to Read Floating Point Numbers
Accurately. PLDI '90, 92-101).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from research.sources.recordings.frames import Frames
from research.sources.recordings.keys import (
    JOINED,
    KEYS,
    NUMBER,
    PARTIAL,
    QUOTE,
    REALS,
    SLOW,
    TEXTS,
    TRADE,
    UPDATE,
)
from research.sources.recordings.tokens import decimal, is_word, read_levels, text_end, whole, word
from research.steps import compiled

WIDEST = 32
"""Letters of the longest symbol."""
ROOM = 4_096
"""Symbols told apart; frames of further ones are read slowly."""
BEYOND = 8
"""Bytes behind a frame that may be looked at; a frame nearer to its buffer's end is left."""

_LETTERS = np.full(256, -1, np.int8)
_LETTERS[[ord(key) for key in NUMBER if len(key) == 1]] = [
    number for key, number in NUMBER.items() if len(key) == 1
]
_B, _A, _M = NUMBER["b"], NUMBER["a"], NUMBER["m"]
_PU, _PS, _ST, _NQ = NUMBER["pu"], NUMBER["ps"], NUMBER["st"], NUMBER["nq"]
_P, _Q, _SENT, _TIME = NUMBER["p"], NUMBER["q"], NUMBER["E"], NUMBER["T"]
_EVENT, _NAME, _HOW = NUMBER["e"], NUMBER["s"], NUMBER["X"]


def _bits(*keys: str) -> int:
    return sum(1 << NUMBER[key] for key in keys)


_REAL_BITS, _HOW_BIT = _bits(*KEYS[:REALS]), _bits("X")
_SENT_BIT, _TIME_BIT = _bits("E"), _bits("T")
# what may stand in any frame and is not asked for
_ASKED_INTS, _ASKED_TEXTS = ~_bits("st"), ~_bits("ps", "X")
_ASKED_FLAGS, _ASKED_REALS = ~_bits("M"), ~_bits("nq")
_BOOK, _BEST, _DEAL = _bits("b", "a"), _bits("b", "B", "a", "A"), _bits("p", "q")
_NAMED, _TYPED, _MAKER = _bits("s"), _bits("e", "s"), _bits("m")
_UPDATE, _SPOT_UPDATE = _bits("E", "T", "U", "u", "pu"), _bits("E", "U", "u")
_QUOTE, _SPOT_QUOTE = _bits("E", "T", "u"), _bits("u")
_SINGLE, _SUMMED = _bits("E", "T", "t"), _bits("E", "T", "a", "f", "l")

_SEED, _PRIME = 14_695_981_039_346_656_037, 1_099_511_628_211  # Fowler, Noll and Vo, 1991


_ENVELOPE, _DATA = word('{"stream":"'), word('","data":{')
_TRUE, _FALSE, _MARKET = word("true"), word("false"), word('MARKET"')
_DEPTH_UPDATE, _TICKER = word('depthUpdate"'), word('bookTicker"')
_TRADE, _AGG_TRADE = word('trade"'), word('aggTrade"')
_DEPTH = word("depth")


@compiled
def _key(buffer: Any, at: int) -> Any:
    """Read ``"key":``; return its number, or -1, and the place behind the colon."""
    letter, second, third = (
        buffer[np.uintp(at + 1)],
        buffer[np.uintp(at + 2)],
        buffer[np.uintp(at + 3)],
    )
    if buffer[np.uintp(at)] != 34:
        return -1, at
    if second == 34:
        return (np.int64(_LETTERS[letter]) if third == 58 else -1), at + 4
    if third != 34 or buffer[np.uintp(at + 4)] != 58:
        return -1, at
    if letter == 112:
        return (_PU if second == 117 else _PS if second == 115 else -1), at + 5
    if letter == 115 and second == 116:
        return _ST, at + 5
    return (_NQ if letter == 110 and second == 113 else -1), at + 5


@compiled
def _object(
    buffer: Any, at: int, i: int, n: int, ints: Any, reals: Any, levels: Any, texts: Any
) -> Any:
    """Read an object of known keys behind its brace into row `i`.

    Returns the place behind it, or -1; how many levels there are after its bids and in all; and
    which keys held whole numbers, decimals, texts, flags and lists, a bit for each.
    """
    int_bits = real_bits = text_bits = flag_bits = list_bits = np.int64(0)
    bids, byte = n, np.uint8(44)
    while byte == 44:
        key, at = _key(buffer, at)
        if key < 0:
            return -1, n, n, 0, 0, 0, 0, 0
        bit, byte = np.int64(1) << key, buffer[np.uintp(at)]
        if (int_bits | real_bits | text_bits | flag_bits | list_bits) & bit:
            return -1, n, n, 0, 0, 0, 0, 0
        if byte == 34 and bit & _REAL_BITS:
            reals[i, key], at = decimal(buffer, at)
            real_bits |= bit
        elif byte == 34:
            texts[key, 0] = at + 1
            texts[key, 1] = text_end(buffer, at + 1)
            at = texts[key, 1] + 1 if texts[key, 1] > 0 else -1
            text_bits |= bit
        elif byte == 91 and (key == _B or (key == _A and list_bits)):
            at, n = read_levels(buffer, at + 1, levels, n)
            bids = n if key == _B else bids
            list_bits |= bit
        elif key >= len(KEYS):
            return -1, n, n, 0, 0, 0, 0, 0
        elif np.uint8(byte - 48) <= 9:
            ints[i, key], at = whole(buffer, at)
            int_bits |= bit
        else:
            true = is_word(buffer, at, _TRUE)
            ints[i, key] = true
            at = at + 4 if true else at + 5 if is_word(buffer, at, _FALSE) else -1
            flag_bits |= bit
        if at < 0:
            return -1, n, n, 0, 0, 0, 0, 0
        byte = buffer[np.uintp(at)]
        at += 1
    if byte != 125:
        at = -1
    return at, bids, n, int_bits, real_bits, text_bits, flag_bits, list_bits


@compiled
def _form(
    buffer: Any,
    texts: Any,
    derivative: bool,
    ints: int,
    reals: int,
    words: int,
    flags: int,
    lists: int,
) -> int:
    """Return which of the known messages an object with these keys is, or `SLOW`."""
    if words & _HOW_BIT and not is_word(buffer, texts[_HOW, 0], _MARKET):
        return SLOW
    ints, reals, flags = ints & _ASKED_INTS, reals & _ASKED_REALS, flags & _ASKED_FLAGS
    words &= _ASKED_TEXTS
    typed, event = words == _TYPED, texts[_EVENT, 0]
    if not typed and words != _NAMED:
        return SLOW
    if reals == _BEST and lists == 0 and flags == 0:
        right = not typed or is_word(buffer, event, _TICKER)
        return QUOTE if right and ints == (_QUOTE if derivative else _SPOT_QUOTE) else SLOW
    if not typed:
        return SLOW
    if lists == _BOOK and reals == 0 and flags == 0:
        right = ints == (_UPDATE if derivative else _SPOT_UPDATE)
        return UPDATE if right and is_word(buffer, event, _DEPTH_UPDATE) else SLOW
    if reals != _DEAL or lists or flags != _MAKER:
        return SLOW
    if ints == _SINGLE and is_word(buffer, event, _TRADE):
        return TRADE
    return JOINED if ints == _SUMMED and is_word(buffer, event, _AGG_TRADE) else SLOW


@compiled
def _stream(buffer: Any, at: int) -> Any:
    """Read ``name@channel@speed","data":{``.

    Returns where the name and the letters of the channel end, whether digits follow those, and the
    place behind the brace, or -1.
    """
    while True:
        byte = buffer[np.uintp(at)]
        if not (np.uint8(byte - 97) < 26 or np.uint8(byte - 48) <= 9 or byte == 95):
            break
        at += 1
    name = at
    if byte != 64:
        return name, at, False, -1
    at += 1
    while np.uint8((buffer[np.uintp(at)] | 32) - 97) < 26:
        at += 1
    channel = at
    while np.uint8(buffer[np.uintp(at)] - 48) <= 9:
        at += 1
    digits = at > channel
    if buffer[np.uintp(at)] == 64:
        at = text_end(buffer, at + 1)
    return name, channel, digits, at + len(_DATA) if at > 0 and is_word(buffer, at, _DATA) else -1


@compiled
def _carried(buffer: Any, form: int, start: int, end: int, digits: bool) -> int:
    """Return what a channel makes of a message: itself, a `PARTIAL` book, or `SLOW`."""
    long = end - start
    if form == UPDATE:
        right = long == 5 and is_word(buffer, start, _DEPTH)
        return SLOW if not right else PARTIAL if digits else UPDATE
    word = _TICKER if form == QUOTE else _TRADE if form == TRADE else _AGG_TRADE
    right = not digits and long == len(word) - 1 and is_word(buffer, start, word[:long])
    return form if right else SLOW


@compiled
def _same(buffer: Any, at: int, end: int, texts: Any) -> bool:
    """Return whether a stream's name is the message's symbol in small letters."""
    upper = texts[_NAME, 0]
    if end - at != texts[_NAME, 1] - upper:
        return False
    for i in range(end - at):
        byte = buffer[np.uintp(at + i)]
        if (byte - 32 if byte >= 97 else byte) != buffer[np.uintp(upper + i)]:
            break
    else:
        return True
    return False


@compiled
def _symbol(buffer: Any, at: int, end: int, names: Any, slots: Any, known: Any) -> int:
    """Return the number of a symbol, the next one for a new symbol, or -1 where it has none."""
    long, mixed = end - at, np.uint64(_SEED)
    if long <= 0 or long > WIDEST:
        return -1
    for i in range(at, end):
        byte = buffer[np.uintp(i)]
        if byte >= 97:
            return -1
        mixed = (mixed ^ np.uint64(byte)) * np.uint64(_PRIME)
    slot = np.int64(mixed >> np.uint64(32)) % len(slots)
    while slots[slot] >= 0:
        name = names[slots[slot]]
        if name[0] == long and is_word(buffer, at, name[1 : 1 + long]):
            return slots[slot]
        slot = (slot + 1) % len(slots)
    number = known[0]
    if number == len(names):
        return -1
    names[number, 0] = long
    names[number, 1 : 1 + long] = buffer[at:end]
    slots[slot] = number
    known[0] += 1
    return number


@compiled
def _moment(value: int) -> int:
    """Return microseconds since 1970 of milliseconds or microseconds, or -1."""
    if value < 100_000_000_000_000:
        return value * 1_000
    return value if value < 100_000_000_000_000_000 else -1


@compiled
def _settled(i: int, form: int, has: int, ints: Any, reals: Any) -> int:
    """Write both times of row `i` as microseconds, -1 where not given; `SLOW` where in doubt."""
    late = False
    for bit, key, other in ((_SENT_BIT, _SENT, -1), (_TIME_BIT, _TIME, _SENT)):
        if has & bit:
            ints[i, key] = _moment(ints[i, key])
            late |= ints[i, key] < 0
        else:
            ints[i, key] = ints[i, other] if other >= 0 else -1
    if form == QUOTE:
        late |= reals[i, _B] == 0.0 or reals[i, _A] == 0.0
    elif form >= TRADE:
        late |= reals[i, _P] == 0.0 or reals[i, _Q] == 0.0
    return SLOW if late else form


@compiled
def _frame(
    buffer: Any,
    at: int,
    end: int,
    i: int,
    n: int,
    derivative: bool,
    tags: Any,
    ints: Any,
    reals: Any,
    levels: Any,
    texts: Any,
) -> Any:
    """Read one frame into row `i`; return its form and how many levels there are now."""
    enveloped, name, channel, digits = is_word(buffer, at, _ENVELOPE), at, at, False
    first = at + len(_ENVELOPE)
    if enveloped:
        name, channel, digits, at = _stream(buffer, first)
    else:
        at = at + 1 if buffer[np.uintp(at)] == 123 else -1
    if at < 0:
        return SLOW, n
    at, bids, end_n, has_ints, has_reals, has_texts, has_flags, has_lists = _object(
        buffer, at, i, n, ints, reals, levels, texts
    )
    tags[i, 2], tags[i, 3] = bids - n, end_n - bids
    if at > 0 and enveloped:
        at = at + 1 if buffer[np.uintp(at)] == 125 else -1
    if at != end:
        return SLOW, end_n
    form = _form(buffer, texts, derivative, has_ints, has_reals, has_texts, has_flags, has_lists)
    if form != SLOW and enveloped:
        form = _carried(buffer, form, name + 1, channel, digits)
        form = form if _same(buffer, first, name, texts) else SLOW
    return _settled(i, form, has_ints, ints, reals), end_n


@compiled
def scan(
    buffer: Any,
    starts: Any,
    ends: Any,
    received: Any,
    derivative: bool,
    names: Any,
    slots: Any,
    known: Any,
    tags: Any,
    ints: Any,
    reals: Any,
    levels: Any,
) -> None:
    """Read every frame that is surely one of the known.

    Parameters
    ----------
    buffer, starts, ends, received
        As in `Frames`.
    derivative : bool
        Whether messages carry what futures markets add.
    names, slots, known
        The symbols so far: their letters behind their length, a table of their numbers by hash,
        and how many there are.
    tags, ints, reals, levels
        Receive, for each frame, form, number of symbol, levels of bids and of asks; whole numbers,
        times (microseconds) and flags by key; decimals by key; and prices and quantities of all
        levels in turn, those of frames that come out as `SLOW` too.
    """
    texts, n = np.zeros((len(KEYS) + len(TEXTS), 2), np.int64), np.int64(0)
    for i in range(len(starts)):
        tags[i] = SLOW
        if received[i] < 0 or ends[i] + BEYOND > len(buffer):
            continue
        form, n = _frame(
            buffer, starts[i], ends[i], i, n, derivative, tags, ints, reals, levels, texts
        )
        if form != SLOW:
            symbol = _symbol(buffer, texts[_NAME, 0], texts[_NAME, 1], names, slots, known)
            tags[i, 0], tags[i, 1] = form if symbol >= 0 else SLOW, symbol


class Room:
    """What `scan` works in, used again for each batch, and the symbols it has met."""

    def __init__(self) -> None:
        self.symbols: list[str] = []
        self._names = np.zeros((ROOM, 1 + WIDEST), np.uint8)
        self._slots = np.full(4 * ROOM, -1, np.int64)
        self._known = np.zeros(1, np.int64)
        self._make(0, 0)

    def _make(self, n_frames: int, n_bytes: int) -> None:
        self.tags = np.empty((n_frames, 4), np.int32)
        self.ints = np.empty((n_frames, len(KEYS)), np.int64)
        self.reals = np.empty((n_frames, REALS))
        self.levels = np.empty((n_bytes // len('["1","0"]') + 1, 2))

    def read(self, batch: Frames, *, derivative: bool) -> None:
        """Fill the first rows with what the frames of a batch say."""
        n_frames, n_bytes = len(batch.starts), len(batch.buffer)
        if n_frames > len(self.tags) or n_bytes // len('["1","0"]') >= len(self.levels):
            self._make(n_frames, n_bytes)
        found = batch.buffer, batch.starts, batch.ends, batch.received_ns
        symbols = self._names, self._slots, self._known
        scan(*found, derivative, *symbols, self.tags, self.ints, self.reals, self.levels)
        for name in self._names[len(self.symbols) : self._known[0]]:
            self.symbols.append(name[1 : 1 + name[0]].tobytes().decode())
