"""``./run download`` end to end: notebook, network faults on real sockets, and the store."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from fake_binance import FakeBinance
from polars.testing import assert_frame_equal

from research import datasets, pipeline, stages, study
from research.errors import UserError
from research.sources import simulated
from research.store import lake

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
FIRST = TODAY - timedelta(days=5)
HEAD = "open_time,open,high,low,close,volume\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ALPHABOOK_REPORTS", str(tmp_path / "reports"))
    return tmp_path


@pytest.fixture(scope="module")
def served():
    ten = timedelta(minutes=10)
    made = simulated.market(
        symbols=2, days=5, ic=0.0, horizon=ten, half_life=ten, seed=3, start=FIRST
    )
    return made.bars


def options(fake):
    return {
        "data.source": "binance",
        "data.symbols": ["SIM01USDT", "SIM02USDT"],
        "data.start": FIRST.isoformat(),
        "data.end": TODAY.isoformat(),
        "data.archive": fake.url,
        "data.rest": fake.url,
    }


def files(folder):
    return {
        p.relative_to(folder): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in (folder / "data").rglob("*")
        if p.is_file() and p.name != "demo"
    }


def test_faults_lose_nothing_and_a_second_run_downloads_nothing(home, served):
    with FakeBinance(
        served, now=datetime.now(UTC), header=False, unit="us",
        zip_holes=(("SIM01USDT", (FIRST + timedelta(days=2)).date()),),
    ) as fake:  # fmt: skip
        fake.fail("429", match="/fapi/", times=1, retry_after=1)
        fake.fail("truncated", match=".zip", times=1)
        fake.fail("checksum", match="SIM02USDT", times=1)
        fake.fail("500", match=".zip", times=1)
        stages.run_stage("download", "demo", options(fake), fresh=set())
        assert fake.violations == []
        stored = pipeline.bars(study.read("demo", options(fake)))
        keys = ["symbol", "open_time"]
        assert_frame_equal(stored.select(keys), served.sort(keys).select(keys), check_dtypes=True)
        before = files(home)
        fake.forget()
        stages.run_stage("download", "demo", options(fake), fresh=set())
        assert [r for r in fake.requests if r.path.endswith(".zip")] == []
        assert sum(r.query.get("limit") != "1" for r in fake.requests if r.is_bars) == 0
        assert files(home) == before


def test_what_was_downloaded_says_what_it_did(home, served):
    with FakeBinance(served, now=datetime.now(UTC)) as fake:
        account = datasets.download(study.read("demo", options(fake)))
        assert account.new_bars == served.height
        assert "SIM01USDT" in str(account.to_table())
        quality = datasets.quality(study.read("demo", options(fake)))
    span = served.group_by("symbol").agg(
        ((pl.col("open_time").max() - pl.col("open_time").min()).dt.total_minutes() + 1).alias("n"),
        pl.len(),
    )
    assert quality["missing"].sum() == (span["n"] - span["len"]).sum()


def test_a_flipped_byte_of_stored_bars_is_noticed(home, served):
    with FakeBinance(served, now=datetime.now(UTC)) as fake:
        chosen = study.read("demo", options(fake))
        datasets.download(chosen)
        path = next((home / "data" / "bars").rglob("*.parquet"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(UserError, match=path.name):
            pipeline.bars(chosen)


def test_a_download_needs_to_know_what(home):
    with pytest.raises(UserError, match="say what to download"):
        datasets.download(study.read("demo", {"data.source": "binance"}))


def test_files_are_imported_once_and_again_when_they_change(home, served):
    table = served.filter(pl.col("symbol") == "SIM01USDT").drop("symbol")
    table.head(3000).write_parquet(home / "SIM01USDT.parquet")
    chosen = study.read(
        "demo", {"data.source": "files", "data.path": str(home / "SIM01USDT.parquet")}
    )
    place = datasets.acquire(chosen)
    assert lake.is_complete(**place.where())
    assert datasets.acquire(chosen) == place
    table.head(3001).write_parquet(home / "SIM01USDT.parquet")
    assert datasets.acquire(chosen) != place
    assert pipeline.bars(chosen).height == 3001


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEAD + "1735689600000,1,2,1,nan,3\n1735689660000,1,2,1,1,3\n", "close"),
        (HEAD + "1735689600000,-1,2,1,1,3\n1735689660000,1,2,1,1,3\n", "open"),
        ("a,b\n1,2\n", "X.csv"),
    ],
)
def test_a_bad_csv_is_one_line_and_nothing_is_stored(home, content, said):
    (home / "X.csv").write_text(content)
    chosen = study.read("demo", {"data.source": "files", "data.path": str(home / "X.csv")})
    with pytest.raises(UserError, match=said) as caught:
        datasets.acquire(chosen)
    assert "\n" not in str(caught.value)
    assert not list((home / "data").rglob("*.parquet"))


def test_a_corrupt_parquet_is_one_line(home):
    (home / "X.parquet").write_bytes(b"PAR1" + b"junk" * 100 + b"PAR1")
    chosen = study.read("demo", {"data.source": "files", "data.path": str(home / "X.parquet")})
    with pytest.raises(UserError, match=r"X\.parquet") as caught:
        datasets.acquire(chosen)
    assert "\n" not in str(caught.value)
