"""What others call things: symbols in file names, columns in headers, moments in time stamps."""

from __future__ import annotations

import re
from datetime import timedelta

import polars as pl

from research.errors import UserError
from research.schema import TIME

ALIASES: dict[str, tuple[str, ...]] = {
    # the label of the open first: a table that has both may call its close "time"
    "open_time": (
        *("open_time", "opentime", "window_start", "start_time", "start", "timestamp"),
        *("datetime", "date", "time", "ts", "unix", "unix_timestamp"),
    ),
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price"),
    "volume": ("volume", "vol", "v", "base_volume"),
    "symbol": (
        *("symbol", "ticker", "pair", "instrument", "coin", "asset", "sym", "market"),
        *("product_id", "instrument_name", "instid"),
    ),
    "quote_volume": ("quote_volume", "quote_asset_volume", "quotevolume"),
    "trades": ("trades", "count", "transactions", "number_of_trades", "num_trades", "trade_count"),
    "taker_buy_volume": (
        *("taker_buy_volume", "taker_buy_base_asset_volume"),
        *("taker_buy_base", "taker_buy_base_volume"),
    ),
    "taker_buy_quote_volume": (
        *("taker_buy_quote_volume", "taker_buy_quote_asset_volume"),
        "taker_buy_quote",
    ),
}
_OHLCV = ("open_time", "open", "high", "low", "close", "volume")
_TAKER = ("taker_buy_volume", "taker_buy_quote_volume")
BY_COUNT: dict[int, tuple[str, ...]] = {
    6: _OHLCV,
    7: (*_OHLCV, "trades"),  # Kraken OHLCVT
    12: (*_OHLCV, "close_time", "quote_volume", "trades", *_TAKER, "ignore"),  # Binance klines
}

_QUOTES = {
    *("USDT", "USDC", "BUSD", "FDUSD", "TUSD", "DAI", "BTC", "XBT", "ETH", "BNB"),
    *("USD", "EUR", "GBP", "JPY", "TRY", "BRL", "AUD"),
}
_ENDINGS = re.compile(r"(\.(parquet|pq|feather|arrow|csv|gz|zip))+$", re.IGNORECASE)
_TAIL = re.compile(
    r"[-_ ](?:\d{8}|\d{4}[-_]\d{2}(?:[-_]\d{2})?|(?:19|20)\d{2}|futures|spot|klines|ohlcvt?"
    r"|(?P<number>\d{1,4})(?P<unit>s|m|min|h|H|d|D|w|W))$"
)
# Kraken writes bare minutes: XBTUSDC_1
_KRAKEN = re.compile(r"(?P<symbol>[A-Za-z0-9]+)_(?P<minutes>1|5|15|30|60|240|720|1440)")
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_ISO = (
    r"^(?P<day>\d{4}-\d{2}-\d{2})(?:[T ](?P<clock>\d{2}:\d{2})(?::(?P<seconds>\d{2}(?:\.\d+)?))?)?"
    r"\s*(?P<zone>Z|UTC|[+-]\d{2}:?\d{2})?$"
)


def parse(name: str) -> tuple[str | None, timedelta | None]:
    """Read symbol and length of a bar from a file's name, each None where it does not say.

    >>> parse("AVAXUSDT-1m-2026-02.zip")
    ('AVAXUSDT', datetime.timedelta(seconds=60))
    >>> parse("XBTUSDC_60.csv.gz"), parse("BTC_USDT_USDT-1h-futures.feather")[0]
    (('XBTUSDC', datetime.timedelta(seconds=3600)), 'BTCUSDT')
    >>> parse("btc-perp-20211231-20220201_1m.csv.gz")[0], parse("BTCUSD_PERP.parquet")
    ('BTC-PERP', ('BTCUSD_PERP', None))
    >>> parse("2026-02-06.csv.gz")
    (None, None)
    """
    stem, span = _ENDINGS.sub("", name.rsplit("/", 1)[-1]), None
    if kraken := _KRAKEN.fullmatch(stem):
        return symbol(kraken["symbol"]), timedelta(minutes=int(kraken["minutes"]))
    while match := _TAIL.search(stem):
        stem = stem[: match.start()]
        if match["number"]:
            span = span or int(match["number"]) * _UNITS[match["unit"].lower()] or None
    return (symbol(stem) if re.match(r"\d*[A-Za-z]", stem) else None), span


def symbol(text: str) -> str:
    """Write a symbol as one word, as the Binance archive does.

    >>> [symbol(s) for s in ("X:BTC-USD", "BTC/USDT:USDT", "btcusdt", "BTCUSD_PERP")]
    ['BTCUSD', 'BTCUSDT', 'BTCUSDT', 'BTCUSD_PERP']
    """
    text = text.strip().upper()
    text = text.split(":")[0] if "/" in text else text.rsplit(":", 1)[-1]
    base, *rest = re.split(r"[-_/ ]", text)
    if rest and rest[0] in _QUOTES and set(rest) == {rest[0]}:
        return base + rest[0]
    return text


def symbols(column: pl.Series) -> pl.Series:
    """Write every symbol of a column as one word; null stays null."""
    column = column.cast(pl.String)
    found = column.drop_nulls().unique().to_list()
    return column.replace({text: symbol(text) for text in found}).alias("symbol")


def columns(header: list[str], label: str) -> dict[str, str]:
    """Map our names to theirs for every column that is known.

    >>> columns(["Date", "Open", "High", "Low", "Close", "Volume"], "a.csv")["open_time"]
    'Date'
    """
    plain = {re.sub(r"\W+", "_", name.strip().lower()).strip("_"): name for name in header}
    found = {
        ours: plain[next(a for a in theirs if a in plain)]
        for ours, theirs in ALIASES.items()
        if any(a in plain for a in theirs)
    }
    missing = [column for column in _OHLCV if column not in found]
    if missing:
        raise UserError(
            f"{label}: no column for {missing[0]!r} (known as {', '.join(ALIASES[missing[0]])}). "
            f"Columns here: {', '.join(header[:20])}. Rename it."
        )
    return found


def is_number(cell: str) -> bool:
    """Tell whether a cell of a first line is data; an empty one may be."""
    try:
        float(cell or 0)
    except ValueError:
        return False
    return True


def times(column: pl.Series) -> pl.Series:
    """Read moments as UTC, null where a cell is none; see the notes of `files.history`.

    >>> times(pl.Series([1698364800, 1698364800000, 20231027])).dt.year().to_list()
    [2023, 2023, None]
    >>> times(pl.Series(["2024-05-01 12:30:00", "2024-05-01T14:30+02:00"])).n_unique()
    1
    """
    if column.dtype == pl.Date or isinstance(column.dtype, pl.Datetime):
        moments = column.cast(pl.Datetime("us", getattr(column.dtype, "time_zone", None)))
        if moments.dtype.time_zone is None:  # type: ignore[attr-defined]
            return moments.dt.replace_time_zone("UTC")
        return moments.dt.convert_time_zone("UTC")
    if column.dtype.is_numeric():
        return _since_1970(column)
    text = column.cast(pl.String).str.strip_chars()
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == text.null_count():
        return _since_1970(whole)
    number = text.cast(pl.Float64, strict=False)
    return _since_1970(whole).zip_with(
        whole.is_not_null(), _since_1970(number).zip_with(number.is_not_null(), _iso(text))
    )


def _since_1970(number: pl.Series) -> pl.Series:
    """Take a number for s, ms, us or ns by its size: all four from 2001 on, and none before."""
    x = pl.col("x")
    if number.dtype.is_float():
        x = x.fill_nan(None)
    micro = (
        pl.when(x < 1e9)
        .then(None)
        .when(x < 1e11)
        .then(x * 1_000_000)
        .when(x < 1e14)
        .then(x * 1_000)
        .when(x < 1e17)
        .then(x)
        .otherwise(x // 1_000)
    )
    if number.dtype.is_float():
        micro = micro.round()
    return number.to_frame("x").select(micro.cast(pl.Int64, strict=False).cast(TIME)).to_series()


def _iso(text: pl.Series) -> pl.Series:
    part = text.to_frame("t").select(pl.col("t").str.extract_groups(_ISO)).unnest("t")
    local = (
        pl.col("day")
        + "T"
        + pl.col("clock").fill_null("00:00")
        + ":"
        + pl.col("seconds").fill_null("00")
    )
    zone = pl.col("zone").str.replace("^(Z|UTC)$", "+00:00").fill_null("+00:00")
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    minutes = zone.str.slice(1, 2).cast(pl.Int64) * 60 + zone.str.slice(-2).cast(pl.Int64)
    naive = local.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    moment = naive.dt.replace_time_zone("UTC") - pl.duration(minutes=sign * minutes)
    return part.select(moment.alias("t")).to_series().cast(TIME)
