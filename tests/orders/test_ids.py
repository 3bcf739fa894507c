"""Ids of orders: the same decision has the same one, no other has it, every venue takes it."""

import re
import uuid

from hypothesis import given
from hypothesis import strategies as st

from research.orders import Owner, cid

OWNER = Owner("trend", "kraken:main", "2026-11-20_2215_trend_3f2a")
BINANCE = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")  # newClientOrderId, by Binance's own pattern

words = st.text(st.characters(codec="utf-8", exclude_characters="\x1f"), max_size=12)
decisions = st.tuples(words, words, words, words, st.integers(0, 2**53), words, st.integers(0, 9))


def made(decision):
    strategy, account, instance, symbol, moment, leg, attempt = decision
    return cid(Owner(strategy, account, instance), symbol, moment, leg, attempt)


@given(decisions)
def test_every_venue_takes_it(decision):
    found = made(decision)
    assert len(found) == 32 and BINANCE.fullmatch(found)
    assert uuid.UUID(found).hex == found  # Kraken's short form of a UUID
    assert (uuid.UUID(found).version, uuid.UUID(found).variant) == (4, uuid.RFC_4122)


@given(decisions, decisions)
def test_two_ids_are_equal_if_their_decisions_are(one, other):
    assert (made(one) == made(other)) == (one == other)


def test_many_decisions_have_as_many_ids():
    many = {cid(OWNER, "BTC/USD", moment, "entry") for moment in range(100_000)}
    assert len(many) == 100_000


def test_words_are_kept_apart():
    assert cid(Owner("ab", "c", "i"), "S", 1, "x") != cid(Owner("a", "bc", "i"), "S", 1, "x")
    assert cid(OWNER, "S", 1, "x", 11) != cid(OWNER, "S", 11, "x", 1)


@given(decisions, words)
def test_it_says_whose_it_is(decision, instance):
    owner = Owner(*decision[:3])
    other = owner._replace(instance=instance)
    assert owner.whose(made(decision)) == "ours"
    expected = "ours" if instance == owner.instance else "another instance"
    assert other.whose(made(decision)) == expected


def test_what_others_write_is_foreign():
    for name in (
        "",
        "web_1",
        "autoclose-171",
        "adl_autoclose",
        "a1fa",
        "x-a1fa",
        "a1fa" + "z" * 28,
    ):
        assert OWNER.whose(name) == "foreign"
    assert OWNER.whose(uuid.UUID(int=7).hex) == "foreign"


def test_an_id_stays_what_it_was():
    """A restart must find its own orders: what makes an id may never change."""
    found = cid(OWNER, "BTC/USD", 1_700_000_000_000_000, "entry", 0)
    assert found == "a1fa8cb2ab564ef3abf33e65a619bdba"
