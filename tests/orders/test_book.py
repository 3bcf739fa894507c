"""The book: whatever order events come in, and however often, it comes to the same."""

import json
from decimal import Decimal
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from research.live.journal import Event, Journal, read
from research.orders import Intent, apply, events, fold
from research.orders.book import Book
from research.venues.words import Fill, Order, Seen

SYMBOL, NOW = "BTCUSDT", 1_700_000_000_000_000
ORDER = Order("a" * 32, SYMBOL, "buy", "limit", Decimal("0.5"), Decimal(100))
MEANT = events.intent(Intent(ORDER, "entry", NOW, Decimal(100)), NOW)


def fill(trade, quantity, price="100", cid=ORDER.cid, order="v1", side="buy", fee="0.01"):
    one = Fill(
        *(SYMBOL, trade, order, cid, side, Decimal(quantity), Decimal(price), Decimal(fee)),
        *("USDT", False, NOW + int(trade)),
    )
    signed = one.quantity if side == "buy" else -one.quantity
    charge = events.Charge(signed, one.fee, estimated=False)
    return events.fill(one, cid, charge, "binance", NOW)


def told(status, filled, id="v1"):
    return events.seen(
        ORDER,
        Seen(ORDER.cid, id, SYMBOL, "buy", ORDER.quantity, Decimal(filled), None, status, NOW),
        NOW,
    )


def after(*said):
    book = Book()
    for kind, body in (MEANT, *said):
        apply(book, kind, json.loads(json.dumps(body)))
    return book


SENT = events.send(ORDER.cid, NOW)
DOUBT = events.unknown(ORDER.cid, "no answer", NOW + 5, NOW)
LIFE = (SENT, told("open", "0"), fill("1", "0.2"), fill("2", "0.3"), told("filled", "0.5"))
CANCELLED = (
    *(SENT, DOUBT, told("open", "0"), fill("1", "0.2")),
    *(events.cancel(ORDER.cid, NOW), told("cancelled", "0.2")),
)


def test_any_order_of_events_leads_to_the_same_book():
    for life in (LIFE, CANCELLED):
        expected = after(*life)
        assert expected.orders[ORDER.cid].settled
        for shuffled in permutations(life):
            assert after(*shuffled) == expected


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_comes_again_changes_nothing(data):
    life = data.draw(st.sampled_from([LIFE, CANCELLED]))
    expected = after(*life)
    noise = data.draw(st.lists(st.sampled_from(life), max_size=12))
    shuffled = data.draw(st.permutations((*life, *noise)))
    assert after(*shuffled) == expected


@given(st.permutations(LIFE), st.integers(0, len(LIFE)))
def test_what_is_known_is_never_taken_back(life, upto):
    before, since = after(*life[:upto]), after(*life)
    one, other = before.orders[ORDER.cid], since.orders[ORDER.cid]
    assert one.filled <= other.filled and one.told <= other.told and one.ids <= other.ids
    assert one.sent <= other.sent and (not one.over or other.over)
    assert one.answer == "" or other.answer == "accepted"


def test_the_position_is_the_sum_of_fills():
    book = after(*LIFE, fill("3", "0.1", price="110", side="sell"))
    assert book.held(SYMBOL) == Decimal("0.4") and len(book.fills) == 3
    held = book.holding(SYMBOL)
    assert (held.realised, held.fees) == (Decimal("1.0"), Decimal("0.03"))
    assert book.coins == {"USDT": Decimal("-0.03")}


def test_a_trade_id_counts_once_in_each_symbol():
    other = fill("1", "0.2")[1] | {"symbol": "ETHUSDT", "cid": "", "order": "x"}
    book = after(SENT, fill("1", "0.2"), fill("1", "0.2"), ("fill", other))
    assert list(book.fills) == [(SYMBOL, "1"), ("ETHUSDT", "1")]


def test_an_ioc_gives_back_what_was_not_filled():
    book = after(SENT, fill("1", "0.2"), told("expired", "0.2"))
    known = book.orders[ORDER.cid]
    assert known.settled and known.left == 0 and known.filled == Decimal("0.2")


def test_it_is_not_settled_before_all_that_was_told_is_booked():
    book = after(SENT, told("cancelled", "0.2"))
    assert book.orders[ORDER.cid].over and not book.orders[ORDER.cid].settled
    assert book.unsettled() == [book.orders[ORDER.cid]]


def test_a_fill_proves_what_was_held_to_be_absent():
    gone = events.absent(ORDER.cid, "the venue knows none", NOW, NOW)
    for said in ((gone, fill("1", "0.2")), (fill("1", "0.2"), gone)):
        known = after(SENT, DOUBT, *said).orders[ORDER.cid]
        assert known.answer == "accepted" and not known.over


def test_fills_of_others_are_theirs():
    book = after(SENT, fill("9", "0.7", cid="", order="web"))
    assert (book.held(SYMBOL), book.foreign[SYMBOL]) == (0, Decimal("0.7"))
    assert book.expected(SYMBOL) == Decimal("0.7") and not book.holdings


def test_a_fee_in_what_was_bought_makes_the_position_smaller():
    kind, body = fill("1", "0.2", price="110")
    body |= {"coin": "BTC", "fee": "0.001", "change": "0.199", "fee_quote": "0.11"}
    held = after(SENT, (kind, body)).holding(SYMBOL)
    assert (held.quantity, held.fees) == (Decimal("0.199"), Decimal("0.11"))
    assert held.realised - held.cost == -Decimal("0.199") * 110


def test_a_conditional_order_has_two_ids_once_it_was_triggered():
    book = after(SENT, told("open", "0", id="algo7"), told("open", "0.5", id="v1"))
    book_after = after(
        SENT, told("open", "0", id="algo7"), told("open", "0.5"), fill("1", "0.5", cid="")
    )
    assert book.by_id == {"algo7": ORDER.cid, "v1": ORDER.cid}
    assert book_after.orders[ORDER.cid].settled


def test_what_was_taken_otherwise_than_sent_is_adopted_and_said():
    seen = Seen(
        *(ORDER.cid, "v1", SYMBOL, "buy", Decimal("0.4"), Decimal("0.4"), Decimal(101)),
        *("filled", NOW),
    )
    kind, body = events.seen(ORDER, seen, NOW)
    assert body["changed"] == {"quantity": ["0.5", "0.4"], "price": ["100", "101"]}
    assert after(SENT, (kind, body)).orders[ORDER.cid].size == Decimal("0.4")


def test_the_journal_comes_to_the_same_book(tmp_path):
    with Journal.open(tmp_path) as journal:
        journal.append(("start", {"time": 3}), MEANT, *LIFE, ("moment", {"time": NOW + 60}))
    found, expected = fold(read(tmp_path)), after(*LIFE)
    assert found.time == NOW + 60
    expected.time = found.time
    assert found == expected
    assert fold([Event(1, "start", 3, {"time": 3})]).orders == {}
