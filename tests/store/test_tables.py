import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from research.errors import UserError
from research.store import atomic, cards, tables


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))


def build(value):
    calls = []

    def work(folder):
        calls.append(folder)
        return {"table": pl.DataFrame({"x": [value]})}

    return work, calls


def test_the_same_parts_are_built_once():
    work, calls = build(1)
    first = tables.keep("stage", {"a": 1}, work)
    again = tables.keep("stage", {"a": 1}, work)
    assert len(calls) == 1
    assert first["table"].equals(again["table"])


def test_a_changed_part_is_built_anew_and_the_log_says_which(caplog):
    work, calls = build(1)
    tables.keep("stage", {"set": {"rsi": 14}, "seed": 1}, work)
    with caplog.at_level(logging.INFO, "research"):
        tables.keep("stage", {"set": {"rsi": 15}, "seed": 1}, work)
    assert len(calls) == 2
    assert "changed: set.rsi" in caplog.text


def test_one_flipped_byte_is_noticed():
    work, _ = build(1)
    tables.keep("stage", {}, work)
    path = tables.folder("stage", {}) / "table.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"table.parquet is not what was written.*--recompute"):
        tables.keep("stage", {}, work)


def test_a_missing_file_is_noticed():
    work, _ = build(1)
    tables.keep("stage", {}, work)
    (tables.folder("stage", {}) / "table.parquet").unlink()
    with pytest.raises(UserError, match="is missing"):
        tables.keep("stage", {}, work)


def test_an_interrupted_build_leaves_nothing_that_counts():
    def broken(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tables.keep("stage", {}, broken)
    work, calls = build(2)
    assert tables.keep("stage", {}, work)["table"]["x"][0] == 2
    assert calls


def test_cards_hold_no_path_or_host():
    work, _ = build(1)
    tables.keep("stage", {"a": 1}, work)
    card = (tables.folder("stage", {"a": 1}) / "card.json").read_text()
    assert os.uname().nodename not in card
    assert str(atomic.data_root()) not in card


def test_writing_the_same_content_touches_nothing(tmp_path):
    path = tmp_path / "a.json"
    assert atomic.write_json(path, {"a": 1}) is True
    before = path.stat().st_mtime_ns
    assert atomic.write_json(path, {"a": 1}) is False
    assert path.stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_disk_refuses_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        atomic.write_text(tmp_path / "file" / "below", "x")


def test_nan_never_reaches_json(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        atomic.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_the_lock_is_one_process_s(tmp_path):
    code = (
        "from research.store import atomic\n"
        "try:\n"
        "    with atomic.only_one('x'): print('free')\n"
        "except BlockingIOError: print('held')\n"
    )

    def other():
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()

    with atomic.only_one("x"):
        assert other() == "held"
    assert other() == "free"


# -- fingerprints -----------------------------------------------------------------------------


def test_a_docstring_or_comment_changes_no_fingerprint(tmp_path):
    plain = tmp_path / "a.py"
    plain.write_text("def f(x):\n    return x + 1\n")
    told = tmp_path / "b.py"
    told.write_text('"""Says."""\n\n\ndef f(x):\n    """Adds."""  # why\n    return x + 1\n')
    other = tmp_path / "c.py"
    other.write_text("def f(x):\n    return x + 2\n")
    assert cards.bare_source(plain) == cards.bare_source(told) != cards.bare_source(other)


def test_code_names_the_libraries_it_uses():
    found = cards.code("store")
    assert {"source", "polars"} <= set(found)


def test_tables_are_equal_by_content_alone():
    table = pl.DataFrame({"a": [1.0, None], "b": ["x", "y"]})
    twin = pl.concat([table.head(1), table.tail(1)])
    assert cards.fingerprint(table) == cards.fingerprint(twin)
    for changed in (table.reverse(), table.rename({"a": "c"}), table.select("b", "a")):
        assert cards.fingerprint(changed) != cards.fingerprint(table)


def test_a_card_says_besides_what_it_is_told():
    made = {"table": pl.DataFrame({"a": [1]})}
    tables.keep("stage", {"of": 1}, lambda _: made, beside={"seen": {"rows": 3}})
    tables.keep("stage", {"of": 1}, lambda _: pytest.fail("built again"), beside={"seen": 4})
    card = json.loads((tables.folder("stage", {"of": 1}) / "card.json").read_text())
    assert card["seen"] == {"rows": 3}


def test_code_follows_an_edit_within_one_process(tmp_path, monkeypatch):
    """The lab reloads an edited module into a running kernel: its fingerprint must change too."""
    monkeypatch.setattr(cards, "PACKAGE", tmp_path)
    monkeypatch.setattr(cards, "GROUND", ())
    room = tmp_path / "room.py"
    room.write_text("x = 1\n")
    before = cards.code("room")
    room.write_text("x = 2\n")
    os.utime(room, ns=(1, 1))
    assert cards.code("room") != before


def test_two_processes_build_a_table_once(tmp_path):
    code = (
        "import sys, time, polars as pl\n"
        "from pathlib import Path\n"
        "from research.store import tables\n"
        "def build(place):\n"
        "    (Path(sys.argv[1]) / f'built-{time.monotonic_ns()}').touch()\n"
        "    time.sleep(1)\n"
        "    return {'table': pl.DataFrame({'x': [1]})}\n"
        "print(tables.keep('stage', {'a': 1}, build)['table']['x'][0])\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [worker.communicate()[0].strip() for worker in workers] == [b"1"] * 3
    assert len(list(tmp_path.glob("built-*"))) == 1


def test_two_processes_import_the_same_bars_at_once(tmp_path):
    code = (
        "from research import pipeline, study\n"
        "small = {'simulated.days': 3, 'simulated.symbols': 4}\n"
        "print(pipeline.bars(study.read('demo', small)).height)\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)
    ]
    heights = {worker.communicate()[0].strip() for worker in workers}
    assert len(heights) == 1
    assert int(heights.pop()) > 17_000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line_whoever_writes():
    full = Path("/dev/full")
    with (
        pytest.raises(UserError, match=r"cannot write .*: No space left on device"),
        atomic.writing(full),
    ):
        pl.DataFrame({"a": range(9)}).write_parquet(full)
    with pytest.raises(pl.exceptions.ComputeError, match="our fault"), atomic.writing(full):
        raise pl.exceptions.ComputeError("our fault")
