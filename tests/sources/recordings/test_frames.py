"""What one frame says: by hand for each kind, and the fast reader against the JSON parser."""

import random
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.campaigns import frames as campaign
from research.errors import UserError
from research.schema import GAPS, LEVELS, MESSAGES, QUOTES, TRADES, Recording
from research.sources.recordings import Decoder, from_frames
from research.sources.recordings.frames import batches

NS = 1_723_161_255_000_000_000
UM_UPDATE = (
    b'{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,'
    b'"T":1723161256298,"s":"BTCUSDT","U":6,"u":9,"pu":5,"b":[["58710.20","0.014"],'
    b'["61496.50","0.000"]],"a":[["61800.30","2.5"]]}}'
)
UM_QUOTE = (
    b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":7,"s":"BTCUSDT",'
    b'"b":"61800.20","B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256314}}'
)
UM_TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256322,"T":1723161256321,'
    b'"s":"BTCUSDT","t":5266583935,"p":"61800.30","q":"0.006","X":"MARKET","m":false}}'
)
UM_JOINED = UM_TRADE.replace(b"trade", b"aggTrade").replace(
    b'"t":5266583935', b'"a":77,"f":5266583934,"l":5266583935'
)
UM_BOOK = (
    b'{"lastUpdateId":8,"E":1723161256501,"T":1723161256493,"bids":[["61800.20","2.909"]],'
    b'"asks":[["61800.30","1"]]}'
)
SPOT_QUOTE = b'{"u":7,"s":"BTCUSDT","b":"61837.63000000","B":"3.7","a":"61837.64","A":"1.5"}'
SPOT_UPDATE = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT",'
    b'"U":6,"u":9,"b":[],"a":[["61837.64000000","0.00000000"]]}}'
)
SPOT_TRADE = (
    b'{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3,"p":"61837.63","q":"0.02",'
    b'"T":1723161255342,"m":true,"M":true}'
)
BYBIT_BOOK = (
    b'{"topic":"orderbook.50.XRPUSDT","type":"delta","ts":1733011200693,"data":{"s":"XRPUSDT",'
    b'"b":[["1.9531","6198"]],"a":[["1.9540","0"]],"u":20254870,"seq":130020239261},'
    b'"cts":1733011200691}'
)
BYBIT_TRADE = (
    b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":'
    b'1672304486865,"s":"BTCUSDT","S":"Sell","v":"0.001","p":"16578.50","L":"PlusTick",'
    b'"i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false},{"T":1672304486866,"s":"BTCUSDT",'
    b'"S":"Buy","v":"0.002","p":"16579","i":"2100000000007764263","BT":true}]}'
)
EVERY = (UM_UPDATE, UM_QUOTE, UM_TRADE, UM_JOINED, UM_BOOK)


def read(*texts: bytes, venue: str = "binance", market: str = "um", **options) -> Recording:
    return from_frames([(NS + i, 3, t) for i, t in enumerate(texts)], venue=venue, market=market)


def slowly(texts: list[bytes], venue: str, market: str) -> Recording:
    decoder = Decoder(venue=venue, market=market)
    decoder.fast = None
    for batch in batches((NS + i, 3, text) for i, text in enumerate(texts)):
        decoder.take(batch)
    return decoder.recording()


def at(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def assert_same(a: Recording, b: Recording) -> None:
    for name in ("messages", "levels", "quotes", "trades", "gaps"):
        mine, theirs = getattr(a, name), getattr(b, name)
        assert mine.equals(theirs), f"{name}\n{mine}\n{theirs}"
    assert (a.lines, a.bad) == (b.lines, b.bad)


# -- by hand ----------------------------------------------------------------------------------


def test_tables_have_the_columns_of_the_house():
    for found in (read(*EVERY), read(), read(BYBIT_TRADE, venue="bybit", market="linear")):
        tables = {"messages": MESSAGES, "levels": LEVELS, "quotes": QUOTES, "trades": TRADES}
        for name, columns in (tables | {"gaps": GAPS}).items():
            assert dict(getattr(found, name).schema) == columns, name


def test_a_futures_update():
    found = read(UM_QUOTE, UM_UPDATE)
    row = found.messages.row(0, named=True)
    assert row == {
        "symbol": "BTCUSDT",
        "message": 1,
        "connection": 3,
        "received_ns": NS + 1,
        "sent": at(1723161256299),
        "time": at(1723161256298),
        "kind": "update",
        "first_id": 6,
        "last_id": 9,
        "previous_id": 5,
        "sequence": None,
    }
    assert found.levels.rows() == [
        (1, 1, 58710.2, 0.014),
        (1, 1, 61496.5, 0.0),
        (1, -1, 61800.3, 2.5),
    ]


def test_a_futures_quote_and_trade():
    found = read(UM_QUOTE, UM_TRADE)
    quote, trade = found.quotes.row(0, named=True), found.trades.row(0, named=True)
    assert (quote["time"], quote["sent"]) == (at(1723161256313), at(1723161256314))
    assert (quote["bid"], quote["bid_quantity"]) == (61800.2, 2.507)
    assert (quote["ask"], quote["ask_quantity"], quote["update_id"]) == (61800.3, 2.51, 7)
    assert (trade["trade_id"], trade["price"], trade["quantity"]) == (5266583935, 61800.3, 0.006)
    assert (trade["taker_side"], trade["time"]) == (1, at(1723161256321))


def test_who_made_sold_or_bought():
    assert read(UM_TRADE.replace(b"false", b"true")).trades["taker_side"].to_list() == [-1]


def test_spot_says_no_time_with_a_quote_and_one_with_an_update():
    found = read(SPOT_QUOTE, SPOT_UPDATE, SPOT_TRADE, market="spot")
    assert found.quotes.select("sent", "time").row(0) == (None, None)
    assert found.messages.select("sent", "time", "previous_id").row(0) == (
        at(1723161255208),
        at(1723161255208),
        None,
    )
    assert found.trades["time"].to_list() == [at(1723161255342)]
    assert found.bad == 0


def test_a_book_that_was_asked_for_is_of_the_only_symbol():
    found = read(UM_QUOTE, UM_BOOK)
    row = found.messages.row(0, named=True)
    assert (row["symbol"], row["kind"], row["last_id"]) == ("BTCUSDT", "snapshot", 8)
    assert (row["first_id"], row["time"]) == (None, at(1723161256493))


def test_a_book_of_nobody_knows_whom_is_bad():
    other = UM_QUOTE.replace(b"BTCUSDT", b"ETHUSDT").replace(b"btcusdt", b"ethusdt")
    for texts in ((UM_BOOK,), (UM_QUOTE, other, UM_BOOK)):
        found = read(*texts)
        assert (found.bad, found.messages.height, found.levels.height) == (1, 0, 0)


def test_an_envelope_names_the_symbol_of_a_book():
    other = UM_QUOTE.replace(b"BTCUSDT", b"ETHUSDT").replace(b"btcusdt", b"ethusdt")
    wrapped = b'{"stream":"ethusdt@snapshot","data":' + UM_BOOK + b"}"
    found = read(UM_QUOTE, other, wrapped)
    assert found.messages.select("symbol", "kind").row(0) == ("ETHUSDT", "snapshot")


def test_coin_margined_books_name_themselves():
    text = UM_BOOK.replace(b'"bids"', b'"symbol":"BTCUSD_PERP","pair":"BTCUSD","bids"')
    assert read(text, market="cm").messages["symbol"].to_list() == ["BTCUSD_PERP"]


def test_the_channel_tells_a_partial_book():
    text = UM_UPDATE.replace(b"depth@0ms", b"depth20@100ms")
    assert read(text).messages["kind"].to_list() == ["partial"]
    spot = b'{"stream":"btcusdt@depth5","data":{"lastUpdateId":8,"bids":[["1","2"]],"asks":[]}}'
    assert read(spot, market="spot").messages.select("symbol", "kind").row(0) == (
        "BTCUSDT",
        "partial",
    )


def test_single_trades_are_kept_before_joined_ones():
    assert read(UM_JOINED).trades["trade_id"].to_list() == [77]
    assert read(UM_JOINED, UM_TRADE).trades["trade_id"].to_list() == [5266583935]


def test_trades_that_took_from_no_book_are_passed_over():
    texts = [UM_TRADE.replace(b"MARKET", b"INSURANCE_FUND"), UM_TRADE.replace(b"MARKET", b"ADL")]
    texts.append(
        UM_TRADE.replace(b"61800.30", b"0").replace(b"0.006", b"0").replace(b"MARKET", b"NA")
    )
    found = read(*texts)
    assert (found.trades.height, found.lines, found.bad) == (0, 3, 0)


def test_an_empty_side_has_no_price():
    found = read(SPOT_QUOTE.replace(b"61837.64", b"0.00").replace(b'"1.5"', b'"0"'), market="spot")
    assert found.quotes.select("ask", "ask_quantity").row(0) == (None, 0.0)
    assert found.bad == 0


def test_other_streams_and_replies_are_counted_alone():
    texts = (
        b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","k":{"c":"1"}}}',
        b'{"stream":"btcusdt@markPrice","data":{"e":"markPriceUpdate","p":"1"}}',
        b'{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker"}]}',
        b'{"stream":"btcusdt@rpiDepth@500ms",' + UM_UPDATE.partition(b",")[2],
        b'{"result":null,"id":1}',
        b'{"code":-1121,"msg":"Invalid symbol."}',
    )
    found = read(*texts)
    assert (found.lines, found.bad) == (6, 0)
    assert not any(t.height for t in (found.messages, found.levels, found.quotes, found.trades))
    bybit = read(b'{"success":true,"op":"subscribe"}', b'{"topic":"tickers.X"}', venue="bybit",
                 market="linear")  # fmt: skip
    assert (bybit.lines, bybit.bad) == (2, 0)


def test_a_bybit_book():
    found = read(BYBIT_BOOK, venue="bybit", market="linear")
    row = found.messages.row(0, named=True)
    assert (row["symbol"], row["kind"], row["last_id"]) == ("XRPUSDT", "update", 20254870)
    assert (row["sequence"], row["previous_id"]) == (130020239261, None)
    assert (row["sent"], row["time"]) == (at(1733011200693), at(1733011200691))
    assert found.levels.rows() == [(0, 1, 1.9531, 6198.0), (0, -1, 1.954, 0.0)]


def test_bybit_trades_without_those_beside_the_book():
    found = read(BYBIT_TRADE, venue="bybit", market="linear")
    assert found.trades.select("trade_id", "price", "quantity", "taker_side").rows() == [
        (None, 16578.5, 0.001, -1)
    ]
    both = read(BYBIT_TRADE.replace(b"true", b"false"), venue="bybit", market="spot")
    assert both.trades["trade_id"].to_list() == [None, 2100000000007764263]
    assert both.trades["message"].to_list() == [0, 0]


def test_a_book_of_one_level_becomes_quotes():
    one = BYBIT_BOOK.replace(b".50.", b".1.")
    first = one.replace(b"delta", b"snapshot").replace(b'"1.9540","0"', b'"1.9540","5"')
    texts = (one, first, one, one.replace(b'"1.9531","6198"', b'"1.9530","1"'))
    found = read(*texts, venue="bybit", market="linear")
    assert found.quotes.select("bid", "bid_quantity", "ask", "ask_quantity").rows() == [
        (1.9531, 6198.0, 1.954, 5.0),
        (1.9531, 6198.0, None, 0.0),
        (1.953, 1.0, None, 0.0),
    ]
    assert (found.messages.height, found.bad) == (0, 0)


def test_microseconds_are_told_by_their_size():
    text = SPOT_TRADE.replace(b"1723161255342", b"1723161255342123")
    assert read(text, market="spot").trades["time"][0] == at(1723161255342) + timedelta(
        microseconds=123
    )


def test_an_unknown_market_is_one_line():
    with pytest.raises(UserError, match=r"no market binance usdm\. Known are binance: um, cm"):
        read(market="usdm")


# -- what is bad ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "good, wrong",
    [
        (b'"61800.20"', b"NaN"),
        (b'"61800.20"', b"61800.20"),
        (b'"61800.20"', b'"1e400"'),
        (b'"61800.20"', b'"1e-400"'),
        (b'"61800.20"', b'"-1"'),
        (b'"61800.20"', b'"nan"'),
        (b'"61800.20"', b'"1_0"'),
        (b'"61800.20"', b'"0"'),
        (b'"61800.20"', b'""'),
        (b'"61800.20"', b"null"),
        (b'"61800.20"', b'["61800.20"]'),
        (b'"u":7', b'"u":7.0'),
        (b'"u":7', b'"u":-7'),
        (b'"u":7', b'"u":007'),
        (b'"u":7', b'"u":true'),
        (b'"u":7', b'"u":18446744073709551616'),
        (b'"u":7,', b""),
        (b'"T":1723161256313', b'"T":1723161256313000000'),
        (b"btcusdt@", b"ethusdt@"),
        (b"btcusdt@bookTicker", b"btcusdt@trade"),
        (b'"e":"bookTicker"', b'"e":"bookTickle"'),
        (b'"s":"BTCUSDT"', b'"s":"btcusdt"'),
        (b'"s":"BTCUSDT"', b'"s":"BTC\xffUSDT"'),
        (b"}}", b"}"),
        (b"}}", b"}}}"),
        (b"}}", b"}}{}"),
        (b'{"stream"', b"[" * 5000 + b'{"stream"'),
        (b'{"stream"', b'\xef\xbb\xbf{"stream"'),
    ],
)
def test_a_damaged_quote_is_bad_and_its_neighbours_are_read(good, wrong):
    assert good in UM_QUOTE
    found = read(UM_QUOTE, UM_QUOTE.replace(good, wrong), UM_QUOTE)
    assert (found.lines, found.bad) == (3, 1)
    assert found.quotes["message"].to_list() == [0, 2]


@pytest.mark.parametrize(
    "good, wrong",
    [
        (b'["58710.20","0.014"]', b'["58710.20"]'),
        (b'["58710.20","0.014"]', b'["58710.20","0.014","1"]'),
        (b'["58710.20","0.014"]', b'{"58710.20":"0.014"}'),
        (b'"0.014"', b'"-0.014"'),
        (b'"0.014"', b"0.014"),
        (b'"pu":5,', b""),
        (b'"a":[', b'"a":{'),
        (b'"e":"depthUpdate"', b'"e":"trade"'),
    ],
)
def test_a_damaged_update_is_bad_and_leaves_no_level(good, wrong):
    assert good in UM_UPDATE
    found = read(UM_UPDATE.replace(good, wrong), UM_UPDATE)
    assert (found.bad, found.messages["message"].to_list()) == (1, [1])
    assert found.levels["message"].unique().to_list() == [1]


def test_a_spot_line_is_no_line_of_futures():
    found = read(SPOT_UPDATE, SPOT_QUOTE)
    assert (found.bad, found.messages.height, found.quotes.height) == (2, 0, 0)


# -- fast equals slow -------------------------------------------------------------------------

SHAPES = {
    "um": (UM_UPDATE, UM_QUOTE, UM_TRADE, UM_JOINED),
    "spot": (SPOT_UPDATE, SPOT_QUOTE, SPOT_TRADE),
}


def pointed(digits: int, behind: int) -> str:
    return f"{digits // 10**behind}.{digits % 10**behind:0{behind}d}"


# beyond 2**53 the quotient of two doubles is rounded twice
LONG = st.builds(pointed, st.integers(2**53, 10**18 - 1), st.integers(1, 16))
NUMBERS = st.one_of(
    LONG,
    st.decimals(0, 10**12, allow_nan=False, places=8).map(lambda d: f"{d:f}"),
    st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,25})?", fullmatch=True),
    st.sampled_from([odd.decode("latin1").strip('"') for odd in campaign.ODD]),
)
WHOLES = st.one_of(st.integers(0, 2**65), st.sampled_from(["7.0", "-1", "01", "null", '"7"']))


def test_the_fast_reader_reads_what_it_is_for():
    """Else the laws below would compare the slow reader with itself."""
    for market, texts in SHAPES.items():
        decoder = Decoder(venue="binance", market=market)
        for batch in batches((NS, 0, text) for text in texts):
            assert decoder.fast is not None
            assert not len(decoder.fast.read(batch)[1]), market


@settings(deadline=None)
@given(NUMBERS, st.booleans())
def test_a_number_is_the_double_nearest_to_its_text(number, quantity):
    place = b'"2.507"' if quantity else b'"61800.20"'
    text = UM_QUOTE.replace(place, b'"' + number.encode("utf8") + b'"')
    assert_same(read(text), slowly([text], "binance", "um"))
    if number.replace(".", "", 1).isdigit() and float(number) and not number.startswith("."):
        found = read(text).quotes["bid_quantity" if quantity else "bid"].to_list()
        assert found in ([float(number)], []) and (found or len(number) > 40 or number[-1] == ".")


def test_five_thousand_long_numbers_are_the_doubles_nearest_to_their_texts():
    dice = random.Random(8)
    numbers = [
        pointed(dice.randrange(10 ** dice.randrange(12, 19)), dice.randrange(1, 17))
        for _ in range(5_000)
    ]
    found = read(*(UM_QUOTE.replace(b"2.507", number.encode()) for number in numbers))
    assert found.quotes["bid_quantity"].to_list() == [float(number) for number in numbers]


@settings(deadline=None)
@given(st.data())
def test_any_order_of_keys_and_any_numbers_decode_as_the_json_parser_says(data):
    market = data.draw(st.sampled_from(sorted(SHAPES)))
    texts = []
    for shape in data.draw(st.lists(st.sampled_from(SHAPES[market]), min_size=1, max_size=4)):
        head, brace, body = shape.rpartition(b'{"')
        tail = b"}}" if body.endswith(b"}}") else b"}"
        fields = body.removesuffix(tail).split(b',"')
        fields = data.draw(st.permutations(fields)) if b"[[" not in shape else fields
        i = data.draw(st.integers(0, len(fields) - 1))
        key, _, value = fields[i].partition(b":")
        drawn = data.draw(NUMBERS).encode() if value.startswith(b'"') else data.draw(WHOLES)
        new = b'"%b"' % drawn if isinstance(drawn, bytes) else str(drawn).encode()
        if data.draw(st.booleans()) and not value.startswith(b"["):
            fields[i] = key + b":" + new
        texts.append(head + brace + b',"'.join(fields) + tail)
    assert_same(read(*texts, market=market), slowly(texts, "binance", market))


def test_a_table_of_frames_cut_anywhere_says_the_same():
    dice = random.Random(5)
    texts = list(campaign.made(300, dice, venue="binance", market="um"))
    whole = read(*texts)
    pieces = Decoder(venue="binance", market="um")
    for start in range(0, 300, 7):
        frames = ((NS + i, 3, texts[i]) for i in range(start, min(300, start + 7)))
        for batch in batches(frames):
            pieces.take(batch)
    assert_same(whole, pieces.recording())


def test_chosen_symbols_alone():
    dice = random.Random(6)
    texts = list(campaign.made(300, dice, venue="binance", market="spot"))
    given_ = [(NS + i, 3, text) for i, text in enumerate(texts)]
    whole = from_frames(given_, venue="binance", market="spot")
    some = from_frames(given_, venue="binance", market="spot", symbols=["ETHUSDT"])
    for name in ("messages", "quotes", "trades"):
        expected = getattr(whole, name).filter(pl.col("symbol") == "ETHUSDT")
        assert expected.height and getattr(some, name).equals(expected)
    assert some.levels["message"].is_in(some.messages["message"].implode()).all()
    with pytest.raises(UserError, match=r"symbol SOLUSDT is not in it\. Symbols here: BTCUSDT, E"):
        from_frames(given_, venue="binance", market="spot", symbols=["SOLUSDT"])


# -- damage in bulk ---------------------------------------------------------------------------


def test_twenty_thousand_damaged_frames():
    found = campaign.run(20_000, 1, 1)
    assert found["crashed"] == found["differing"] == []
    assert found["read"] + found["passed"] + found["bad"] == found["frames"] == 20_000
    # it must have been neither harmless nor all ruin
    assert found["read"] > 3_000 and found["bad"] > 8_000 and found["peak_mib"] < 300
