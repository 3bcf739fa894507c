"""The ledger: what counts as a trial, and that no row of it can change, go or be forgotten."""

import json
import os
import shutil
import subprocess
import sys
import threading
from hashlib import sha256

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.store import atomic, ledger, tables
from research.store.ledger import chain, heads, trials


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ALPHABOOK_REPORTS", str(tmp_path / "reports"))
    return tmp_path


def tried(seed=1, *, lineage="x", forecasts=None, **evidence):
    begun = ledger.begin({"seed": seed}, lineage=lineage, what="evaluation")
    return begun.done(forecasts, **evidence)


def anew():
    """Read as a process does that has not seen the file before."""
    chain._known.clear()
    trials._folds.clear()
    return chain.read()


def lines():
    return chain.place().read_bytes().splitlines(keepends=True)


# -- what counts ------------------------------------------------------------------------------


def test_a_trial_is_one_configuration_on_one_lineage():
    def once(words, lineage="x", forecasts=None):
        return ledger.begin(words, lineage=lineage, what="evaluation").done(forecasts)

    assert once({"seed": 1, "name": "a"}) == 1
    assert once({"seed": 1, "name": "b", "live.feed": "kraken", "threads": 4}) == 1
    assert once({"seed": 2, "name": "a"}) == 2
    assert once({"seed": 2, "name": "a"}, forecasts="f") == 3
    assert once({"seed": 3, "name": "a"}, lineage="y") == 1
    assert (ledger.count("x"), ledger.count("y"), ledger.count("z")) == (3, 1, 0)
    assert len(anew().rows) == 10 and ledger.count("x") == 3


def test_a_copy_of_the_data_begins_no_new_count():
    def once(words, lineage, data):
        return ledger.begin(words, lineage=lineage, what="evaluation", data=data).done("f")

    assert [once({"seed": n}, "files/mine", "bars") for n in (1, 2)] == [1, 2]
    assert once({"seed": 2}, "files/copy", "bars") == 2  # the very same trial, run again
    assert once({"seed": 3}, "files/copy", "bars") == 3
    assert once({"seed": 4}, "files/copy", "more bars") == 4  # the copy goes its own way
    assert once({"seed": 5}, "binance", "other bars") == 1
    assert once({"seed": 6}, "files/again", "more bars") == 5
    assert once({"seed": 5}, "files/again", "other bars") == 6  # a bridge joins all of them
    counted = [ledger.count(f"files/{name}") for name in ("mine", "copy", "again")]
    assert [*counted, ledger.count("binance")] == [6] * 4
    assert ledger.table().height == 8  # listed where they were made
    anew()
    assert ledger.count("files/mine") == 6


def test_what_was_begun_and_never_done_counts_until_it_is_done():
    ledger.begin({"seed": 1}, lineage="x", what="training")
    ledger.begin({"seed": 1}, lineage="x", what="training")
    assert ledger.count("x") == 1
    assert ledger.table()["done"].to_list() == [0] and ledger.table()["begun"].to_list() == [2]
    assert tried(1, forecasts="f") == 1
    assert ledger.table().select("begun", "done").rows() == [(3, 1)]


def test_a_part_of_some_forecasts_is_the_trial_of_them_all():
    assert tried(1, forecasts="whole") == 1
    with ledger.part_of("whole"):
        assert tried(1, forecasts="some days of it") == 1
    assert tried(1, forecasts="some days of it") == 2


def test_notes_group_trials_and_do_not_hide_them():
    with ledger.exploring("hours"):
        tried(1)
        with ledger.exploring("of the night"):
            assert ledger.noted() == "hours / of the night"
            tried(2)
    tried(1)
    assert ledger.noted() == ""
    assert ledger.table()["note"].to_list() == ["hours", "hours / of the night"]
    assert ledger.count("x") == 2
    with pytest.raises(UserError, match="say in a few words"), ledger.exploring(" "):
        pass


def test_the_table_holds_the_newest_of_everything():
    tried(1, ic=0.1, ic_low=0.0, ic_high=0.2)
    tried(1, net_return=0.5, sharpe=1.5, returns=[0.1, 0.2], first="2025-01-01")
    tried(2, lineage="y", ic=float("nan"))
    row = ledger.table("x").row(0, named=True)
    assert (row["ic"], row["net_return"], row["days"], row["done"]) == (0.1, 0.5, 2, 2)
    assert ledger.table().height == 2 and ledger.table("y")["ic"].to_list() == [None]
    assert "6 rows, head" in ledger.text()
    with pytest.raises(UserError, match=r"none on 'yy'. Did you mean 'y'\?.* on: x, y"):
        ledger.text("yy")


def test_a_ledger_without_trials_says_so():
    assert "no trials yet" in ledger.text()


# -- heads ------------------------------------------------------------------------------------


def test_trials_that_left_no_card_cannot_be_cut_off():
    for seed in range(4):
        tried(seed, ic=0.1)
    path = chain.place()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(UserError, match=r"holds 2 rows, but the head beside it has seen 8"):
        anew()


def test_a_crash_before_the_head_is_written_is_none(monkeypatch):
    tried(1)
    monkeypatch.setattr(heads, "keep", lambda rows, last: None)
    tried(2)
    assert len(anew().rows) == 4


def test_a_ledger_that_grows_while_heads_are_read_is_not_short(monkeypatch):
    tried(1)
    found = heads.found

    def slow():
        monkeypatch.setattr(heads, "found", found)
        tried(2)  # another process adds rows, and a head that has seen them
        yield from found()

    monkeypatch.setattr(chain, "_known", {})
    monkeypatch.setattr(heads, "found", slow)
    assert len(chain.read().rows) == 4


@pytest.mark.parametrize("content", [b"\xff", b'"ledger": {"rows": 1, "hash" "x"}'])
def test_a_damaged_head_is_one_line(content, monkeypatch):
    tried(1)
    (atomic.reports_root() / "demo" / "r1").mkdir(parents=True)
    (atomic.reports_root() / "demo" / "r1" / "summary.json").write_bytes(content)
    with pytest.raises(UserError, match=r"the run r1 .*summary.json cannot be read"):
        anew()


# -- the chain --------------------------------------------------------------------------------


def test_each_row_holds_the_hash_of_the_row_before():
    """The oracle: the chain's rule, written anew from its own description."""
    for seed in range(3):
        tried(seed, ic=0.1)
    before = "0" * 64
    for number, line in enumerate(lines(), 1):
        row = json.loads(line)
        said = row.pop("sha256")
        text = json.dumps(row, sort_keys=True, separators=(",", ":"))
        assert sha256(text.encode()).hexdigest() == said
        assert (row["n"], row["prev"]) == (number, before)
        before = said
    assert ledger.head()["hash"] == before and ledger.head()["rows"] == 6


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_byte_of_any_row_can_change_unseen(data):
    if not chain.place().exists():
        for seed in range(3):
            tried(seed, ic=0.25, returns=[0.01, -0.02])
    whole = chain.place().read_bytes()
    at = data.draw(st.integers(0, len(whole) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != whole[at]))
    row = whole[:at].count(b"\n") + 1
    try:
        chain.place().write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
        with pytest.raises(UserError, match=f"row ({row}|{row + 1}) "):
            anew()
    finally:
        chain.place().write_bytes(whole)
        anew()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda rows: rows[:2] + rows[3:], "row 3 does not follow"),
        (lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], "row 2 does not follow"),
        (lambda rows: [*rows[:2], rows[1], *rows[2:]], "row 3 does not follow"),
        (lambda rows: [*rows[:2], b"{}\n", *rows[2:]], "row 3 is not what was written"),
        (lambda rows: [*rows[:2], b"gone\n", *rows[3:]], "row 3 cannot be read"),
        (lambda rows: rows[1:], "row 1 does not follow"),
    ],
)
def test_rows_that_go_come_or_move_are_named(damage, said):
    for seed in range(3):
        tried(seed)
    kept = lines()
    chain.place().write_bytes(b"".join(damage(kept)))
    for act in (anew, chain.read, lambda: tried(9)):
        with pytest.raises(UserError, match=said) as found:
            act()
        assert "\n" not in str(found.value)
    chain.place().write_bytes(b"".join(kept))
    assert tried(9) == 4  # put back as it was, it goes on


def test_a_row_written_anew_with_a_hash_that_fits_it_is_named_by_the_next():
    for seed in range(3):
        tried(seed, ic=0.1)
    kept = lines()
    row = {k: v for k, v in json.loads(kept[3]).items() if k != "sha256"} | {"ic": 0.9}
    kept[3], _ = chain._line(row)
    chain.place().write_bytes(b"".join(kept))
    with pytest.raises(UserError, match="row 5 does not follow"):
        anew()


def test_a_line_cut_off_by_a_crash_is_set_aside_and_said(caplog):
    tried(1)
    tried(2)
    whole = chain.place().read_bytes()
    chain.place().write_bytes(whole + b'{"kind":"begun","ha')
    anew()
    assert ledger.count("x") == 2, "a reader leaves it alone: it may be in the making"
    assert chain.place().read_bytes().endswith(b'"ha')
    assert tried(3) == 3
    (kept,) = chain.place().parent.glob("torn-after-4-*.torn")
    assert kept.read_bytes() == b'{"kind":"begun","ha'
    rows = anew().rows
    assert (rows[4]["kind"], rows[4]["file"], rows[4]["bytes"]) == ("torn", kept.name, 19)
    assert kept.name in caplog.text and len(rows) == 7


def test_a_process_killed_in_the_middle_leaves_a_chain_that_goes_on(place):
    code = (
        "import os, sys\n"
        "from research.store import ledger\n"
        "for seed in range(10**6):\n"
        "    ledger.begin({'seed': seed}, lineage='x', what='training').done()\n"
        "    seed == 2 and print('at it', flush=True)\n"
    )
    work = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert work.stdout.readline() == b"at it\n"
    work.kill()
    work.wait()
    work.stdout.close()
    before = ledger.count("x")
    assert before >= 3
    with chain.place().open("ab") as file:  # what a kill inside of write may leave
        file.write(b'{"config":"a')
    chain._known.clear()
    assert tried(-1) == before + 1
    assert [row["n"] for row in anew().rows] == list(range(1, len(chain.read().rows) + 1))


def test_rows_of_two_processes_make_one_chain():
    code = (
        "import sys\n"
        "from research.store import ledger\n"
        "for seed in range(20):\n"
        "    ledger.begin({'seed': seed}, lineage=sys.argv[1], what='training').done()\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "ab"]
    for seed in range(20):
        tried(seed)
    assert [work.wait() for work in both] == [0, 0]
    assert len(anew().rows) == 120
    assert [ledger.count(name) for name in "abx"] == [20, 20, 20]


# -- heads ------------------------------------------------------------------------------------


def stored(name="one"):
    """A stored backtest whose card has seen the ledger."""
    table = {"table": pl.DataFrame({"a": [1]})}
    tables.keep("backtest", {"of": name}, lambda _: table, beside={"ledger": ledger.head()})


def reported(name="a_run", **changed):
    head = {**ledger.head(home=True), **changed}
    atomic.write_json(atomic.reports_root() / "demo" / name / "summary.json", {"ledger": head})


@pytest.mark.parametrize(("see", "who"), [(stored, "the backtest "), (reported, "the run a_run")])
def test_a_ledger_shorter_than_a_head_is_refused(see, who):
    tried(1)
    tried(2)
    see()
    kept = lines()
    heads._beside().unlink()
    chain.place().write_bytes(b"".join(kept[:2]))
    with pytest.raises(UserError, match=f"holds 2 rows, but {who}.* has seen 4"):
        anew()
    chain.place().unlink()
    chain._known.clear()
    with pytest.raises(UserError, match="holds 0 rows"):
        tried(1)
    chain.place().write_bytes(b"".join(kept))
    assert tried(3) == 3


def test_a_ledger_written_anew_is_not_the_one_that_was_seen():
    tried(1)
    tried(2)
    stored()
    shutil.rmtree(chain.place().parent)
    chain._known.clear()
    code = "from research.store import ledger\nledger.begin({}, lineage='x', what='t').done()\n" * 3
    elsewhere = {"ALPHABOOK_DATA": str(chain.place().parent.parent / "other")}
    subprocess.run([sys.executable, "-c", code], env=os.environ | elsewhere, check=True)
    shutil.copytree(chain.place().parent.parent / "other" / "ledger", chain.place().parent)
    with pytest.raises(UserError, match="its row 4 is not the one that the backtest"):
        anew()


def test_without_all_of_data_and_reports_a_new_count_begins(place):
    tried(1)
    stored()
    reported()
    shutil.rmtree(place / "data")
    chain._known.clear()
    with pytest.raises(UserError, match="the run a_run has seen 2"):
        tried(1)
    shutil.rmtree(place / "reports")
    chain._known.clear()
    assert tried(1) == 1


def test_runs_of_another_folder_of_data_are_held_against_their_own(place, monkeypatch):
    tried(1)
    reported()
    monkeypatch.setenv("ALPHABOOK_DATA", str(place / "other"))
    assert tried(5) == 1
    monkeypatch.setenv("ALPHABOOK_DATA", str(place / "data"))
    reported("torn", rows=9)
    with pytest.raises(UserError, match="the run torn has seen 9"):
        anew()


def test_a_ledger_that_shrinks_while_a_process_works_is_refused():
    tried(1)
    tried(2)
    kept = lines()
    chain.place().write_bytes(b"".join(kept[:2]))
    with pytest.raises(UserError, match="this very process has seen 4"):
        ledger.count("x")
    chain.place().unlink()
    with pytest.raises(UserError, match="held 4 rows a moment ago"):
        ledger.count("x")


def test_a_ledger_that_cannot_be_read_says_so():
    chain.place().mkdir(parents=True)
    with pytest.raises(UserError, match="cannot be read"):
        ledger.count("x")


# -- an earlier version's count ---------------------------------------------------------------


def test_trials_of_an_earlier_version_are_taken_over_once():
    old = atomic.data_root() / "trials.jsonl"
    old.parent.mkdir(parents=True)
    rows = [{"lineage": "x", "config": c, "ic": 0.1} for c in ("a", "b", "a")]
    rows.append({"lineage": "y", "config": "a"})
    old.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"lineage": "x", "con')
    assert tried(1) == 3
    first = anew().rows[0]
    assert (first["kind"], first["unreadable"]) == ("imported", 1)
    assert first["sha256_of_it"] == atomic.sha256(old), "the old file stays as it is"
    assert tried(2) == 4 and ledger.count("y") == 1
    assert ledger.table("y")["note"].to_list() == ["imported"]


def test_counting_does_not_read_the_file_again(monkeypatch):
    for seed in range(5):
        tried(seed)
    monkeypatch.setattr(chain, "_checked", lambda *a: pytest.fail("rows were checked again"))
    assert [ledger.count("x") for _ in range(100)] == [5] * 100
    assert tried(7) == 6


def test_threads_of_one_process_make_one_chain():
    work = [threading.Thread(target=tried, args=(seed,)) for seed in range(8)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(anew().rows) == 16 and ledger.count("x") == 8
