"""Half-spreads from recorded books: every form they are read in, and their way into a backtest."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from test_charges import bars_of, book, made
from test_tape import bars, forecasts

from research import charges, tape
from research.charges import recorded
from research.errors import UserError

SHARED = Path(__file__).resolve().parent.parent.parent / "shared/data"
SNAPSHOTS, RAW = SHARED / "l2_snapshots", SHARED / "raw/binance"
ROWS = [(0, 99.99, 100.01), (5, 99.98, 100.02), (6, 99.99, 100.01)]


@pytest.fixture
def place(tmp_path):
    """A file of quotes of A at 1 bp and B at 2 bps."""
    wide = [(second, 2 * bid - 100, 2 * ask - 100) for second, bid, ask in ROWS]
    path = tmp_path / "quotes.parquet"
    pl.concat([book(ROWS), book(wide, "B")]).write_parquet(path)
    return path


def in_form(table, name, path):
    """The same quotes as others write them."""
    at = pl.col("time").dt.epoch("us")
    if name == "house.csv":
        table.with_columns(pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ")).write_csv(path)
    elif name == "tardis.csv":
        sides = {"bids[0].price": "bid", "asks[0].price": "ask"}
        table.select("symbol", timestamp=at, **{k: pl.col(v) for k, v in sides.items()}).write_csv(
            path
        )
    elif name == "levels.parquet":
        table.select(
            "symbol", timestamp=at // 1000, bid_price_0="bid", ask_price_0="ask"
        ).write_parquet(path)
    else:
        lines = ['1 {"stream":"a@depth","data":{"b":[["1","2"]],"a":[]}}']
        for symbol, time, bid, ask in table.with_columns(at * 1000).rows():
            said = {"s": symbol, "b": str(bid), "B": "1", "a": str(ask), "A": "2"}
            message = {"stream": f"{symbol.lower()}@bookTicker", "data": said}
            lines.append(f"{time} {json.dumps(message, separators=(',', ':'))}")
        path.write_bytes(gzip.compress("\n".join(lines).encode()))


@pytest.mark.parametrize("name", ["house.csv", "tardis.csv", "levels.parquet", "recording.gz"])
def test_each_form_gives_the_same_quotes(tmp_path, place, name):
    table = recorded.quotes(place)
    in_form(table, name, tmp_path / name)
    assert_frame_equal(recorded.quotes(tmp_path / name), table)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_since_1970_are_read_in_any_unit(tmp_path, unit):
    whole = book([(second, bid, ask) for second, bid, ask in ROWS])
    each = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    stamps = whole.select("symbol", "bid", "ask", timestamp=pl.col("time").dt.epoch("s") * each)
    stamps.write_parquet(tmp_path / "q.parquet")
    assert_frame_equal(recorded.quotes(tmp_path / "q.parquet"), whole)


def test_a_folder_is_read_whole_and_what_is_no_book_is_passed_over(tmp_path, place):
    pl.DataFrame({"symbol": ["A"], "price": [1.0]}).write_csv(tmp_path / "trades.csv")
    (tmp_path / "README.md").write_text("books")
    more = book([(100, 99.9, 100.1), (101, 99.9, 100.1)])
    more.write_parquet(tmp_path / "z.parquet")
    assert recorded.quotes(tmp_path).height == 2 * len(ROWS) + 2
    # of two rows at one time the later file's stays
    book([(0, 90.0, 110.0)]).write_parquet(tmp_path / "zz.parquet")
    assert recorded.quotes(tmp_path)["bid"][0] == 90.0


def test_recorded_half_spreads_reach_every_fill(place):
    source = bars()
    asked = made(half_spread="books", books=str(place))
    paid = charges.columns(asked, source)
    each = dict(paid.group_by("symbol").agg(pl.col("half_spread").first()).iter_rows())
    assert each == pytest.approx({"A": 1e-4, "B": 2e-4})
    assert paid["half_spread"].n_unique() == 2
    plain = made(half_spread={"A": "1 bps", "B": "2 bps"})
    assert charges.round_trip(asked) == pytest.approx(charges.round_trip(plain))
    assert_frame_equal(paid, charges.columns(plain, source))


def test_stated_and_recorded_stand_side_by_side(place):
    asked = made(half_spread={"A": "books", "B": "5 bps"}, books=str(place))
    paid = charges.columns(asked, bars())
    each = dict(paid.group_by("symbol").agg(pl.col("half_spread").first()).iter_rows())
    assert each == pytest.approx({"A": 1e-4, "B": 5e-4})


def test_hours_are_those_of_the_books(tmp_path):
    def hour(h, half):
        return [(h * 3600 + 10 * k, 100 * (1 - half), 100 * (1 + half)) for k in range(360)]

    path = tmp_path / "q.parquet"
    book([*hour(0, 1e-4), *hour(1, 1e-4), *hour(2, 3e-4)]).write_parquet(path)
    asked = made(half_spread="2 bps", hours="books", books=str(path))
    source = bars_of("A", [100.0] * 4, [1.0] * 4)
    assert charges.columns(asked, source)["half_spread"].to_list() == pytest.approx(
        [2e-4, 2e-4, 6e-4, 2e-4]
    )
    assert charges.round_trip(asked) == pytest.approx(
        2 * (asked.fee + 2e-4 * 26 / 24 + asked.costs.slippage)
    )


def test_other_books_are_another_backtest(place):
    asked = made(half_spread="books", books=str(place))

    def key():
        source = bars()
        laid = tape.lay(asked, source, forecasts(source))
        return tape.parts(laid, tape.rules(asked), 1_000.0)

    before = key()
    assert key() == before
    wider = recorded.quotes(place).with_columns(bid=pl.col("bid") - 0.01)
    wider.write_parquet(place)
    assert key()["tape"] != before["tape"]


def test_a_symbol_that_the_books_lack_is_named(place):
    source = bars(("A", "C"))
    with pytest.raises(UserError, match=r"hold no quote of 'C'.* Held: A, B\. State a number") as e:
        charges.columns(made(half_spread="books", books=str(place)), source)
    assert "\n" not in str(e.value)


def test_a_misspelt_symbol_is_named_and_a_stored_one_is_not(store):
    from research import datasets, study

    asked = study.Study().with_options({"simulated.days": 1, "simulated.symbols": 2})
    named = datasets.load(asked)["symbol"].unique().sort().to_list()
    stated = dict.fromkeys(named, 1e-4)
    for key in ("half_spread", "lot", "tick"):
        wrong = asked.with_options({f"costs.{key}": {**stated, named[0] + "T": 1e-4}})
        with pytest.raises(UserError, match=rf"costs\.{key}: '{named[0]}T' .* '{named[0]}'\?"):
            charges.filters(wrong, named)
        assert charges.filters(asked.with_options({f"costs.{key}": stated}), named[:1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"half_spread": "books"}, r"'books' needs costs\.books"),
        ({"half_spread": {"A": "books"}}, r"'books' needs costs\.books"),
        ({"hours": "books"}, r"'books' needs costs\.books"),
        ({"half_spread": "-1 bps"}, r"costs\.half_spread: expected a rate from 0 up to 10 %.*-1"),
        ({"half_spread": {"A": "x"}}, r"costs\.half_spread: expected a rate.* 'x' for A\."),
        ({"half_spread": True}, r"costs\.half_spread: expected a rate"),
        ({"hours": [1.0, 2.0]}, r"costs\.hours: expected 24 multiples.*found 2 of them"),
        ({"hours": [1.0] * 23 + [-1.0]}, r"costs\.hours: expected 24 multiples.*found -1\.0"),
        ({"hours": "noon"}, r"costs\.hours: expected 24 multiples.*found 'noon'"),
        ({"latency": "-2 s"}, r"costs\.latency: expected a span of time from zero up.*'-2 s'"),
        ({"latency": timedelta(seconds=-2)}, r"costs\.latency: expected a span"),
        ({"lot": -1}, r"costs\.lot: expected a number of at least 0.*found -1\."),
        ({"tick": {"A": "fine"}}, r"costs\.tick: expected a number.* 'fine' for A\."),
    ],
)
def test_mistakes_in_costs_are_one_line(options, said):
    with pytest.raises(UserError, match=said) as caught:
        made(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no file or folder 'q.parquet'"),
        (b"no parquet", "q.parquet cannot be read as a table"),
        (pl.DataFrame({"symbol": ["A"]}), "holds no recorded best bids and asks"),
    ],
)
def test_files_that_are_no_books_are_one_line(tmp_path, content, said):
    path = tmp_path / "q.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content.write_parquet(path)
    with pytest.raises(UserError, match=said) as caught:
        charges.round_trip(made(half_spread="books", books=str(path)))
    assert "\n" not in str(caught.value)


def test_settings_are_written_as_they_are_read(place):
    asked = made(half_spread={"A": "books", "B": 2e-4}, hours="books", latency="2 s", books="b.csv")
    again = asked.with_options({k: v for k, v in asked.settings().items() if k != "twin"})
    assert again == asked
    assert again.settings()["costs.latency"] == "2 s"


# -- real recordings -------------------------------------------------------------------------------


@pytest.mark.skipif(not SNAPSHOTS.is_dir(), reason="the shared order-book extracts are not here")
def test_the_shared_snapshots():
    found = recorded.quotes(SNAPSHOTS)
    assert found["symbol"].unique().to_list() == ["BTCUSDT"]
    assert found["time"].min() == datetime(2020, 9, 1, 0, 0, 3, 696_000, tzinfo=UTC)
    assert found["time"].max() > datetime(2025, 12, 2, tzinfo=UTC)
    half = recorded.estimate(str(SNAPSHOTS)).half_spread["BTCUSDT"]
    assert half == pytest.approx(0.05 / 87_000, rel=0.02)


@pytest.mark.skipif(not RAW.is_dir(), reason="the shared raw recordings are not here")
def test_a_raw_recording():
    found = recorded.quotes(RAW / "spot/btcusdt_20240808.gz")
    assert found["symbol"].unique().to_list() == ["BTCUSDT"]
    assert found["time"].dt.date().unique().to_list() == [datetime(2024, 8, 8).date()]
    assert (found["ask"] > found["bid"]).all()
    assert charges.half_spreads(found)["BTCUSDT"] == pytest.approx(0.005 / 61_000, rel=0.1)
