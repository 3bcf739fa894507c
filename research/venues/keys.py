"""Keys of accounts: from the environment, or from ``.env`` in the project's root, and nowhere else.

Each venue has two variables, ``ALPHABOOK_BINANCE_KEY`` and ``ALPHABOOK_BINANCE_SECRET`` (BYBIT,
KRAKEN). An account with a name, such as ``kraken:main``, may have its own two,
``ALPHABOOK_KRAKEN_MAIN_KEY`` and ``_SECRET``; where neither is set, those of the venue are taken.
The environment is stronger than ``.env``. A ``.env`` with keys in it that others may read, or that
belongs to somebody else, is refused even where the environment has the keys too: what is in it is
known to whoever could read it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from research.errors import UserError, nearest
from research.venues import VENUES

ROOT = Path(__file__).resolve().parents[2]
_OURS = re.compile(r"ALPHABOOK_[A-Z0-9_]+_(KEY|SECRET)\Z")
_NAME = re.compile(r"[a-z0-9_-]{1,20}\Z")


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """A key and the secret that goes with it; nothing of either is ever shown.

    >>> Keys("abc", "def")
    Keys(hidden)
    """

    key: str
    secret: str

    def __repr__(self) -> str:
        return "Keys(hidden)"


def read(
    account: str, *, root: Path | None = None, environ: Mapping[str, str] | None = None
) -> Keys:
    """Return the keys of an account.

    Parameters
    ----------
    account : str
        A venue, or a venue and a name: ``kraken``, ``kraken:main``.
    root : Path, optional
        Where ``.env`` is looked for; absent: the project's.
    environ : mapping of str to str, optional
        Absent: the environment.

    Raises
    ------
    UserError
        If there are none, or only half of them, or ``.env`` is open to others.

    Examples
    --------
    >>> mine = {"ALPHABOOK_KRAKEN_KEY": "k", "ALPHABOOK_KRAKEN_SECRET": "s"}
    >>> read("kraken:main", environ=mine, root=Path("/nowhere")).key
    'k'
    """
    names = variables(account)
    known = {**_filed((root or ROOT) / ".env"), **(os.environ if environ is None else environ)}
    for name in names:
        key, secret = known.get(f"{name}_KEY", ""), known.get(f"{name}_SECRET", "")
        if key and secret:
            return Keys(key.strip(), secret.strip())
        if key or secret:
            missing = f"{name}_SECRET" if key else f"{name}_KEY"
            raise UserError(f"keys of {account}: {missing} is not set, its other half is. Set it.")
    raise UserError(
        f"keys of {account}: {names[0]}_KEY and {names[0]}_SECRET are not set. Put both into the "
        "environment, or into .env in the project's root (chmod 600 .env)."
    )


def variables(account: str) -> list[str]:
    """Return the beginnings of the variables that may hold an account's keys, strongest first.

    >>> variables("kraken:main")
    ['ALPHABOOK_KRAKEN_MAIN', 'ALPHABOOK_KRAKEN']
    """
    venue, _, name = account.partition(":")
    if venue not in VENUES or not _NAME.match(name or "x"):
        raise UserError(
            f"account: must be one of {', '.join(VENUES)}, and may have a name as in kraken:main "
            f"(a-z, 0-9, _ and -), found {account!r}.{nearest(venue, list(VENUES))}"
        )
    own = re.sub(r"[^A-Z0-9]", "_", name.upper())
    return [f"ALPHABOOK_{venue.upper()}_{own}"] * bool(own) + [f"ALPHABOOK_{venue.upper()}"]


def _filed(path: Path) -> dict[str, str]:
    """Return the keys in a file of settings; refuse one that others can read."""
    if not path.exists():
        return {}
    pairs = (line.strip().partition("=") for line in path.read_text(encoding="utf8").splitlines())
    found = {
        name.strip(): value.strip().strip("\"'")
        for name, equals, value in pairs
        if equals and _OURS.match(name.strip())
    }
    about = path.stat()
    if found and about.st_uid != os.getuid():
        raise UserError(f"keys: {path} holds keys and belongs to another user. Make it your own.")
    if found and stat.S_IMODE(about.st_mode) & 0o077:
        raise UserError(
            f"keys: {path} holds keys and others may read it (mode "
            f"{stat.S_IMODE(about.st_mode):04o}). Run: chmod 600 {path}; if others use this "
            "machine, make new keys at the venue."
        )
    return found
