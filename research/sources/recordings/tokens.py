"""What the fast reader reads letter by letter: numbers, texts and levels, as JSON writes them.

Each takes the place where it begins and returns the place behind it, or -1 where it is not sure.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from research.steps import compiled

_POWERS = 10.0 ** np.arange(23)
_EXACT = 2**53


def word(text: str) -> np.ndarray:
    """Return a text as the bytes that `is_word` compares."""
    return np.frombuffer(text.encode(), np.uint8)


@compiled
def is_word(buffer: Any, at: int, word: Any) -> bool:
    """Return whether `word` stands at a place."""
    for i in range(len(word)):
        if buffer[np.uintp(at + i)] != word[i]:
            break
    else:
        return True
    return False


@compiled
def whole(buffer: Any, at: int) -> Any:
    """Read a whole number as JSON writes it; return it and the place behind it, or -1."""
    first, value = at, np.int64(0)
    while True:
        digit = np.uint8(buffer[np.uintp(at)] - 48)
        if digit > 9:
            break
        value = 10 * value + digit
        at += 1
    long = at - first
    if long == 0 or long > 18 or (buffer[np.uintp(first)] == 48 and long > 1):
        return value, -1
    return value, at


@compiled
def decimal(buffer: Any, at: int) -> Any:
    """Read a decimal between quotes; return it and the place behind the second, or -1."""
    first, point, mantissa = at + 1, 0, np.int64(0)
    if buffer[np.uintp(at)] != 34:
        return 0.0, -1
    at += 1
    while True:
        byte = buffer[np.uintp(at)]
        digit = np.uint8(byte - 48)
        if digit <= 9:
            mantissa = 10 * mantissa + digit
        elif byte == 46 and point == 0:
            point = at
        else:
            break
        at += 1
    behind = at - 1 - point if point else 0
    digits = at - first - (1 if point else 0)
    # a digit before the point, one behind it, and no more than fit into a whole number
    if byte != 34 or digits == behind or digits > 18 or (point and behind == 0):
        return 0.0, -1
    while mantissa > _EXACT and behind and mantissa % 10 == 0:
        mantissa, behind = mantissa // 10, behind - 1
    if mantissa > _EXACT:
        return 0.0, -1
    return mantissa / _POWERS[np.uintp(behind)], at + 1


@compiled
def read_levels(buffer: Any, at: int, levels: Any, n: int) -> Any:
    """Read ``[["price","quantity"],...]`` behind its first bracket; return place, or -1, and n."""
    if buffer[np.uintp(at)] == 93:
        return at + 1, n
    while buffer[np.uintp(at)] == 91:
        price, at = decimal(buffer, at + 1)
        if at < 0 or buffer[np.uintp(at)] != 44 or price == 0.0:
            break
        quantity, at = decimal(buffer, at + 1)
        if at < 0 or buffer[np.uintp(at)] != 93:
            break
        if n == len(levels):
            break
        levels[np.uintp(n), 0], levels[np.uintp(n), 1] = price, quantity
        n, at = n + 1, at + 2
        if buffer[np.uintp(at - 1)] == 93:
            return at, n
        if buffer[np.uintp(at - 1)] != 44:
            break
    return -1, n


@compiled
def text_end(buffer: Any, at: int) -> int:
    """Return the place of the quote that ends a text of letters, digits and ``_``, or -1."""
    while True:
        byte = buffer[np.uintp(at)]
        letter = np.uint8((byte | 32) - 97) < 26
        if not (letter or np.uint8(byte - 48) <= 9 or byte == 95):
            return at if byte == 34 else -1
        at += 1
