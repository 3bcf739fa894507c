"""The rules by which a venue's messages prove that none is missing: one small step over their ids.

Every venue numbers its updates, each in its own way. The step takes one message's ids and says what
is to be done with it; it never sees a price, so the recorder, a live book and a compiled batch run
the very same lines.

========  =========================================================================================
rule      an update continues the chain when
========  =========================================================================================
FUTURES   its `previous_id` is the `last_id` before (Binance USD-M and COIN-M: ``pu``, ``u``)
SPOT      its `first_id` is the `last_id` before plus 1 (Binance spot: ``U``, ``u``)
BYBIT     its `last_id` is the one before plus 1 (``u``), and `sequence` did not fall
========  =========================================================================================

After a Binance snapshot of id L the first update taken must reach over it: ``U <= L <= u`` for
futures, ``U <= L + 1 <= u`` for spot; older ones are dropped. Futures may also start with the
update whose ``pu`` is L: it follows the snapshot itself. Updates that came before the snapshot are
held and taken again, for it was asked for while they arrived. A Bybit snapshot is part of its
stream: it starts a chain by itself, and what came before it is past. Messages of kind ``partial``
are each a whole top of the book: they need no chain, and nothing but silence shows that one is
missing.

References
----------
Binance, "How to manage a local order book correctly" (USD-M futures; spot). Bybit V5, "Orderbook".
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from research.errors import UserError
from research.steps import compiled

SNAPSHOT, UPDATE, PARTIAL = 0, 1, 2
KINDS = {"snapshot": SNAPSHOT, "update": UPDATE, "partial": PARTIAL}
NONE = -1
"""An id, a sequence or a time that the venue did not give."""

FUTURES, SPOT, BYBIT = 0, 1, 2
_RULES = {
    ("binance", "um"): FUTURES,
    ("binance", "cm"): FUTURES,
    ("binance", "spot"): SPOT,
    ("bybit", "linear"): BYBIT,
    ("bybit", "inverse"): BYBIT,
    ("bybit", "spot"): BYBIT,
}

# what is known of the book
EMPTY, LOADED, JOINED, TOPS = 0, 1, 2, 3

# what is to be done with a message
APPLY = 0
"""Continues the chain: write its levels."""
WHOLE = 1
"""Is the book from here on: clear, then write its levels."""
HOLD = 2
"""Cannot be proven yet: write its levels, and keep it until a snapshot comes."""
BREAK = 3
"""Does not continue the chain: clear, write its levels, and keep it."""
SPOILT = 4
"""Its ids contradict each other or the chain: clear, write its levels, and do not keep it."""
OLD = 5
"""Says what the book holds already: drop it."""
TWICE = 6
"""Was heard before: drop it."""

# why the proof ended with a message
FINE, BEFORE, CHAIN, RESET, CONNECTION = 0, 1, 2, 3, 4


Event: TypeAlias = tuple[int, int, int, int, int, int, int]
"""``kind, first_id, last_id, previous_id, sequence, connection, time``."""
Said: TypeAlias = tuple[int, int]


class State(NamedTuple):
    """What the step remembers of one symbol; ids are `NONE` while unknown."""

    seen: int
    """Last id of the updates, in their chain."""
    base: int
    """Id up to which the book has been written."""
    phase: int
    """`EMPTY`, `LOADED` (a snapshot no update has reached over), `JOINED` or `TOPS`."""
    updates: int
    """1 once any update came: a stream without is one of whole tops."""
    sequence: int
    connection: int
    time: int
    """Latest time of the venue, microseconds."""


class Rules(NamedTuple):
    """Which venue's chain is kept."""

    chain: int


def start() -> State:
    """Return the memory of a book of which nothing was heard."""
    return State(NONE, NONE, EMPTY, 0, NONE, NONE, NONE)


def rules(venue: str, market: str) -> Rules:
    """Return the rules of one venue's market.

    Raises
    ------
    UserError
        If there are none for it.

    Examples
    --------
    >>> rules("binance", "spot")
    Rules(chain=1)
    """
    if (venue, market) not in _RULES:
        known = ", ".join(" ".join(pair) for pair in _RULES)
        raise UserError(f"order_book: no rules for {venue} {market}. Known are {known}.")
    return Rules(_RULES[venue, market])


@compiled
def step(state: State, event: Event, rules: Rules) -> tuple[State, Said]:
    """Say what is to be done with one message.

    Parameters
    ----------
    state : State
        Of integers.
    event : tuple of int
        ``kind, first_id, last_id, previous_id, sequence, connection, time``.
    rules : Rules
        See `rules`.

    Returns
    -------
    State
    tuple of int
        One of `APPLY`, `WHOLE`, `HOLD`, `BREAK`, `SPOILT`, `OLD`, `TWICE`, and why the proof was
        lost since the message before, `FINE` where it was not.

    Examples
    --------
    >>> futures = rules("binance", "um")
    >>> state, (done, _) = step(start(), (SNAPSHOT, NONE, 100, NONE, NONE, 0, 1), futures)
    >>> done == WHOLE, state.phase == LOADED
    (True, True)
    >>> state, (done, _) = step(state, (UPDATE, 90, 110, 89, NONE, 0, 2), futures)
    >>> done == APPLY, state.phase == JOINED
    (True, True)
    >>> state, (done, why) = step(state, (UPDATE, 121, 130, 120, NONE, 0, 3), futures)
    >>> done == BREAK, why == CHAIN, state.phase == EMPTY
    (True, True, True)
    """
    kind, _, last, _, _, connection, time = event
    moved = state.connection != NONE and connection != state.connection
    if kind == PARTIAL:
        state, (done, why) = _hear_top(state, last, moved)
    elif kind == SNAPSHOT:
        state, (done, why) = _hear_snapshot(state, event, moved, rules)
    else:
        state, (done, why) = _hear_update(state, event, moved, rules)
    newest = max(state.time, time)
    return (
        State(
            state.seen,
            state.base,
            state.phase,
            state.updates,
            state.sequence,
            connection,
            newest,
        ),
        (done, why),
    )


@compiled
def _hear_top(state: State, last: int, moved: bool) -> tuple[State, Said]:
    """A whole top: taken as it is, unless the full book is kept from the same messages."""
    if state.phase == LOADED or state.phase == JOINED or state.updates:
        return state, (OLD, FINE)
    if state.phase == TOPS and last != NONE and last <= state.seen and not moved:
        return state, (TWICE, FINE)
    why = CONNECTION if moved else (BEFORE if state.phase == EMPTY else FINE)
    return _state(state, last, last, TOPS, 0, NONE), (WHOLE, why)


@compiled
def _hear_snapshot(state: State, event: Event, moved: bool, rules: Rules) -> tuple[State, Said]:
    last, sequence = event[2], event[4]
    if rules.chain == BYBIT:
        return _hear_bybit_snapshot(state, last, sequence, moved)
    if state.phase == JOINED:
        if last < state.base:
            return state, (OLD, FINE)
        # ahead of the updates, whose chain goes on: those it holds already will be dropped
        return _state(state, state.seen, last, JOINED, state.updates, sequence), (WHOLE, FINE)
    if state.phase == LOADED and last < state.base:
        return state, (OLD, FINE)
    return _state(state, NONE, last, LOADED, state.updates, sequence), (WHOLE, BEFORE)


@compiled
def _hear_bybit_snapshot(state: State, last: int, sequence: int, moved: bool) -> tuple[State, Said]:
    """Part of the stream. Snapshots alone are the level-1 topic, re-sent while nothing moves."""
    alone = state.phase == JOINED and not state.updates
    if alone and not moved and last == state.seen:
        return state, (TWICE, FINE)
    follows = last == state.seen or (alone and last > state.seen)
    why = FINE if follows and last != 1 and sequence >= state.sequence else RESET
    if moved:
        why = CONNECTION
    if state.phase != JOINED:
        why = BEFORE
    return _state(state, last, last, JOINED, state.updates, sequence), (WHOLE, why)


@compiled
def _hear_update(state: State, event: Event, moved: bool, rules: Rules) -> tuple[State, Said]:
    last, sequence, time = event[2], event[4], event[6]
    if rules.chain == BYBIT and last == 1:
        # the venue started anew: its book is this message, once the next one continues it
        return _state(state, 1, 1, LOADED, 1, sequence), (WHOLE, RESET)
    twice = NONE < last <= state.seen and time <= state.time
    if not twice and _contradicts(state, event, rules):
        why = CHAIN if state.phase == JOINED else BEFORE
        return _state(state, state.seen, NONE, EMPTY, 1, state.sequence), (SPOILT, why)
    if state.phase == EMPTY or state.phase == TOPS:
        return _hear_unproven(state, event, rules)
    if state.phase == LOADED:
        return _hear_first(state, event, rules)
    if _continues(state.seen, event, rules) and sequence >= state.sequence:
        if last < state.base or (rules.chain == SPOT and last == state.base):
            return _state(state, last, state.base, JOINED, 1, sequence), (OLD, FINE)
        return _state(state, last, max(last, state.base), JOINED, 1, sequence), (APPLY, FINE)
    if twice:
        return state, (TWICE, FINE)
    # lower ids at a later time: the venue counts anew
    why = RESET if last <= state.seen else (CONNECTION if moved else CHAIN)
    return _state(state, last, NONE, EMPTY, 1, sequence), (BREAK, why)


@compiled
def _hear_unproven(state: State, event: Event, rules: Rules) -> tuple[State, Said]:
    """No snapshot yet: what is said is true, but other levels are missing."""
    last, sequence, time = event[2], event[4], event[6]
    known = state.phase == EMPTY and state.seen != NONE
    if known and not _continues(state.seen, event, rules):
        if last <= state.seen and time <= state.time:
            return state, (TWICE, FINE)
        return _state(state, last, NONE, EMPTY, 1, sequence), (BREAK, CHAIN)
    done = HOLD if state.phase == EMPTY else BREAK
    return _state(state, last, NONE, EMPTY, 1, sequence), (done, BEFORE)


@compiled
def _hear_first(state: State, event: Event, rules: Rules) -> tuple[State, Said]:
    """A snapshot waits for the first update that reaches over it."""
    first, last, previous, sequence = event[1], event[2], event[3], event[4]
    base = state.base
    if rules.chain == FUTURES:
        old, over = last < base, first <= base <= last or previous == base < last
    elif rules.chain == SPOT:
        old, over = last <= base, first <= base + 1 <= last
    else:
        old, over = last <= base, last == base + 1
    if old and last != NONE:
        return _state(state, last, base, LOADED, 1, sequence), (OLD, FINE)
    if over:
        return _state(state, last, last, JOINED, 1, sequence), (APPLY, FINE)
    # the snapshot is older than the first update at hand: another one is needed
    return _state(state, last, NONE, EMPTY, 1, sequence), (BREAK, BEFORE)


@compiled
def _contradicts(state: State, event: Event, rules: Rules) -> bool:
    """Say whether ids cannot be those of a whole update that no one changed.

    Such an update must not be the first one after a snapshot: it may claim to reach over any.
    """
    first, last, previous = event[1], event[2], event[3]
    if rules.chain == BYBIT:
        return last == NONE
    if first == NONE or last < first or (rules.chain == FUTURES and previous > first):
        return True
    # futures say themselves what they follow; after a snapshot the first one may reach back
    return rules.chain == SPOT and state.phase != LOADED and first <= state.seen < last


@compiled
def _continues(seen: int, event: Event, rules: Rules) -> bool:
    first, last, previous = event[1], event[2], event[3]
    if rules.chain == FUTURES:
        return previous == seen and last > seen
    if rules.chain == SPOT:
        return first == seen + 1 and last >= first
    return last == seen + 1


@compiled
def _state(state: State, seen: int, base: int, phase: int, updates: int, sequence: int) -> State:
    return State(seen, base, phase, updates, sequence, state.connection, state.time)
