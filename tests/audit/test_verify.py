import json
import shutil

import polars as pl
import pytest

from research import stored_runs
from research.audit import verify
from research.audit.verify import artefacts, manifest
from research.audit.verify.manifest import MANIFEST, check, kind_of, read
from research.audit.verify.rebuild import rebuild
from research.errors import UserError
from research.store import atomic


@pytest.fixture(scope="module")
def run(sealed_run):
    return sealed_run


@pytest.fixture(scope="module")
def sealed(run):
    return read(run.folder)


def test_a_run_made_anew_from_raw_bars_is_identical(run):
    before = sorted(atomic.data_root().rglob("*"))
    found = verify.run(run.id)
    assert (found["verdict"], found["first_difference"], found["rebuilt"]) == (
        "identical",
        None,
        True,
    )
    made = [a["name"] for a in found["artefacts"] if a["compared"] == "values"]
    assert made[:6] == ["bars", "features", "labels", "folds", "models", "forecasts"]
    assert {"trades.parquet", "reasons.parquet", "equity.parquet", "summary.json"} <= set(made)
    assert sorted(atomic.data_root().rglob("*")) == before, "the store is only looked at"
    assert json.loads(json.dumps(found)) == found
    assert "verdict  identical" in verify.text(found)


KINDS = {
    "bars": "bars/*/SIM01USDT/*.parquet",
    "card of bars": "bars/*/SIM01USDT/*card.json",
    "list of bars": "bars/*complete-*.json",
    "features": "features/*.parquet",
    "card of features": "features/*card.json",
    "model": "forecasts/*/models/*model.*",
    "card of a model": "forecasts/*/models/*card.json",
    "forecasts": "forecasts/*table.parquet",
    "backtest": "backtest/*equity.parquet",
}
OWN = (
    "study.json",
    "forecasts.parquet",
    "trades.parquet",
    "trades.csv",
    "equity.parquet",
    "reasons.parquet",
    "summary.json",
    "figures/equity.png",
    "figures/equity.svg",
    "notebooks/05_backtest.ipynb",
    "notebooks/05_backtest.html",
    "index.html",
    MANIFEST,
)


def flipped(path, place=0.5):
    """Flip one bit of a file and return what it held."""
    before = path.read_bytes()
    content = bytearray(before)
    content[min(int(len(content) * place), len(content) - 1)] ^= 1
    path.write_bytes(content)
    return before


def first_named(sealed, pattern):
    from fnmatch import fnmatch

    return next(name for name in sealed["stored"] if fnmatch(name, pattern))


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_in_the_store_is_named(run, sealed, kind):
    name = first_named(sealed, KINDS[kind])
    is_named(run, name, atomic.data_root() / name)


@pytest.mark.parametrize("name", OWN)
def test_a_flipped_byte_in_the_run_is_named(run, name):
    is_named(run, name, run.folder / name)


def is_named(run, name, path):
    before = flipped(path)
    try:
        found = verify.run(run.id)
    finally:
        path.write_bytes(before)
    assert found["verdict"] == "different"
    assert found["first_difference"].startswith(f"{name}: ")
    assert found["differences"] == [name]


def test_every_byte_of_the_manifest_and_of_a_card_of_bars_counts(run, sealed):
    """Text has bytes that say nothing, such as blanks: they are held to, too."""
    card = atomic.data_root() / first_named(sealed, KINDS["card of bars"])
    for path, named in ((run.folder / MANIFEST, MANIFEST), (card, card.name)):
        before = path.read_bytes()
        blank = before.replace(b"\n ", b"\n\t", 1)
        try:
            for content in (blank, before + b" ", before[:-1], b"", b"[]", b"{}"):
                path.write_bytes(content)
                assert named in faults(run)[0]
        finally:
            path.write_bytes(before)
    assert not faults(run)


def faults(run):
    try:
        found = check(run.folder, read(run.folder))
    except UserError as error:
        return [str(error)]
    return [artefact.text() for artefact in found if artefact.result == "differs"]


def test_every_file_of_the_run_and_of_what_it_came_from_is_sealed(run, sealed):
    files = {p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*") if p.is_file()}
    assert files == {*sealed["files"], MANIFEST}
    kinds = {kind_of(name, stored=True) for name in sealed["stored"]}
    assert {"bars", "features", "models", "forecasts", "backtest", "oracle"} <= kinds


def test_what_is_gone_or_added_is_said(run, sealed):
    name = first_named(sealed, "features/*.parquet")
    path, note = atomic.data_root() / name, run.folder / "note.txt"
    kept = path.read_bytes()
    path.unlink()
    note.write_text("mine")
    try:
        found = {a.name: a.result for a in check(run.folder, sealed)}
    finally:
        path.write_bytes(kept)
        note.unlink()
    assert (found[name], found["note.txt"]) == ("gone", "added")


def test_a_missing_file_of_the_run_is_named(run):
    path = run.folder / "trades.csv"
    kept = path.read_bytes()
    path.unlink()
    try:
        found = verify.run(run.id)
    finally:
        path.write_bytes(kept)
    assert found["first_difference"] == "trades.csv: is missing"
    assert (found["verdict"], found["rebuilt"]) == ("different", False)


def test_a_run_without_a_manifest_is_not_trusted(run, tmp_path, monkeypatch):
    home = tmp_path / "demo"
    shutil.copytree(run.folder, home / run.id)
    (home / run.id / MANIFEST).unlink()
    monkeypatch.setenv("ALPHABOOK_REPORTS", str(tmp_path))
    found = verify.run("latest")
    assert (found["verdict"], found["rebuilt"]) == ("different", False)
    assert found["first_difference"].startswith("manifest.json: is missing")
    assert "not tried" in verify.text(found)


def test_bars_that_grew_are_not_damage(tmp_path, monkeypatch):
    from datetime import UTC, datetime, timedelta

    from research.bars import clean
    from research.store import lake

    def bar(hour):
        price = dict.fromkeys(("open", "high", "low", "close"), 2.0)
        rows = {"symbol": "A", "open_time": [datetime(2025, 5, 1, h, tzinfo=UTC) for h in hour]}
        raw = pl.DataFrame(rows | price | {"volume": 1.0})
        table, quality = clean(raw, interval=timedelta(hours=1), name="bars")
        place = {"venue": "v", "market": "m", "interval": timedelta(hours=1)}
        lake.write(table, quality, **place, root=tmp_path)

    bar([0])
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))

    names = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]
    was = {name: atomic.sha256(tmp_path / name) for name in names}
    bar([0, 1])
    sealed = {"stored": was, "files": {}}
    assert {a.result for a in check(tmp_path / "run", sealed)} == {"grown"}
    month = next(tmp_path.rglob("*.parquet"))
    flipped(month)
    assert {a.name: a.result for a in check(tmp_path / "run", sealed)}[
        month.relative_to(tmp_path).as_posix()
    ] == "differs"


# -- the first that differs is the cause ------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "same", "how"),
    [
        ({"simulated.seed": 9}, [], "rows"),
        ({"labels.horizon": "5 min"}, ["bars", "features"], "fingerprint"),
    ],
)
def test_the_first_stage_that_differs_is_named(run, sealed, options, same, how):
    """As if the same study gave something else: here it stops at folds, which cannot be cut."""
    changed = stored_runs.Run(run.folder)
    changed.__dict__["study"] = run.study.with_options({**options, "validation.train": "90 d"})
    found = rebuild(changed, sealed, lambda *_: None)
    assert [a.name for a in found if a.result == "same"] == same
    first = next(a for a in found if a.result != "same")
    assert first.name == "bars" if not same else "labels"
    assert how in first.how
    assert (found[-1].name, found[-1].result) == ("folds", "differs")
    assert found[-1].how.startswith("cannot be made: ")


def test_floats_that_part_leave_the_decisions(run, sealed, tmp_path, monkeypatch):
    """A run sealed with an equity a billionth off, as another machine might have made it."""
    folder = tmp_path / "demo" / run.id
    shutil.copytree(run.folder, folder)
    equity = pl.read_parquet(folder / "equity.parquet")
    other = equity.with_columns(equity=pl.col("equity") * (1 + 1e-9))
    other.write_parquet(folder / "equity.parquet")
    reseal(folder, sealed)
    monkeypatch.setenv("ALPHABOOK_REPORTS", str(tmp_path))
    found = verify.run(run.id)
    assert (found["verdict"], found["differences"]) == ("decision-identical", ["equity.parquet"])
    assert found["first_difference"].startswith("equity.parquet: ")
    assert f"{equity['equity'][0]}" in found["first_difference"]


def reseal(folder, sealed):
    """Write the manifest that would have been written, had the files been these."""
    files = {name: atomic.sha256(folder / name) for name in sealed["files"]}
    content = {**sealed, "files": files}
    content.pop("seal")
    (folder / MANIFEST).write_text(manifest._text(content))


def test_a_table_made_again_when_there_were_more_trials_is_no_damage(run, sealed):
    name = first_named(sealed, KINDS["backtest"])
    place = (atomic.data_root() / name).parent
    before = {path: path.read_bytes() for path in place.iterdir()}
    ledger = atomic.data_root() / "ledger" / "trials.jsonl"
    card = json.loads(before[place / "card.json"])
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    other = next(row for row in rows if row["n"] != card["ledger"]["rows"])
    card["ledger"] |= {"rows": other["n"], "hash": other["sha256"]}
    try:
        atomic.write_json(place / "card.json", card)
        found = {a.name: a.result for a in check(run.folder, sealed)}
        assert found[name.replace("equity.parquet", "card.json")] == "renewed"
        for key, value in (("rows", 1), ("hash", "0" * 64), ("home", "elsewhere")):
            atomic.write_json(
                place / "card.json", card | {"ledger": {**card["ledger"], key: value}}
            )
            assert len(faults(run)) == (0 if value == other["n"] else 1)
        atomic.write_json(place / "card.json", card | {"more": 1})
        assert len(faults(run)) == 1
    finally:
        for path, content in before.items():
            path.write_bytes(content)


# -- how two of a kind are compared -----------------------------------------------------------


def test_floats_a_millionth_apart_decide_the_same():
    was = pl.DataFrame({"symbol": ["A", "A"], "position": [0.5, -0.25]})
    near = was.with_columns(position=pl.col("position") * (1 + 1e-9))
    far = was.with_columns(position=pl.col("position") * (1 + 1e-3))
    assert artefacts.tables(was, was) == ("same", "")
    assert artefacts.tables(was, near)[0] == "floats"
    assert artefacts.tables(was, far)[0] == "differs"
    assert artefacts.tables(was, was.with_columns(symbol=pl.lit("B")))[0] == "differs"
    assert (
        artefacts.tables(was, was.with_columns(position=pl.lit(None, pl.Float64)))[0] == "differs"
    )


def test_the_verdict_follows_trades_and_reasons():
    from research.audit.verify import _verdict

    def said(**results):
        names = {"features": "same", "reasons": "same", "trades": "same", **results}
        table = ("reasons", "trades")
        return _verdict(
            [
                artefacts.Artefact(f"{n}.parquet" if n in table else n, "table", "values", result)
                for n, result in names.items()
            ]
        )

    assert said() == "identical"
    assert said(features="differs") == "decision-identical"
    assert said(features="floats", trades="floats") == "decision-identical"
    assert said(reasons="differs") == "different"


def test_an_unknown_run_is_a_user_error(run):
    with pytest.raises(UserError, match="no such run"):
        verify.run("nothing-like-it")
