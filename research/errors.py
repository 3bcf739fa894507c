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


_SHOWN = 8  # candidates that one line can name


def the_one(word: str, known: list[str], *, what: str) -> str:
    """Return the one of the `known` names that is `word`, or that alone has it as a part.

    Parameters
    ----------
    word : str
        A name, or any part of it.
    known : list of str
        At least one; the newest first.
    what : str
        How an error calls them.

    Raises
    ------
    UserError
        If `word` fits several, which are named, or none; then the nearest is.

    Examples
    --------
    >>> the_one("3f2a", ["2026-11-20_2216_demo_9c01", "2026-11-20_2215_demo_3f2a"], what="run")
    '2026-11-20_2215_demo_3f2a'
    """
    fits = [name for name in known if name == word] or [name for name in known if word in name]
    if len(fits) == 1:
        return fits[0]
    if fits:
        more = f" and {len(fits) - _SHOWN} older ones" if len(fits) > _SHOWN else ""
        raise UserError(
            f"{what} {word!r}: fits {len(fits)}, must fit one alone. Choose one of: "
            f"{', '.join(fits[:_SHOWN])}{more}."
        )
    raise UserError(
        f"{what} {word!r}: no such {what}.{_shares_most(word, known)} The newest is {known[0]}."
    )


def _shares_most(word: str, known: list[str]) -> str:
    """Name the one that shares the longest piece with `word`, where that is half of it."""
    from difflib import SequenceMatcher

    def piece(name: str) -> int:
        return SequenceMatcher(None, word, name, autojunk=False).find_longest_match().size

    best = max(known, key=piece)
    return f" Did you mean {best!r}?" if 2 * piece(best) >= len(word) else ""
