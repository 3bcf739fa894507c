"""Every form of file we know gives the same rows; every damage gives one line."""

import gzip
import hashlib
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from research import bars
from research.errors import UserError
from research.schema import TableError
from research.sources import files

MINUTE = timedelta(minutes=1)
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
real = pytest.mark.skipif(not SHARED.exists(), reason="no real exchange data beside the project")
T0 = 1_735_689_600  # 2025-01-01T00:00Z
OHLCV = [
    (10.0, 12.0, 9.0, 11.0, 5.5),
    (11.0, 11.5, 10.5, 11.25, 0.0),
    (11.25, 13.0, 11.0, 12.0, 1.0),
]
HEADER = "open_time,open,high,low,close,volume"


def seconds():
    return [T0 + 60 * i for i in range(3)]


def text(times, header=HEADER):
    lines = [",".join(map(str, (t, *row))) for t, row in zip(times, OHLCV)]
    return "\n".join([header, *lines] if header else lines) + "\n"


def expected(symbol="BTCUSDT"):
    times = [datetime.fromtimestamp(t, UTC) for t in seconds()]
    prices = dict(zip(("open", "high", "low", "close", "volume"), zip(*OHLCV)))
    return pl.DataFrame(
        {"symbol": symbol, "open_time": times} | {c: list(v) for c, v in prices.items()}
    ).with_columns(pl.col("open_time").dt.cast_time_unit("us"))


def read(path, **options):
    return files.history(path, **{"interval": MINUTE} | options)


def assert_read(path, symbol="BTCUSDT"):
    found = read(path)
    assert_frame_equal(found.select(expected().columns), expected(symbol))
    assert found["file"].unique().to_list() == [path.name]


def iso(form):
    return [f"{datetime.fromtimestamp(t, UTC):{form}}" for t in seconds()]


@pytest.mark.parametrize(
    "times",
    [
        seconds(),
        [t * 10**3 for t in seconds()],
        [t * 10**6 for t in seconds()],
        [t * 10**9 for t in seconds()],
        [f"{t}.0" for t in seconds()],
        iso("%Y-%m-%d %H:%M:%S"),
        iso("%Y-%m-%d %H:%M:%S.000000"),
        iso("%Y-%m-%dT%H:%M"),
        iso("%Y-%m-%dT%H:%M:%SZ"),
        iso("%Y-%m-%d %H:%M:%S+00:00"),
        ["2025-01-01T05:30+05:30", "2024-12-31 22:01-0200", "2025-01-01 00:02:00 UTC"],
        [T0, (T0 + 60) * 1000, (T0 + 120) * 10**6],
    ],
    ids=str,
)
def test_time_stamps_of_every_kind(tmp_path, times):
    path = tmp_path / "BTCUSDT_1m.csv"
    path.write_text(text(times))
    assert_read(path)


@pytest.mark.parametrize(
    "header", ["Timestamp,O,H,L,C,Vol", "\ufeffDate,Open,High,Low,Close,Volume", None]
)
def test_header_or_none(tmp_path, header):
    path = tmp_path / "BTCUSDT_1m.csv"
    path.write_text(text(seconds(), header))
    assert_read(path)


def binance(times, header):
    names = f"{HEADER},close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
    rows = [",".join(map(str, (t, *row, 1, 2.5, 7, 0.5, 1.5, 0))) for t, row in zip(times, OHLCV)]
    return "\n".join([names, *rows] if header else rows) + "\n"


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("unit", [10**3, 10**6])
def test_binance_archive(tmp_path, header, unit):
    path = tmp_path / "BTCUSDT-1m-2025-01.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("BTCUSDT-1m-2025-01.csv", binance([t * unit for t in seconds()], header))
    assert_read(path)
    extras = ["quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume"]
    assert read(path).select(extras).row(0) == (2.5, 7, 0.5, 1.5)


def test_kraken_has_no_header_and_the_minutes_in_its_name(tmp_path):
    path = tmp_path / "XBTUSDC_1.csv.gz"
    rows = [",".join(map(str, (t, *row, 3))) for t, row in zip(seconds(), OHLCV)]
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    assert_read(path, "XBTUSDC")
    assert read(path)["trades"].to_list() == [3, 3, 3]
    assert files.interval(path) == MINUTE


def test_polygon_names_the_ticker_and_puts_close_before_high(tmp_path):
    path = tmp_path / "2025-01-01.csv.gz"
    lines = ["ticker,volume,open,close,high,low,window_start,transactions"]
    for ticker in ("X:BTC-USD", "X:ETH-USD"):
        for t, (open_, high, low, close, volume) in zip(seconds(), OHLCV):
            lines.append(f"{ticker},{volume},{open_},{close},{high},{low},{t * 10**9},4")
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    found = read(path)
    both = pl.concat([expected("BTCUSD"), expected("ETHUSD")])
    assert_frame_equal(found.select(both.columns), both)
    assert read(path, symbols=["ETHUSD"])["symbol"].unique().to_list() == ["ETHUSD"]


@pytest.mark.parametrize("ending", ["parquet", "feather"])
@pytest.mark.parametrize("unit", ["ms", "us", "ns", "utc"])
def test_tables_of_other_tools(tmp_path, ending, unit):
    times = pl.Series(seconds()) * 1000
    times = times if unit == "ms" else times.cast(pl.Datetime("ms")).dt.cast_time_unit("ns")
    times = times.dt.replace_time_zone("UTC") if unit == "utc" else times
    table = expected().drop("symbol").with_columns(times.alias("open_time"))
    table = table.rename({"open_time": "date"})
    path = tmp_path / f"BTC_USDT_USDT-1m-futures.{ending}"
    table.write_parquet(path) if ending == "parquet" else table.write_ipc(path, compression="lz4")
    assert_read(path)


def test_our_own_bars_come_back(tmp_path):
    table, _ = bars.clean(expected(), interval=MINUTE, name="bars")
    table.write_parquet(tmp_path / "2025-01.parquet")
    again, _ = bars.clean(read(tmp_path), interval=MINUTE, name="bars")
    assert_frame_equal(table, again)


def test_folders_globs_and_symbols(tmp_path):
    for name in (
        "a/ETHUSDT_1m.csv",
        "b/BTCUSDT_1m.csv",
        "b/BTCUSDT-1h-2025.csv",
        "b/.x/SOL_1m.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text(seconds()))
    (tmp_path / "b" / "README.md").write_text("not data")
    calls = []
    found = read(tmp_path, progress=lambda *call: calls.append(call))
    assert found["symbol"].to_list() == ["ETHUSDT"] * 3 + ["BTCUSDT"] * 3
    assert [call[:2] for call in calls] == [(0, 2), (1, 2), (2, 2)]
    assert read(tmp_path / "*" / "ETH*")["symbol"].unique().to_list() == ["ETHUSDT"]
    assert read(tmp_path, symbols=["btc/usdt"])["symbol"].unique().to_list() == ["BTCUSDT"]
    assert files.interval(tmp_path) == MINUTE
    with pytest.raises(UserError, match=r"holds no BTCUSD\. Did you mean 'BTCUSDT'\?"):
        read(tmp_path, symbols=["BTCUSD"])
    with pytest.raises(UserError, match="asked for 5 min"):
        read(tmp_path, interval=5 * MINUTE)


def test_interval_is_the_shortest_step_where_names_are_silent(tmp_path):
    (tmp_path / "BTCUSDT.csv").write_text(text([T0, T0 + 300, T0 + 900]))
    assert files.interval(tmp_path) == 5 * MINUTE


def test_fingerprint_is_of_names_and_bytes_wherever_they_lie(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / "BTCUSDT.csv").write_text(text(seconds()))
        (tmp_path / folder / "ETHUSDT.csv").write_text(text(seconds()))
    one, other = tmp_path / "one", tmp_path / "other"
    assert files.fingerprint(one) == files.fingerprint(other)
    (other / "ETHUSDT.csv").rename(other / "SOLUSDT.csv")
    assert files.fingerprint(one) != files.fingerprint(other)
    (other / "SOLUSDT.csv").rename(other / "ETHUSDT.csv")
    assert files.fingerprint(one) == files.fingerprint(other)
    (other / "ETHUSDT.csv").write_text(text(seconds()).replace("5.5", "5.6"))
    assert files.fingerprint(one) != files.fingerprint(other)


# -- what is refused ------------------------------------------------------------------------------


def refused(path, kind=UserError, **options):
    with pytest.raises(kind) as refusal:
        bars.clean(read(path, **options), interval=MINUTE, name="files")
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("cell", "said"), [("NaN", "nan"), ("-11.0", "-11.0"), ("", "None"), ("abc", "'abc'")]
)
def test_a_cell_that_is_no_price_is_named(tmp_path, cell, said):
    path = tmp_path / "BTCUSDT_1m.csv"
    path.write_text(text(iso("%Y-%m-%d %H:%M:%S")).replace(",11.25,0.0", f",{cell},0.0"))
    message = refused(path, TableError)
    words = ("BTCUSDT_1m.csv", "BTCUSDT", "2025-01-01 00:01:00", "'close'", f"holds {said}")
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("damage", ["cut", "head", "foot", "empty"])
@pytest.mark.parametrize("ending", ["parquet", "feather", "csv.gz", "zip"])
def test_a_damaged_file_is_one_line(tmp_path, ending, damage):
    path = tmp_path / f"BTCUSDT_1m.{ending}"
    if ending == "parquet":
        expected().write_parquet(path)
    elif ending == "feather":
        expected().write_ipc(path)
    elif ending == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("BTCUSDT_1m.csv", text(seconds()))
    else:
        path.write_bytes(gzip.compress(text(seconds()).encode()))
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[: len(whole) * 2 // 3],
            "head": whole[8:],
            "foot": whole[:-8] + b"XXXXXXXX" if ending != "zip" else whole[:-30] + b"X" * 30,
            "empty": b"",
        }[damage]
    )
    message = refused(path)
    assert path.name in message


def test_the_checksum_beside_a_zip_is_checked(tmp_path):
    path = tmp_path / "BTCUSDT-1m-2025-01.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("BTCUSDT-1m-2025-01.csv", text(seconds()))
    beside = tmp_path / f"{path.name}.CHECKSUM"
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert_read(path)
    beside.write_text(f"{'0' * 64}  {path.name}\n")
    assert "differ from" in refused(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("BTCUSDT.txt", "x", "unknown ending"),
        ("BTCUSDT.csv", "time,open,high,low,volume\n1,2,3,4,5\n", "no column for 'close'"),
        ("BTCUSDT.csv", "1,2,3\n", "no header, and 3 columns"),
        ("BTCUSDT.csv", text(["yesterday"] * 3), "no time that can be read, first 'yesterday'"),
        ("BTCUSDT.csv", text([20250101] * 3), "no time that can be read"),
        ("BTCUSDT.csv", text(seconds()) + "1,2,3,4,5,6,7,8\n", "cannot be read"),
        ("2025-01-01.csv", text(seconds()), "whose bars"),
        ("BTCUSDT.csv", HEADER + "\n", "no rows"),
    ],
)
def test_what_a_file_lacks_is_said(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    message = refused(tmp_path / name)
    assert said in message


def test_a_path_without_files(tmp_path):
    assert "no such file or folder" in refused(tmp_path / "nowhere")
    assert "no files with bars" in refused(tmp_path)
    assert "no files with bars" in refused(tmp_path / "*.csv")


def test_a_broken_count_of_trades_is_refused(tmp_path):
    path = tmp_path / "BTCUSDT_1m.csv"
    lines = text(seconds(), f"{HEADER},trades").splitlines()
    path.write_text("\n".join([lines[0], *(line + ",1.5" for line in lines[1:])]))
    assert "'trades' holds 1.5" in refused(path, TableError)


# -- the real files -------------------------------------------------------------------------------


def imported(name):
    path = SHARED / name
    table, quality = bars.clean(read(path), interval=MINUTE, name=name)
    assert files.interval(path) == MINUTE
    return table, quality, {k: v for k, v in bars.coverage(quality).items() if v}


@real
def test_kraken_2023_q1():
    table, _, found = imported("klines_1m/kraken_ohlcvt_2023Q1")
    assert found == {"rows": 56_717, "missing_minutes": 72_883}
    assert bars.segments(table).max() == 26_746
    assert table["symbol"].unique().to_list() == ["XBTUSDC"]


@real
def test_binance_us_2023_03():
    _, quality, found = imported("klines_1m/binance_us_spot_2023-03")
    assert found == {"rows": 60_480, "zero_volume_bars": 730}
    by_symbol = quality.group_by("symbol").agg(pl.col("zero_volume").sum())
    assert dict(by_symbol.iter_rows()) == {"BTCUSD": 72, "BTCUSDT": 658}


@real
def test_seven_futures_2025():
    table, _, found = imported("klines_1m/um_futures_ohlcv_2025-05_06")
    assert found == {"rows": 504_613}
    assert table["symbol"].n_unique() == 7
    assert table["trades"].null_count() == table.height


@real
def test_binance_vision_zip_equals_the_parquet_of_the_same_month():
    table, _, found = imported("binance_vision")
    assert found == {"rows": 40_320}
    other, _, _ = imported("klines_1m/um_futures_full_2026-02/AVAXUSDT.parquet")
    assert_frame_equal(table, other)


@real
def test_polygon_shaped_files_equal_the_bars_they_were_made_of():
    table, _, found = imported("polygon_shaped_constructed")
    assert found == {"rows": 17_274, "missing_minutes": 6}
    other, _, _ = imported("klines_1m/um_futures_full_2026-02")
    other = other.with_columns(pl.col("symbol").str.strip_suffix("T"))
    both = table.join(other, on=["symbol", "time"], suffix="_there")
    assert both.height == table.height
    for column in ("open", "high", "low", "close", "volume", "trades"):
        assert (both[column] == both[f"{column}_there"]).all()


@real
def test_btc_perp_2022_keeps_its_volume_in_quote_units():
    table, _, found = imported("klines_1m/btc_perp_2022-01")
    assert found == {"rows": 45_031}
    assert table.row(0)[2:8] == (
        datetime(2021, 12, 31, 23, 1, tzinfo=UTC),
        *(46319.0, 46385.0, 46319.0, 46377.0, 2300413.7295),
    )
