"""The one kind of error a user can mend alone: the command line prints it as a line and exits 2."""


class UserError(ValueError):
    """A mistake in what was asked or handed in; the message says what to do about it."""


def nearest(word: str, known: list[str]) -> str:
    """Return ``". Did you mean 'x'?"`` for the known word closest to `word`, else an empty text.

    >>> nearest("hprizon", ["horizon", "train"])
    " Did you mean 'horizon'?"
    >>> nearest("zzz", ["horizon"])
    ''
    """
    from difflib import get_close_matches

    found = get_close_matches(word, known, n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""
