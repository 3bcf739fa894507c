"""The messages the fast reader knows, and the keys it finds in them."""

SLOW, UPDATE, PARTIAL, QUOTE, TRADE, JOINED = range(6)
"""What a frame is: left to `plain`, or one of the messages known."""

KEYS = ("b", "B", "a", "A", "p", "q", "nq", "E", "T", "U", "u", "pu", "t", "m", "f", "l", "st", "M")
"""Keys of numbers and flags; a key's number is its place here, and of texts after it."""
TEXTS = ("e", "s", "ps", "X")
NUMBER = {key: i for i, key in enumerate((*KEYS, *TEXTS))}
REALS = NUMBER["nq"] + 1
