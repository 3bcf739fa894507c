"""What is dropped begins where what is kept ends: exactly as old, or as many, is kept."""

import os

from research.operations import retention
from research.operations.table import Table


def test_a_log_as_old_as_asked_for_is_kept(tmp_path):
    (tmp_path / "logs").mkdir()
    young, old = (tmp_path / "logs" / name for name in ("a.log", "b.log"))
    for path, moment in ((young, 1000.0), (old, 999.5)):
        path.write_text("")
        os.utime(path, (moment, moment))
    assert retention._old_logs(tmp_path, 1000.0) == [old]


def test_as_many_folders_as_asked_for_are_kept(tmp_path):
    for n in range(4):
        (tmp_path / str(n)).mkdir()
        os.utime(tmp_path / str(n), (n, n))
    for keep in range(5):
        dropped = retention._surplus(tmp_path, keep)
        assert [path.name for path in dropped] == ["3", "2", "1", "0"][keep:]


def test_a_row_that_began_just_then_is_not_forgotten(tmp_path, monkeypatch):
    moments = iter((10, 11, 20, 21, 30, 31))
    monkeypatch.setattr("research.operations.table._now", lambda: next(moments))
    table = Table(tmp_path)
    for due in (1, 2, 3):
        table.end(table.begin("x", due, 0), "done", "")
    assert table.forget("x", 20) == 1
    assert [row.began for row in table.newest("x", count=9)] == [30, 20]
