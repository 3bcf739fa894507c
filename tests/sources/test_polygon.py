"""Polygon's flat files on real sockets, against a loopback store that verifies signatures."""

import asyncio
import gzip
import hashlib
import json
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

from fake_polygon import HEADER, FakePolygon, key_of, packed, signature  # noqa: E402

from research import bars, datasets, study  # noqa: E402
from research.errors import UserError  # noqa: E402
from research.schema import TIME, TableError  # noqa: E402
from research.sources import polygon  # noqa: E402
from research.sources.binance import Pace  # noqa: E402
from research.sources.polygon import bucket, days, flat, signing  # noqa: E402
from research.store import lake  # noqa: E402

SHAPED = ROOT.parent / "shared/data/polygon_shaped_constructed"
real = pytest.mark.skipif(not SHAPED.is_dir(), reason="the Polygon-shaped files are not here")
QUICK = Pace(backoff=0.01, longest=0.05, tries=4)
NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)
DAYS = [f"2026-02-{d:02d}" for d in range(4, 10)]
MINUTE = timedelta(minutes=1)


def day_rows(day, tickers=("X:BTC-USD", "X:ETH-USD", "X:AR-BUSD", "X:ARB-USD"), seed=0):
    """Rows as the vendor has them: by ticker, minutes without trades absent."""
    first = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    rows = []
    for ticker in tickers:
        for minute in range(0, 1440, 97):
            mark = hashlib.sha256(f"{seed}/{ticker}/{day}/{minute}".encode()).digest()
            if mark[0] < 40:
                continue  # nothing was traded
            low, high = sorted((100 + mark[1] / 7, 100 + mark[2] / 7))
            open_, close = (low, high) if mark[3] % 2 else (high, low)
            at = (first + 60 * minute) * 10**9
            rows.append((ticker, mark[4] / 1000 + 0.001, open_, close, high, low, at, mark[5] + 1))
    return rows


def served(**options):
    return FakePolygon({day: packed(day_rows(day)) for day in DAYS}, **options)


class Shelf:
    """A store in memory."""

    def __init__(self):
        self.saved, self.calls = {}, []

    def have(self, symbol, month):
        return [ms for name, ms in self.saved if name == symbol and _month(ms) == month]

    def save(self, symbol, month, raw):
        self.calls.append((symbol, month, raw.height))
        times = raw["open_time"].dt.epoch("ms")
        for ms, row in zip(times, raw.iter_rows(named=True), strict=True):
            self.saved[symbol, ms] = row


def _month(ms):
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m}"


def fetch(fake, shelf, cache, symbols=("X:BTC-USD", "ETH-USD"), **options):
    wish = {
        "start": datetime(2026, 2, 4, tzinfo=UTC),
        "end": datetime(2026, 2, 10, tzinfo=UTC),
        "endpoint": fake.url,
        "credentials": fake.credentials,
        "cache": cache,
        "have": shelf.have,
        "save": shelf.save,
        "now": NOW,
        "pace": QUICK,
    }
    return polygon.download(symbols, **wish | options)


def expected(symbols=("BTC-USD", "ETH-USD"), days=DAYS):
    return {
        (row[0].removeprefix("X:"), row[6] // 10**6): row
        for day in days
        for row in day_rows(day)
        if row[0].removeprefix("X:") in symbols
    }


def agrees(shelf, wanted):
    assert shelf.saved.keys() == wanted.keys()
    for place, (_, volume, open_, close, high, low, _, trades) in wanted.items():
        row = shelf.saved[place]
        assert [row[c] for c in ("open", "high", "low", "close", "volume", "trades")] == (
            [open_, high, low, close, volume, trades]
        )


# -- who asks --------------------------------------------------------------------------------------

# the examples of AWS's own guide to the header form (S3, 24 May 2013), in pieces so that no
# scanner takes the guide's example key for one
EXAMPLE = polygon.Credentials(
    "AKIA" + "IOSFODNN7" + "EXAMPLE", "wJalrXUtnFEMI/" + "K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
)
GUIDE = [
    (
        *("/test.txt", {}, {"Range": "bytes=0-9"}),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    (
        *("/", {"lifecycle": ""}, {}),
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    (
        *("/", {"prefix": "J", "max-keys": "2"}, {}),
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
]


@pytest.mark.parametrize(("path", "query", "headers", "known"), GUIDE)
def test_signatures_are_those_of_the_guide(path, query, headers, known):
    made = signing.signed(
        EXAMPLE,
        host="examplebucket.s3.amazonaws.com",
        path=path,
        query=query,
        headers=headers,
        moment=datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert made["authorization"].rpartition("Signature=")[2] == known


printable = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)


@given(printable, st.dictionaries(printable.filter(bool), printable, max_size=4), printable)
def test_signatures_equal_the_server_s_own_reading(path, query, secret):
    made = signing.signed(
        polygon.Credentials("name", secret),
        host="here:9000",
        path=f"/flatfiles/{path}",
        query=query,
        headers={},
        moment=NOW,
    )
    raw = signing.path_text(f"/flatfiles/{path}") + "?" + signing.query_text(query)
    theirs = signature(
        secret,
        raw_path=raw,
        headers=[(n, made[n]) for n in ("host", "x-amz-content-sha256", "x-amz-date")],
        stamp=made["x-amz-date"],
        scope=["20260210", "us-east-1", "s3", "aws4_request"],
        body=hashlib.sha256(b"").hexdigest(),
    )
    assert made["authorization"].endswith(f"Signature={theirs}")


def test_credentials_come_from_the_environment_alone_and_never_show(monkeypatch, tmp_path):
    for name in (signing.KEY, signing.SECRET):
        monkeypatch.delenv(name, raising=False)
    for given_ in ({}, {signing.KEY: "k"}, {signing.KEY: "k", signing.SECRET: " "}):
        with pytest.raises(UserError) as caught:
            polygon.credentials(given_)
        assert signing.KEY in str(caught.value) and signing.SECRET in str(caught.value)
        assert "\n" not in str(caught.value)
    with served() as fake:
        with pytest.raises(UserError, match="no credentials"):
            fetch(fake, Shelf(), tmp_path, credentials=None)
        assert fake.requests == []
    found = polygon.credentials({signing.KEY: "spoken", signing.SECRET: "whispered"})
    assert "spoken" not in repr(found) and "whispered" not in f"{found} {[found]!r}"


def test_wrong_credentials_are_one_line_that_holds_no_secret(tmp_path):
    with served() as fake:
        for name, half, code in (
            ("loopback-name", "not-the-half", "SignatureDoesNotMatch"),
            ("nobody", "not-the-half", "InvalidAccessKeyId"),
        ):
            with pytest.raises(UserError, match=code) as caught:
                fetch(fake, Shelf(), tmp_path, credentials=polygon.Credentials(name, half))
            assert signing.KEY in str(caught.value) and "plan" in str(caught.value)
            assert "not-the-half" not in str(caught.value)
        assert fake.listings == 2  # a refusal is not asked again
        fake.fail("403", match="2026-02-06")
        with pytest.raises(UserError, match=r"2026-02-06.*403 AccessDenied.*plan"):
            fetch(fake, Shelf(), tmp_path)


def test_nothing_written_holds_a_secret(tmp_path):
    with served() as fake:
        account = fetch(fake, Shelf(), tmp_path)
        texts = [account.summary(), *(str(p.read_bytes()) for p in tmp_path.rglob("*.json"))]
        assert not [t for t in texts if fake.credentials.secret in t or fake.credentials.key in t]


# -- the work --------------------------------------------------------------------------------------


def test_all_rows_of_the_symbols_arrive_and_a_second_run_downloads_nothing(tmp_path):
    shelf, told = Shelf(), []
    with served(page=2) as fake:
        account = fetch(fake, shelf, tmp_path, progress=lambda *a: told.append(a))
        agrees(shelf, expected())
        assert fake.refused == []
        assert fake.listings == 3  # six days, two to a page
        assert sorted(fake.fetched) == DAYS
        assert account.new_bars == len(expected())
        assert [d.outcome for d in account.days] == ["fetched"] * 6
        assert sorted(done for done, _, _ in told) == list(range(1, 7))
        assert all(total == 6 for _, total, _ in told)
        before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*.*")}
        fake.forget()
        again = fetch(fake, shelf, tmp_path)
        assert fake.fetched == [] and again.new_bars == 0
        assert [d.outcome for d in again.days] == ["stored"] * 6
        assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in before} == before
        assert not list(tmp_path.rglob("*.part"))
    assert "6 fetched" in str(account) and "6 stored" in str(again)
    assert account.to_table().select(pl.col("rows").sum()).item() == len(expected())


def test_symbols_that_share_letters_are_not_mixed(tmp_path):
    shelf = Shelf()
    with served() as fake:
        fetch(fake, shelf, tmp_path, symbols=["X:AR-BUSD", "x:arb-usd"])
    agrees(shelf, expected(("AR-BUSD", "ARB-USD")))


def test_another_symbol_comes_from_the_cache(tmp_path):
    shelf = Shelf()
    with served() as fake:
        fetch(fake, shelf, tmp_path, symbols=["BTC-USD"])
        fake.forget()
        account = fetch(fake, shelf, tmp_path)
        assert fake.fetched == []
        assert {d.outcome for d in account.days} == {"cached"}
        assert {call[0] for call in shelf.calls[1:]} == {"ETH-USD"}
    agrees(shelf, expected())


def test_what_the_store_lost_is_stored_again_from_the_cache(tmp_path):
    with served() as fake:
        fetch(fake, Shelf(), tmp_path)
        fake.forget()
        other = Shelf()
        fetch(fake, other, tmp_path)
        assert fake.fetched == []
    agrees(other, expected())


def test_an_unknown_symbol_names_the_nearest_before_all_is_fetched(tmp_path):
    shelf = Shelf()
    with served() as fake:
        with pytest.raises(UserError, match=r"no BTC-UDS .*Did you mean 'BTC-USD'\?") as caught:
            fetch(fake, shelf, tmp_path, symbols=["X:BTC-UDS"])
        assert "\n" not in str(caught.value)
        assert sorted(fake.fetched) == [DAYS[0], DAYS[-1]]
        assert shelf.calls == []
        with pytest.raises(UserError, match="BTC-USD"):
            fetch(fake, shelf, tmp_path, symbols=["BTCUSD"])


def test_a_symbol_listed_later_is_taken_from_then_on(tmp_path):
    files = {day: packed(day_rows(day)) for day in DAYS}
    young = ("X:BTC-USD", "X:NEW-USD")
    files[DAYS[-1]] = packed(day_rows(DAYS[-1], young))
    shelf = Shelf()
    with FakePolygon(files) as fake:
        fetch(fake, shelf, tmp_path, symbols=["NEW-USD"])
        assert {place[0] for place in shelf.saved} == {"NEW-USD"}
        fake.forget()
        fetch(fake, shelf, tmp_path, symbols=["NEW-USD"])
        assert fake.fetched == [] and len(shelf.calls) == 1


def test_days_without_a_file_are_accounted_for(tmp_path):
    files = {day: packed(day_rows(day)) for day in DAYS if day not in (DAYS[1], DAYS[-1])}
    shelf = Shelf()
    with FakePolygon(files) as fake:
        fake.fail("404", match="2026-02-06", times=1)  # listed, and gone when asked for
        account = fetch(fake, shelf, tmp_path)
        outcomes = {d.day: d.outcome for d in account.days}
        assert outcomes[DAYS[1]] == outcomes["2026-02-06"] == "absent"
        assert outcomes[DAYS[-1]] == "not there yet"
        assert DAYS[1] in str(account)
        fetch(fake, shelf, tmp_path)  # what came since is taken
    agrees(shelf, expected(days=[d for d in DAYS if d not in (DAYS[1], DAYS[-1])]))


def test_a_day_ends_before_the_next_midnight_and_is_absent_two_days_on():
    day, hour = date(2026, 2, 5), timedelta(hours=1)
    midnight = datetime(2026, 2, 5, tzinfo=UTC)
    stored = [midnight - hour, midnight, midnight + 23 * hour, midnight + 24 * hour]
    wish = {"bucket": None, "cache": None, "wanted": [], "days": [], "save": None, "progress": None}
    wish["have"] = lambda name, month: [int(moment.timestamp() * 1000) for moment in stored]
    for age, told in ((47 * hour, "not there yet"), (48 * hour, "absent")):
        job = days.Job(**wish, now=midnight + age)
        assert job._count("X:BTC-USD", day) == 2 and job._why_absent(day) == told


def test_today_is_never_asked_for(tmp_path):
    today = str(NOW.date())
    files = {day: packed(day_rows(day)) for day in [*DAYS, today]}
    with FakePolygon(files) as fake:
        account = fetch(fake, Shelf(), tmp_path, end=None)
        assert today not in fake.fetched and max(fake.fetched) == DAYS[-1]
        assert account.days[-1].day == DAYS[-1]
        account = fetch(fake, Shelf(), tmp_path / "b", end=datetime(2027, 1, 1, tzinfo=UTC))
        assert account.days[-1].day == DAYS[-1]


def test_a_replaced_file_is_fetched_and_stored_again(tmp_path):
    shelf = Shelf()
    with served() as fake:
        fetch(fake, shelf, tmp_path)
        fake.replace(DAYS[2], packed(day_rows(DAYS[2], seed=7)))
        fake.forget()
        fetch(fake, shelf, tmp_path)
        assert fake.fetched == [DAYS[2]]
        changed = day_rows(DAYS[2], seed=7)
        for row in (row for row in changed if row[0] == "X:BTC-USD"):
            assert shelf.saved["BTC-USD", row[6] // 10**6]["close"] == row[3]


# -- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["truncated", "garbled", "reset", "garbage", "500", "503"])
def test_a_fault_is_tried_again_and_loses_nothing(kind, tmp_path):
    shelf = Shelf()
    with served() as fake:
        fake.fail(kind, match="2026-02-06", times=2)
        fake.fail("500" if kind == "reset" else kind, match="listing", times=1)
        if kind in ("truncated", "garbled"):
            fake.faults.pop()
        account = fetch(fake, shelf, tmp_path)
    agrees(shelf, expected())
    assert account.retries >= 2
    assert any("2026-02-06" in note for note in account.notes)


@pytest.mark.parametrize("kind", ["truncated", "garbled", "garbage", "500"])
def test_a_fault_that_stays_is_one_line_and_the_next_run_goes_on(kind, tmp_path):
    shelf = Shelf()
    with served() as fake:
        fake.fail(kind, match="2026-02-06", times=4)
        with pytest.raises(UserError, match=r"2026-02-06.csv.gz failed 4 times") as caught:
            fetch(fake, shelf, tmp_path)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / key_of("2026-02-06")).exists()
        fetch(fake, shelf, tmp_path)
    agrees(shelf, expected())


def test_a_silence_that_is_asked_for_is_kept_by_all(tmp_path):
    shelf = Shelf()
    with served(delay=0.1) as fake:
        fake.fail("429", match=DAYS[1], times=1, retry_after=0.6)
        account = fetch(fake, shelf, tmp_path, pace=Pace(concurrency=1, backoff=0.01))
        assert fake.violations == 0
    agrees(shelf, expected())
    assert account.waited > 0.3


def test_a_silence_beyond_patience_ends_the_run(tmp_path):
    with served() as fake:
        fake.fail("429", match="2026-02-07", times=1, retry_after=3600)
        with pytest.raises(UserError, match="no requests for 3600 s"):
            fetch(fake, Shelf(), tmp_path)


def test_no_redirect_is_followed(tmp_path):
    with served() as fake:
        fake.fail("redirect", match="listing", times=1)
        with pytest.raises(UserError, match=r"answered 302.*data\.flat_files"):
            fetch(fake, Shelf(), tmp_path)


def test_requests_at_once_are_bounded(tmp_path):
    with served(delay=0.02) as fake:
        fetch(fake, Shelf(), tmp_path, pace=Pace(concurrency=2, backoff=0.01))
        assert fake.most_under_way == 2


def test_a_file_that_names_its_gzip_an_encoding_is_kept_as_it_is(tmp_path):
    shelf = Shelf()
    with served() as fake:
        fake.encoding = "gzip"
        fetch(fake, shelf, tmp_path)
        assert (tmp_path / key_of(DAYS[0])).read_bytes() == fake.files[key_of(DAYS[0])]
    agrees(shelf, expected())


def test_a_damaged_cache_is_fetched_again(tmp_path):
    with served() as fake:
        fetch(fake, Shelf(), tmp_path)
        path = tmp_path / key_of(DAYS[3])
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
        fake.forget()
        shelf = Shelf()
        fetch(fake, shelf, tmp_path)
        assert fake.fetched == [DAYS[3]]
    agrees(shelf, expected())


CHILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from research.sources import polygon
polygon.download(["BTC-USD"], start=datetime(2026, 2, 4, tzinfo=UTC), end=None,
    endpoint={url!r}, credentials=polygon.Credentials("loopback-name", "loopback+half/of=it"),
    cache=Path({cache!r}), have=lambda s, m: [], save=lambda *a: None,
    now=datetime(2026, 2, 10, 12, tzinfo=UTC),
    progress=lambda done, total, label: print(done, flush=True))
"""


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    with served(delay=0.05) as fake:
        code = CHILD.format(
            root=str(ROOT), tests=str(ROOT / "tests"), url=fake.url, cache=str(tmp_path)
        )
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        whole = {p.name[:10] for p in tmp_path.rglob("*.gz.json")}
        fake.forget()
        shelf = Shelf()
        fetch(fake, shelf, tmp_path)
        assert whole and not whole & set(fake.fetched)
    agrees(shelf, expected())


def test_wishes_without_sense_are_refused(tmp_path):
    with served() as fake:
        for options, said in (
            ({"symbols": []}, "no symbol"),
            ({"start": datetime(2026, 2, 4)}, "no time zone"),
            ({"end": datetime(2026, 2, 1, tzinfo=UTC)}, "must lie after start"),
            ({"endpoint": "ftp://x"}, "http"),
        ):
            with pytest.raises(UserError, match=said):
                fetch(fake, Shelf(), tmp_path, **options)
        assert fake.requests == []
        future = {"start": NOW, "end": None}
        assert fetch(fake, Shelf(), tmp_path, **future).days == ()


def test_inside_a_running_loop_it_works_too(tmp_path):
    shelf = Shelf()

    async def cell():
        return fetch(fake, shelf, tmp_path)

    with served() as fake:
        assert asyncio.run(cell()).new_bars == len(expected())
        with pytest.raises(UserError, match="no FOO-USD"):
            asyncio.run(_in_cell(lambda: fetch(fake, shelf, tmp_path, symbols=["FOO-USD"])))


async def _in_cell(call):
    return call()


# -- what is in a file -----------------------------------------------------------------------------


def test_columns_go_by_their_names(tmp_path):
    head = "window_start,ticker,transactions,low,high,close,open,volume,vwap"
    line = f"{1_770_336_000 * 10**9},X:BTC-USD,3,1.5,4,3,2,0.25,2.2"
    path = tmp_path / "2026-02-06.csv.gz"
    path.write_bytes(gzip.compress(f"{head}\n{line}\n".encode()))
    table = next(polygon.read(path))
    assert table.drop("file").row(0) == (
        *("BTC-USD", datetime(2026, 2, 6, tzinfo=UTC)),
        *(2.0, 4.0, 1.5, 3.0, 0.25, 3),
    )
    assert table.schema["open_time"] == TIME


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a whole gzip|no column"),
        (packed(day_rows(DAYS[0]))[:500], "not a whole gzip"),
        (gzip.compress(b"a,b\n1,2\n"), "no column 'ticker'"),
        (gzip.compress(f"{HEADER}\nX:A-USD,1,2,2,2,2,soon,1\n".encode()), "not minute bars"),
        (gzip.compress(f"{HEADER}\nX:A-USD,1,two,2,2,2,17,1\n".encode()), "not minute bars"),
    ],
    ids=["empty", "cut off", "other columns", "a volume of words", "a count of words"],
)
def test_a_file_that_cannot_be_read_is_one_line_with_its_name(content, said, tmp_path):
    (tmp_path / "2026-02-06.csv.gz").write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        list(polygon.read(tmp_path))
    assert "2026-02-06.csv.gz" in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_with_other_aggregates_gives_minutes_alone(tmp_path):
    for kind, seed in (("minute_aggs_v1", 0), ("day_aggs_v1", 5)):
        path = tmp_path / f"global_crypto/{kind}/2026/02/{DAYS[0]}.csv.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(packed(day_rows(DAYS[0], seed=seed)))
    (tmp_path / "notes.csv").write_text("nothing of ours")
    assert next(polygon.read(tmp_path)).height == len(day_rows(DAYS[0]))
    with pytest.raises(UserError, match="no flat files"):
        list(polygon.read(tmp_path / "notes.csv"))
    with pytest.raises(UserError, match="no such file"):
        list(polygon.read(tmp_path / "nowhere"))


def test_months_come_one_after_the_other(tmp_path):
    for day in ("2026-01-31", "2026-02-01", "2026-02-02"):
        (tmp_path / f"{day}.csv.gz").write_bytes(packed(day_rows(day)))
    tables = list(polygon.read(tmp_path, symbols=["X:BTC-USD"]))
    assert [t["open_time"].dt.month().unique().to_list() for t in tables] == [[1], [2]]
    assert pl.concat(tables)["symbol"].unique().to_list() == ["BTC-USD"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "not a listing"),
        (b"<Else/>", "not a listing"),
        (
            b"<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
            "not a listing",
        ),
        (
            b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "without a token",
        ),
    ],
)
def test_a_listing_that_is_none_is_broken(body, said):
    with pytest.raises(bucket.Broken, match=said):
        bucket._page(bucket.Answer(200, body, {}))


def test_days_are_told_from_names():
    assert flat.day_of(flat.key(date(2024, 2, 29))) == date(2024, 2, 29)
    assert flat.day_of("2024-02-30.csv.gz") is None and flat.day_of("x-2024-02-03.csv.gz") is None


# -- by way of a study -----------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv(signing.KEY, "loopback-name")
    monkeypatch.setenv(signing.SECRET, "loopback+half/of=it")
    return tmp_path


def options(**more):
    return {
        "data.source": "polygon",
        "data.symbols": ["X:BTC-USD", "ETH-USD"],
        "data.start": "2026-02-04",
        "data.end": "2026-02-10",
        **{f"data.{key}": value for key, value in more.items()},
    }


def test_a_study_downloads_and_reads_what_it_named(home):
    with served() as fake:
        chosen = study.read("demo", options(flat_files=fake.url))
        account = datasets.download(chosen)
        assert account.new_bars == len(expected())
        again = datasets.download(chosen)
        assert again.new_bars == 0 and again.fetches == 0
    table = datasets.load(chosen)
    assert table.height == len(expected())
    assert table["symbol"].unique().sort().to_list() == ["BTC-USD", "ETH-USD"]
    assert datasets.dataset(chosen).lineage == "polygon/spot" and chosen.spot
    seen = bars.coverage(datasets.quality(chosen))
    assert seen["rows"] == table.height and seen["missing_minutes"] > 10_000


def test_absent_credentials_and_wishes_are_one_line(home, monkeypatch):
    with pytest.raises(UserError, match="--symbols X:BTC-USD"):
        datasets.download(study.read("demo", {"data.source": "polygon"}))
    monkeypatch.delenv(signing.SECRET)
    with pytest.raises(UserError, match=f"{signing.KEY} and {signing.SECRET}"):
        datasets.download(study.read("demo", options(flat_files="http://127.0.0.1:9")))


def test_files_by_path_are_brought_in_for_the_symbols_named(home):
    for day in DAYS[:2]:
        (home / f"{day}.csv.gz").write_bytes(packed(day_rows(day)))
    chosen = study.read("demo", options(path=str(home)))
    table = datasets.load(chosen)
    assert table.height == len(expected(days=DAYS[:2]))
    place = datasets.dataset(chosen)
    assert place.lineage == f"polygon/{home.name}" and place.sparse
    stored = lake.load(**place.where())
    assert stored["symbol"].unique().sort().to_list() == ["BTC-USD", "ETH-USD"]
    everything = study.read("demo", options(path=str(home), symbols=None))
    assert datasets.load(everything)["symbol"].n_unique() == 4
    wrong = study.read("demo", options(path=str(home), symbols=["ETH-UDS"]))
    with pytest.raises(UserError, match="Did you mean 'ETH-USD'"):
        datasets.load(wrong)


def test_longer_bars_are_made_of_the_minutes_that_were_traded(home):
    for day in DAYS:
        (home / f"{day}.csv.gz").write_bytes(packed(day_rows(day)))
    chosen = study.read("demo", options(path=str(home), interval="1 h"))
    hours = datasets.load(chosen)
    slots = {(s, ms // 3_600_000) for s, ms in expected()}
    assert hours.height == len(slots)
    cut = study.read(
        "demo",
        options(path=str(home), interval="4 h", start="2026-02-05T02:00Z", end="2026-02-06T05:00Z"),
    )
    found = datasets.load(cut)
    assert found["open_time"].min() == datetime(2026, 2, 5, 4, tzinfo=UTC)
    assert found["time"].max() == datetime(2026, 2, 6, 4, tzinfo=UTC)
    whole = datasets.load(cut.with_options({"data.start": None, "data.end": None}))
    assert_frame_equal(found, whole.join(found, on=["symbol", "time"], how="semi"))


def test_a_row_that_is_no_bar_is_refused_with_its_file(home):
    rows = day_rows(DAYS[0])
    rows[3] = (*rows[3][:2], -1.0, *rows[3][3:])
    (home / f"{DAYS[0]}.csv.gz").write_bytes(packed(rows))
    with pytest.raises(TableError, match=rf"{DAYS[0]}\.csv\.gz"):
        datasets.load(study.read("demo", options(path=str(home))))


def test_traded_bars_are_kept_and_loaded_as_the_study_s_bars(home):
    for day in DAYS:
        (home / f"{day}.csv.gz").write_bytes(packed(day_rows(day)))
    chosen = study.read("demo", options(path=str(home), bars="dollar", interval="4 h"))
    made = datasets.traded(chosen)
    assert_frame_equal(datasets.load(chosen), made)
    assert made["open_time"].min() >= datetime(2026, 2, 5, tzinfo=UTC)
    assert len(list((home / "data/traded").glob("*/table.parquet"))) == 1
    assert_frame_equal(datasets.traded(chosen), made)
    sized = datasets.traded(chosen.with_options({"data.bar_size": 50.0}))
    assert sized["open_time"].min() < datetime(2026, 2, 5, tzinfo=UTC)


# -- the constructed files -------------------------------------------------------------------------


@real
def test_the_shaped_files_by_path_and_by_network_are_the_same(home):
    files = {p.name[:10]: p.read_bytes() for p in SHAPED.rglob("*.csv.gz")}
    assert len(files) == 2
    names = ["X:ALGO-USD", "X:AVAX-USD", "X:DOT-USD", "X:LINK-USD", "X:LTC-USD", "X:NEAR-USD"]
    span = {"start": "2026-02-06", "end": "2026-02-08", "symbols": names}
    with FakePolygon(files) as fake:
        fetched = study.read("demo", options(flat_files=fake.url, **span))
        assert datasets.download(fetched).new_bars == 17_274
    by_path = study.read("demo", options(path=str(SHAPED), **span))
    table = datasets.load(fetched)
    assert table.height == 17_274
    assert_frame_equal(table, datasets.load(by_path))
    assert bars.coverage(datasets.quality(by_path))["missing_minutes"] == 6
    for length, whole in (("1 h", 6 * 48), ("4 h", 6 * 12), ("1 d", 6 * 2)):
        longer = datasets.load(by_path.with_options({"data.interval": length}))
        assert longer.height == whole
    strict = bars.resample(table, timedelta(hours=1))
    assert strict.height < 6 * 48


@real
def test_the_shaped_files_equal_the_bars_they_were_made_of():
    made = pl.concat(list(polygon.read(SHAPED)))
    source = SHAPED.parent / "klines_1m/um_futures_full_2026-02"
    for name in made["symbol"].unique():
        there = pl.read_parquet(source / f"{name.replace('-USD', 'USDT')}.parquet").with_columns(
            pl.col("open_time").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC").cast(TIME)
        )
        both = made.filter(pl.col("symbol") == name).join(there, on="open_time", suffix="_there")
        assert both.height in (2880, 2874)
        for column in ("open", "high", "low", "close", "volume", "trades"):
            assert (both[column] == both[f"{column}_there"]).all()


def test_what_is_remembered_is_plain(tmp_path):
    with served() as fake:
        fetch(fake, Shelf(), tmp_path, symbols=["BTC-USD"])
    known = json.loads((tmp_path / "known.json").read_text())
    rows = [len(expected(("BTC-USD",), [day])) for day in DAYS]
    assert [known["BTC-USD"][day][1] for day in DAYS] == rows
