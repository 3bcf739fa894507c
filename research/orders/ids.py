"""Our own ids of orders: the same decision has the same id, and no other has it.

An id is 32 hexadecimal digits in the form of a random UUID without dashes, which all three venues
take: Kraken's ``cl_ord_id`` is a UUID or free text of at most 18 characters, Binance's
``newClientOrderId`` up to 36 of ``.A-Z:/a-z0-9_-``, Bybit's ``orderLinkId`` up to 36. The first
twelve digits name who sent it: four are the house's mark, eight the instance's.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal, NamedTuple

MARK = "a1fa"
_VERSION, _VARIANT = "4", "89ab"
Whose = Literal["ours", "another instance", "foreign"]


class Owner(NamedTuple):
    """In whose name orders are sent."""

    strategy: str
    """The study's name."""
    account: str
    """As the user named it, ``kraken:main``."""
    instance: str
    """The run's id: two runs never share one, a restarted run keeps its own."""

    @property
    def prefix(self) -> str:
        """The twelve digits that every id of this instance begins with."""
        return MARK + _digest(self.instance)[:8]

    def whose(self, cid: str) -> Whose:
        """Tell whose order an id belongs to.

        Examples
        --------
        >>> owner = Owner("trend", "kraken:main", "2026-11-20_2215_trend_3f2a")
        >>> owner.whose(cid(owner, "BTC/USD", 1_700_000_000_000_000, "entry"))
        'ours'
        >>> other = owner._replace(instance="2026-11-20_2216_trend_77b0")
        >>> owner.whose(cid(other, "BTC/USD", 1_700_000_000_000_000, "entry"))
        'another instance'
        >>> owner.whose("autoclose-1700000000000000")
        'foreign'
        """
        if cid.startswith(self.prefix):
            return "ours"
        plain = len(cid) == 32 and set(cid) <= set("0123456789abcdef")
        return "another instance" if plain and cid.startswith(MARK) else "foreign"


def cid(owner: Owner, symbol: str, moment: int, leg: str, attempt: int = 0) -> str:
    """Return the id of one decision's order.

    Parameters
    ----------
    owner : Owner
        Who sends it.
    symbol : str
        The venue's own name.
    moment : int
        Of the decision, microseconds since 1970 UTC.
    leg : str
        What it is for: ``entry``, ``exit``, ``stop``, ``take``.
    attempt : int
        From 0; a new one is a new decision.

    Notes
    -----
    74 of the 128 bits are of the decision: a million orders of one run share an id with a
    probability of 3e-11, and the journal then refuses the second.

    Examples
    --------
    >>> owner = Owner("trend", "kraken:main", "2026-11-20_2215_trend_3f2a")
    >>> first = cid(owner, "BTC/USD", 1_700_000_000_000_000, "entry")
    >>> len(first), first == cid(owner, "BTC/USD", 1_700_000_000_000_000, "entry", 1)
    (32, False)
    >>> import uuid
    >>> uuid.UUID(first).version
    4
    """
    said = _digest(owner.strategy, owner.account, owner.instance, symbol, moment, leg, attempt)
    variant = _VARIANT[int(said[18], 16) % 4]
    return f"{owner.prefix}{_VERSION}{said[:3]}{variant}{said[3:18]}"


def _digest(*words: object) -> str:
    return blake2b("\x1f".join(map(str, words)).encode(), digest_size=16).hexdigest()
