"""The journal: durable, one writer, and no damage of it is ever passed over."""

import errno
import json
import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.live import journal as room
from research.live.journal import Journal, JournalError, canonical, read, repair, verify
from research.live.journal.files import Head

ROOT = Path(__file__).resolve().parent.parent.parent


def filled(folder, count=30, size=300):
    """Return the events of a journal that was closed in order."""
    draw, events = random.Random(5), []
    for k in range(count):
        text = "".join(chr(draw.randrange(97, 123)) for _ in range(size))
        events.append(("note", {"time": k, "kind": "gap", "text": text, "x": draw.random()}))
    with Journal.open(folder) as journal:
        for k in range(0, count, 10):
            journal.append(*events[k : k + 10])
    return read(folder)


def unclosed(folder, count=30):
    """Return the events of a journal whose process was killed: its log lies beside it."""
    code = (
        "import os, sys; from pathlib import Path; from research.live.journal import Journal\n"
        "journal = Journal.open(Path(sys.argv[1]))\n"
        "for k in range(int(sys.argv[2])):\n"
        "    journal.append(('note', {'time': k, 'text': 'x' * 300}))\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(count)], cwd=ROOT)
    assert done.returncode == -9 and (folder / "journal.sqlite-wal").exists()
    return read(folder)


# -- what is written ---------------------------------------------------------------------------


def test_what_is_appended_is_read_in_order(tmp_path):
    with Journal.open(tmp_path) as journal:
        assert journal.append(("start", {"time": 7, "run": "r"})) == 1
        assert journal.append(("note", {"kind": "gap"}), ("stop", {"time": 9})) == 3
        assert journal.seq == 3 and journal.time == 9
    events = read(tmp_path)
    assert [(e.seq, e.kind, e.time) for e in events] == [
        (1, "start", 7),
        (2, "note", 7),
        (3, "stop", 9),
    ]
    assert events[0].body == {"time": 7, "run": "r"}
    assert read(tmp_path, 1) == events[1:]
    assert read(tmp_path, kinds=("start", "stop")) == [events[0], events[2]]
    assert read(tmp_path, last=2) == events[1:]
    assert read(tmp_path, 1, kinds=("note",), last=5) == [events[1]]


def test_a_run_without_a_journal_has_no_events(tmp_path):
    assert read(tmp_path) == []


def test_a_journal_goes_on_where_it_ended(tmp_path):
    filled(tmp_path, 3)
    with Journal.open(tmp_path) as journal:
        assert journal.seq == 3
        journal.append(("stop", {}))
    assert verify(tmp_path).seq == 4


def test_the_chain_is_as_it_is_said_to_be(tmp_path):
    """Hashes recomputed by hand from the file."""
    filled(tmp_path, 5)
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as connection:
        rows = connection.execute("SELECT * FROM events ORDER BY seq").fetchall()
    digest = bytes(32)
    for seq, kind, when, text, stored in rows:
        row = json.dumps([seq, kind, when, json.loads(text)], sort_keys=True, separators=(",", ":"))
        digest = blake2b(digest + row.encode(), digest_size=32).digest()
        assert digest == stored


def test_it_is_written_ahead_and_forced_to_the_disk(tmp_path):
    with Journal.open(tmp_path) as journal:
        ask = journal._connection.execute
        assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
        assert ask("PRAGMA synchronous").fetchone() == (2,)
        assert ask("PRAGMA busy_timeout").fetchone() == (5000,)
        with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value in INTEGER"):
            ask("INSERT INTO events VALUES (1, 'note', 'noon', '{}', x'00')")


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ).filter(lambda value: isinstance(value, dict))
)  # fmt: skip
def test_canonical_text_says_the_same_again(body):
    text = canonical(body)
    assert json.loads(text) == body and canonical(json.loads(text)) == text
    assert text.isascii() and canonical(dict(reversed(body.items()))) == text


def test_floats_are_kept_to_the_bit_and_not_a_number_is_null():
    values = (
        np.random.default_rng(1).normal(size=1000) * 10.0 ** np.arange(-300, 300).repeat(2)[:1000]
    )
    assert json.loads(canonical({"x": values.tolist()}))["x"] == values.tolist()
    said = canonical(
        {"a": math.nan, "b": np.float64(0.1), "c": np.int64(3), "d": np.array([1, math.nan])}
    )
    assert said == '{"a":null,"b":0.1,"c":3,"d":[1.0,null]}'


@pytest.mark.parametrize("value", [math.inf, -math.inf, np.float64("inf")])
def test_an_infinite_number_is_refused(value, tmp_path):
    with Journal.open(tmp_path) as journal:
        with pytest.raises(ValueError, match="not JSON compliant"):
            journal.append(("note", {"x": value, "y": math.nan}))
        assert journal.append(("note", {"x": 1})) == 1  # it was never begun


def test_what_has_no_json_and_what_is_no_kind_are_refused(tmp_path):
    with Journal.open(tmp_path) as journal:
        with pytest.raises(TypeError, match="set"):
            journal.append(("note", {"x": {1}}))
        with pytest.raises(ValueError, match="no kind"):
            journal.append(('no"te', {}))


# -- one writer, any readers --------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from research.live.journal import Journal
journal = Journal.open(Path(sys.argv[1]))
journal.append(("start", {"time": 1}))
print("open", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"open\n"
    yield child
    child.kill()
    child.communicate()


def test_a_second_writer_leaves_within_a_second_and_the_first_does_not_notice(tmp_path, holder):
    begun = time.monotonic()
    with pytest.raises(BlockingIOError, match=f"already running \\(process {holder.pid}\\)"):
        Journal.open(tmp_path)
    with pytest.raises(BlockingIOError):
        repair(tmp_path)
    assert time.monotonic() - begun < 2.0  # two of them
    assert len(read(tmp_path)) == 1 and holder.poll() is None


def test_a_killed_writer_leaves_no_lock(tmp_path, holder):
    holder.kill()
    holder.wait()
    with Journal.open(tmp_path) as journal:
        assert journal.seq == 1


def test_of_many_at_once_one_gets_it(tmp_path):
    script = "import sys; from pathlib import Path; from research.live.journal import Journal\n"
    script += "try: journal = Journal.open(Path(sys.argv[1])); sys.stdin.read()\n"
    script += "except BlockingIOError: sys.exit(75)"
    command = [sys.executable, "-c", script, str(tmp_path)]
    runs = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) for _ in range(4)]
    while sum(run.poll() is None for run in runs) > 1:
        time.sleep(0.01)
    for run in runs:
        run.communicate()
    assert sorted(run.returncode for run in runs) == [0, 75, 75, 75]


def test_readers_and_the_writer_do_not_wait_for_each_other(tmp_path):
    with Journal.open(tmp_path) as journal:
        journal.append(("start", {}))
        with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as held:
            held.execute("BEGIN")
            assert held.execute("SELECT count(*) FROM events").fetchone() == (1,)
            begun = time.monotonic()
            for _ in range(20):
                journal.append(("note", {}))
            assert time.monotonic() - begun < 3.0  # far from the busy timeout
            assert len(read(tmp_path)) == 21
            assert held.execute("SELECT count(*) FROM events").fetchone() == (1,)


def test_a_reader_meets_whole_appends_only(tmp_path):
    with Journal.open(tmp_path) as journal:
        seen, stop = [], threading.Event()

        def look():
            while not stop.is_set():
                seen.append(len(read(tmp_path)))

        reader = threading.Thread(target=look)
        reader.start()
        for _ in range(30):
            journal.append(("note", {}), ("note", {}), ("note", {}))
        stop.set()
        reader.join()
    assert seen and all(count % 3 == 0 for count in seen) and seen == sorted(seen)


# -- a disk that refuses ------------------------------------------------------------------------


def test_a_full_disk_is_a_hard_failure_and_stays_one(tmp_path):
    with Journal.open(tmp_path) as journal:
        journal.append(("start", {}))
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(JournalError, match="full"):
            journal.append(("note", {"text": "x" * 50_000}))
        journal._connection.execute("PRAGMA max_page_count=1000000")
        with pytest.raises(JournalError, match="full"):
            journal.append(("note", {}))
    with Journal.open(tmp_path) as journal:
        assert journal.append(("note", {})) == 2


def test_a_head_that_cannot_be_written_is_one_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "read-only file system")

    with Journal.open(tmp_path) as journal:
        monkeypatch.setattr(Head, "write", refuse)
        with pytest.raises(JournalError, match="read-only"):
            journal.append(("start", {}))
    monkeypatch.undo()
    assert verify(tmp_path).seq == 1  # durable all the same: the head may be behind


def test_a_failure_at_each_step_leaves_all_or_nothing(tmp_path):
    for number, step in enumerate(("begin", "inserted", "committed", "done")):
        folder = tmp_path / step
        folder.mkdir()

        def fail(reached, step=step):
            if reached == step:
                raise OSError(errno.EIO, "input/output error")

        with Journal.open(folder) as journal:
            journal.at = fail
            with pytest.raises(JournalError, match="input/output"):
                journal.append(("start", {}), ("note", {}))
        assert verify(folder).seq == (2 if number > 1 else 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write"):
        Journal.open(tmp_path)
    tmp_path.chmod(0o700)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        Journal.open(tmp_path / "nowhere")


# -- damage -------------------------------------------------------------------------------------


def test_half_made_journals_are_made_anew(tmp_path):
    """What a kill can leave while a journal is first made: a head, and parts of a database."""
    Journal.open(tmp_path).close()
    (tmp_path / "journal.sqlite").replace(tmp_path / ".journal.part")
    (tmp_path / ".journal.part-wal").write_bytes(b"rubbish")
    with Journal.open(tmp_path) as journal:
        assert journal.append(("start", {})) == 1


def refused(folder, match=""):
    """Assert that a damaged journal is refused by one line, and left as it is."""
    before = contents(folder)
    with pytest.raises(UserError, match=match) as caught:
        Journal.open(folder)
    assert f"./run repair {folder.name}" in str(caught.value) and "\n" not in str(caught.value)
    assert contents(folder) == before


def contents(folder):
    """Return the files of a journal, but for those that a mere reader makes."""
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".lock"}
    made = {"journal.sqlite-shm"} | {n for n, c in found.items() if n.endswith("-wal") and not c}
    return {name: content for name, content in found.items() if name not in made}


def sql(folder, command):
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        connection.execute(command)
        connection.commit()


@pytest.mark.parametrize(
    ("command", "match"),
    [
        ("UPDATE events SET body = replace(body, 'gap', 'nap') WHERE seq = 4", "event 4 does not"),
        ("UPDATE events SET kind = 'moment' WHERE seq = 9", "event 9 does not"),
        ("UPDATE events SET time = time + 1 WHERE seq = 1", "event 1 does not"),
        ("UPDATE events SET hash = zeroblob(32) WHERE seq = 30", "event 30 does not"),
        ("DELETE FROM events WHERE seq = 12", "event 13 after event 11"),
        ("DELETE FROM events WHERE seq = 30", "29 events where 30 were written"),
        ("DELETE FROM events", "0 events where 30 were written"),
        ("UPDATE events SET seq = 31 WHERE seq = 30", "event 31 after event 29"),
        ("DROP TABLE events", "no such table"),
        ("PRAGMA user_version = 0", "user_version 0 where this version writes 1"),
        ("PRAGMA user_version = 2", "user_version 2 where this version writes 1"),
        ("PRAGMA application_id = 7", "application_id 7"),
    ],
)
def test_what_was_changed_is_refused(tmp_path, command, match):
    filled(tmp_path)
    sql(tmp_path, command)
    refused(tmp_path, match)


def _empty(path):
    path.write_bytes(b"")


def _cut(path):
    os.truncate(path, path.stat().st_size // 2)


def _text(path):
    path.write_text("my notes\n" * 900)


@pytest.mark.parametrize("how", [_empty, _cut, _text, Path.unlink])
@pytest.mark.parametrize("name", ["journal.sqlite", "journal.head"])
def test_what_is_no_journal_is_refused(tmp_path, name, how):
    filled(tmp_path)
    how(tmp_path / name)
    if (name, how) == ("journal.head", _cut):  # of its two places one is enough
        assert Journal.open(tmp_path).seq == 30
        return
    refused(tmp_path, "found: ")


def test_another_journal_in_its_place_is_refused(tmp_path):
    for name, size in (("mine", 300), ("other", 301)):
        (tmp_path / name).mkdir()
        filled(tmp_path / name, size=size)
    shutil.copy(tmp_path / "other" / "journal.sqlite", tmp_path / "mine" / "journal.sqlite")
    refused(tmp_path / "mine", "event 30 is not the one that was written")


def test_damage_that_no_event_lies_on_is_refused_where_writing_on_would_spread_it(tmp_path):
    filled(tmp_path)
    with (tmp_path / "journal.sqlite").open("r+b") as file:
        file.seek(39)  # how many pages are free
        file.write(b"\x05")
    refused(tmp_path, "[Ff]reelist")


@pytest.mark.parametrize("how", [_empty, _cut, Path.unlink])
def test_a_lost_log_is_noticed(tmp_path, how):
    """Without the head such a file would pass: it is a sound database and a valid chain."""
    assert len(unclosed(tmp_path)) == 30
    how(tmp_path / "journal.sqlite-wal")
    refused(tmp_path, "where 30 were written|found: ")


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("appends", [1, 2, 3, 4])
def test_a_head_cut_off_in_writing_leaves_the_one_before(tmp_path, appends, place):
    """However many events an append has, and wherever the last sitting stopped."""
    for _ in range(appends):
        with Journal.open(tmp_path) as journal:
            journal.append(("note", {}), ("note", {}))
    with (tmp_path / "journal.head").open("r+b") as head:
        head.seek(128 * place + 20)
        head.write(b"cut off")
    assert verify(tmp_path).seq == 2 * appends
    with Journal.open(tmp_path) as journal:
        assert journal.append(("note", {})) == 2 * appends + 1


def test_a_killed_journal_is_whole(tmp_path):
    events = unclosed(tmp_path)
    with Journal.open(tmp_path) as journal:
        assert journal.seq == 30
    assert read(tmp_path) == events


# -- repair -------------------------------------------------------------------------------------


def repaired(folder, kept, lost):
    """Assert what a repair says and leaves."""
    before = read_or_none(folder)
    found = repair(folder)
    assert (found.kept, found.lost) == (kept, lost)
    events = read(folder)
    assert [event.seq for event in events] == list(range(1, kept + 2))
    assert events[-1].kind == "repaired" and events[-1].body["kept"] == kept
    assert events[-1].body["lost"] == lost and events[-1].body["aside"] == found.aside.name
    assert f"kept {kept} events" in found.text() and found.aside.is_dir()
    assert before is None or before[:kept] == events[:-1]
    with Journal.open(folder) as journal:
        assert journal.append(("note", {})) == kept + 2
    verify(folder)


def read_or_none(folder):
    try:
        return read(folder)
    except UserError:
        return None


@pytest.mark.parametrize(
    ("command", "kept", "lost"),
    [
        ("UPDATE events SET body = replace(body, 'gap', 'nap') WHERE seq = 4", 3, 27),
        ("DELETE FROM events WHERE seq = 30", 29, 1),
        ("DROP TABLE events", 0, 30),
        ("PRAGMA user_version = 0", 30, 0),
    ],
)
def test_a_repair_keeps_the_longest_valid_beginning(tmp_path, command, kept, lost):
    filled(tmp_path)
    sql(tmp_path, command)
    repaired(tmp_path, kept, lost)


def test_a_repair_says_when_it_cannot_know_what_is_lost(tmp_path):
    filled(tmp_path)
    (tmp_path / "journal.head").unlink()
    repaired(tmp_path, 30, None)


def test_a_repair_of_nothing_keeps_nothing(tmp_path):
    filled(tmp_path)
    _empty(tmp_path / "journal.sqlite")
    damaged = (tmp_path / "journal.head").read_bytes()
    repaired(tmp_path, 0, 30)
    assert (tmp_path / "damaged_1" / "journal.head").read_bytes() == damaged
    assert (tmp_path / "damaged_1" / "journal.sqlite").read_bytes() == b""


def test_an_old_log_is_not_played_into_the_new_file(tmp_path):
    unclosed(tmp_path)
    (tmp_path / "journal.head").write_bytes(b"")
    repaired(tmp_path, 30, None)
    assert (tmp_path / "damaged_1" / "journal.sqlite-wal").stat().st_size > 0


def test_a_whole_journal_is_not_repaired(tmp_path):
    filled(tmp_path)
    with pytest.raises(UserError, match="nothing to repair"):
        repair(tmp_path)
    assert not list(tmp_path.glob("damaged_*"))


@pytest.mark.parametrize("step", ["_valid", "fresh", "sync", "new_head", "shutil.rmtree"])
def test_an_interrupted_repair_is_done_by_the_next(tmp_path, step, monkeypatch):
    events = unclosed(tmp_path)
    with (tmp_path / "journal.head").open("r+b") as head:
        head.write(b"x" * 256)
    for nth in range(1, 7):
        folder = tmp_path.parent / f"{tmp_path.name}_{nth}"
        shutil.copytree(tmp_path, folder)
        with monkeypatch.context() as patch:
            patch.setattr(f"research.live.journal.mend.{step}", _stops(nth, _real(step)))
            try:
                repair(folder)
            except KeyboardInterrupt:
                with suppress(UserError):  # it was all but done
                    repair(folder)
        verify(folder)
        assert read(folder)[:30] == events
        assert {event.kind for event in read(folder)[30:]} == {"repaired"}


def _real(step):
    from research.live.journal import mend

    return shutil.rmtree if step == "shutil.rmtree" else getattr(mend, step)


def _stops(nth, real):
    calls = iter(range(1, 1000))

    def stopping(*arguments, **more):
        if next(calls) == nth:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    return stopping


# -- corruptions at random ----------------------------------------------------------------------


def corruptions(count, seed, place):
    """Damage copies of a journal at random; return how each came out.

    A damaged journal must be refused, unless what it says is, to the letter, what was written (the
    damage hit what nothing is read from). Where it is refused, repair must yield a beginning of it.
    """
    draw, results = random.Random(seed), {"refused": 0, "unharmed": 0}
    sources = []
    for name, make in (("closed", filled), ("killed", unclosed)):
        (place / name).mkdir()
        sources.append((place / name, make(place / name)))
    for number in range(count):
        source, events = sources[number % 2]
        folder = place / f"c{number}"
        shutil.copytree(source, folder)
        corrupt(draw, folder)
        try:
            with Journal.open(folder) as journal:
                journal.append(("stop", {}))
        except UserError as error:
            assert f"./run repair {folder.name}" in str(error)
            found = repair(folder)
            assert read(folder)[: found.kept] == events[: found.kept]
            verify(folder)
            results["refused"] += 1
        else:
            assert read(folder)[:-1] == events, f"damage was passed over in {folder}"
            verify(folder)
            results["unharmed"] += 1
        shutil.rmtree(folder)
    return results


def corrupt(draw, folder):
    """Flip a bit, cut, empty or delete a file, write over a stretch, or set an old version."""
    path = draw.choice([p for p in sorted(folder.glob("journal.*")) if p.suffix != ".lock"])
    kind, size = (
        draw.choice(["flip", "flip", "flip", "cut", "empty", "gone", "page"]),
        path.stat().st_size,
    )
    if draw.random() < 0.05:
        sql(folder, f"PRAGMA user_version = {draw.choice([0, 2, 99])}")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "gone":
        path.unlink()
    elif kind == "cut" and size:
        os.truncate(path, draw.randrange(size))
    elif size:
        with path.open("r+b") as file:
            at = draw.randrange(size)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            flipped = bytes([byte ^ 1 << draw.randrange(8)])
            file.write(flipped if kind == "flip" else draw.randbytes(4096))


def test_random_damage_is_never_passed_over(tmp_path):
    found = corruptions(60, 3, tmp_path)
    assert found["refused"] > 20, "the damage did nothing, so the test proves nothing"


# -- what two runs are compared by --------------------------------------------------------------


def moment(when, **more):
    row = {"symbol": "A", "reason": "hold", "position": 1.0, "forecast": 0.1, "told": 0.1, "bin": 0}
    row |= {"model": "m", "features": "ab", "source": "stream", "open": 1.0, **more}
    facts = {"time": when, "control": 0, "equity": 5.0, "trades": [], "flows": {}, "late": False}
    return "moment", {**facts, "rows": [row], "latency": {"decide": 3}}


def test_decisions_say_what_was_decided_and_not_how_it_came_about(tmp_path):
    said = []
    for name, source, other in (("a", "stream", 0.1), ("b", "rest", 0.1), ("c", "stream", 0.2)):
        (tmp_path / name).mkdir()
        with Journal.open(tmp_path / name) as journal:
            if name == "b":
                journal.append(("note", {"kind": "reconnect"}))
            journal.append(moment(60, source=source, forecast=other))
            journal.append(moment(120, source=source))
        said.append(room.decisions(tmp_path / name))
    assert said[0] == said[1] != said[2]
    assert [json.loads(line)["time"] for line in said[0].splitlines()] == [60, 120]
    assert b"stream" not in said[0] and b"decide" not in said[0] and b'"features":"ab"' in said[0]
